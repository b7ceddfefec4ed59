// SPDX-License-Identifier: GPL-3.0-or-later
//! The `Range` header (RFC 9110 §14). No I/O.

use std::ops::Range;

/// What a client wants of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
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
pub fn wanted(header: &str, size: u64) -> Wanted {
    if header.len() > MAX_HEADER {
        return Wanted::All;
    }
    let Ok(parsed) = http_range_header::parse_range_header(header) else { return Wanted::All };
    match parsed.validate(size).as_deref() {
        Ok([one]) => Wanted::Part(*one.start()..one.end() + 1),
        Ok(_) => Wanted::All,
        Err(_) if !header.contains(',') => Wanted::Nothing,
        Err(_) => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (header, want) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=5-", Wanted::Part(5..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=90-1000", Wanted::Part(90..100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=0-1,3-4", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("nonsense", Wanted::All),
        ] {
            assert_eq!(wanted(header, 100), want, "{header}");
        }
    }
}
