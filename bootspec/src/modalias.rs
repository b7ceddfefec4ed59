// SPDX-License-Identifier: GPL-3.0-or-later
//! What a device says it is, and what a driver says it is for (modules.alias of kmod(8)).

/// A pattern of modules.alias: `*`, `?` and `[a-f]`, as fnmatch(3) has them.
pub fn matches(pattern: &str, text: &str) -> bool {
    glob(pattern.as_bytes(), text.as_bytes())
}

fn glob(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // Where to go on when what follows the last `*` does not fit.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        let fits = match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                again = Some((rest, text));
                pattern = rest;
                continue;
            }
            (_, []) => return false,
            ([b'[', rest @ ..], [c, more @ ..]) => class(rest, *c).map(|rest| (rest, more)),
            ([p, rest @ ..], [c, more @ ..]) if *p == b'?' || p == c => Some((rest, more)),
            _ => None,
        };
        (pattern, text) = match (fits, again) {
            (Some(next), _) => next,
            (None, Some((after, [_, shorter @ ..]))) => {
                again = Some((after, shorter));
                (after, shorter)
            }
            (None, _) => return false,
        };
    }
}

/// Behind a `[`: what follows its `]`, if the character is one of them.
fn class(pattern: &[u8], c: u8) -> Option<&[u8]> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let (mut set, rest) = (&pattern[..end], &pattern[end + 1..]);
    let mut found = false;
    while let [first, more @ ..] = set {
        (found, set) = match more {
            [b'-', last, more @ ..] => (found || (*first..=*last).contains(&c), more),
            _ => (found || *first == c, more),
        };
    }
    found.then_some(rest)
}

/// How a PCI device says what it is, without its subsystem: what a boot loader knows. `card`: as iPXE has `busid`, `01` and
/// the numbers of vendor and device in hexadecimal, with whatever signs between them.
pub fn of_busid(card: &str) -> Option<String> {
    let digits: String = card.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_uppercase();
    let (kind, rest) = digits.split_at_checked(2)?;
    let (vendor, device) = rest.split_at_checked(4)?;
    (kind == "01" && device.len() == 4)
        .then(|| format!("pci:v0000{vendor}d0000{device}sv00000000sd00000000bc02sc00i00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_as_the_kernel_has_them() {
        let e1000 = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
        assert!(matches("pci:v00008086d0000100Esv*sd*bc*sc*i*", e1000));
        assert!(!matches("pci:v00008086d0000100Fsv*sd*bc*sc*i*", e1000));
        assert!(matches("pci:v*d*sv*sd*bc02sc00i*", e1000));
        assert!(matches("virtio:d00000001v*", "virtio:d00000001v00001AF4"));
        let usb = "usb:v0411p00E8d0003dc00";
        assert!(matches("usb:v0411p00E8d000[1-9]dc*", usb));
        assert!(!matches("usb:v0411p00E8d000[5-9A]dc*", usb));
        assert!(matches("usb:v0411p00E?d*", usb));
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("[", "a", false),
            ("[a-", "a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_ipxe_says_of_its_card() {
        let e1000 = Some("pci:v00008086d0000100Esv00000000sd00000000bc02sc00i00".to_owned());
        for card in ["01:8086:100e", "01:80:86:10:0e", "018086100E"] {
            assert_eq!(of_busid(card), e1000, "{card}");
        }
        // USB, nothing, and what nobody says.
        for card in ["02:0411:00e8", "", "01:8086", "01:8086:100e:00", "01é8086:100e:é1"] {
            assert_eq!(of_busid(card), None, "{card}");
        }
    }
}
