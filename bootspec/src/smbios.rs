// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers in firmware (SMBIOS) that tell one machine from another, and what stands in their place where a maker wrote
//! none: then many machines have the same.

/// Whether a serial number is a machine's own.
pub fn is_serial(text: &str) -> bool {
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    // As FOG, xCAT and others have met them.
    let words = [
        "tobefilledbyoem",
        "defaultstring",
        "systemserialnumber",
        "notspecified",
        "notapplicable",
        "notavailable",
        "none",
        "na",
        "null",
        "invalid",
        "empty",
        "unknown",
        "serial",
        "serialnumber",
        "oem",
        "123456789",
        "0123456789",
        "1234567890",
        "12345678",
    ];
    (plain.len() == 1 && plain != "0" || is_varied(&plain)) && !words.contains(&plain.as_str())
}

/// Whether a UUID is a machine's own: lower case, with dashes.
pub fn is_uuid(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    // Boards of several makers.
    let known = [
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "00020003-0004-0005-0006-000700080009",
    ];
    digits.len() == 32
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && is_varied(&digits)
        // fefefefe-…: the same byte again and again.
        && digits.as_bytes().chunks(2).any(|b| b != &digits.as_bytes()[..2])
        && !known.contains(&text)
}

fn is_varied(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    chars.any(|c| Some(c) != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// server.md F16.
    #[test]
    fn placeholders_are_nobodys() {
        for text in [
            "To Be Filled By O.E.M.",
            "Default string",
            "0",
            "None",
            "",
            "00000000",
            "N/A",
            "XXXXXXX",
            "INVALID",
        ] {
            assert!(!is_serial(text), "{text}");
        }
        for text in ["PF0ABC12", "S1", "7", "VMware-56 4d 01"] {
            assert!(is_serial(text), "{text}");
        }
        for text in [
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "00000000-0000-0000-0000-000000000000",
            "fefefefe-fefe-fefe-fefe-fefefefefefe",
            "03000200-0400-0500-0006-000700080009",
            "Not Settable",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
        assert!(is_uuid("4c4c4544-0042-3510-8052-b4c04f4e4e32"));
    }
}
