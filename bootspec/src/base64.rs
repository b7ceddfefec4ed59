// SPDX-License-Identifier: GPL-3.0-or-later
//! Base64 (RFC 4648 §4), read.

/// The bytes of a text. What is not a digit is passed over: line ends, padding. Whether they are what they should be, who
/// uses them must know.
pub fn decode(text: &str) -> Vec<u8> {
    let (mut bits, mut n, mut out) = (0u32, 0, Vec::new());
    for value in text.bytes().filter_map(digit) {
        (bits, n) = (bits << 6 | value, n + 6);
        if n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
            bits &= (1 << n) - 1;
        }
    }
    out
}

fn digit(c: u8) -> Option<u32> {
    let value = match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn reads_what_others_write() {
        for (text, bytes) in
            [("", &b""[..]), ("aA==", b"h"), ("aGVs\nbG8=", b"hello"), ("+/+/", b"\xfb\xff\xbf")]
        {
            assert_eq!(decode(text), bytes, "{text}");
        }
    }
}
