// SPDX-License-Identifier: GPL-3.0-or-later
//! The `Range` header (RFC 9110 §14). No I/O.

use std::ops::Range;

/// What a client wants of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it.
    All,
    /// These bytes, one at least, all of them in the file.
    Part(Range<u64>),
    /// Nothing that the file has.
    Nothing,
}

/// The longest header that is read: one range has two numbers.
const MAX_HEADER: usize = 200;

/// What a `Range` header asks for. A header that is not understood is ignored,
/// as the RFC has it, and so is one with several ranges: nobody who boots sends one.
pub fn wanted(header: &str, size: u64) -> ByteRange {
    if header.len() > MAX_HEADER {
        return ByteRange::All;
    }
    let Ok(parsed) = http_range_header::parse_range_header(header) else { return ByteRange::All };
    match parsed.validate(size).as_deref() {
        Ok([one]) => ByteRange::Part(*one.start()..one.end() + 1),
        Ok(_) => ByteRange::All,
        Err(_) if !header.contains(',') => ByteRange::Nothing,
        Err(_) => ByteRange::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, want) in [
            ("bytes=0-0", ByteRange::Part(0..1)),
            ("bytes=5-", ByteRange::Part(5..100)),
            ("bytes=-10", ByteRange::Part(90..100)),
            ("bytes=90-1000", ByteRange::Part(90..100)),
            ("bytes=100-", ByteRange::Nothing),
            ("bytes=0-1,3-4", ByteRange::All),
            ("lines=1-2", ByteRange::All),
            ("nonsense", ByteRange::All),
        ] {
            assert_eq!(wanted(header, 100), want, "{header}");
        }
    }
}
