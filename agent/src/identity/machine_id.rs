// SPDX-License-Identifier: GPL-3.0-or-later
//! The machine-id (machine-id(5)) of a machine that keeps nothing: made from its firmware or its network card, so that
//! it is the same at each boot. DHCP's client ids, and with them leases, are made from it (RFC 4361).

use bootspec::smbios::is_uuid;
use std::{fs, io, path::Path};
use swarm::Summing;

/// Makes ours different from what others make of the same number.
const APPLICATION: &str = "boottorrent machine-id ";

/// The machine-id, 32 hexadecimal digits. `sys`: /sys but in tests; `mac`: the boot card's address. `None`: there is
/// nothing that only this machine has.
pub fn derive(sys: &Path, mac: &str) -> Option<String> {
    let uuid = fs::read_to_string(sys.join("class/dmi/id/product_uuid")).unwrap_or_default();
    let uuid = uuid.trim().to_lowercase();
    let own = if is_uuid(&uuid) { uuid } else { mac.to_lowercase() };
    (!own.is_empty()).then(|| digits(&own))
}

/// A UUID that is always the same for these words.
pub fn uuid(words: &str) -> String {
    let d = digits(words);
    [&d[..8], &d[8..12], &d[12..16], &d[16..20], &d[20..]].join("-")
}

fn digits(words: &str) -> String {
    let mut sum = Summing::new(io::Cursor::new(format!("{APPLICATION}{words}")));
    io::copy(&mut sum, &mut io::sink()).expect("a cursor can be read");
    let mut id: [u8; 16] = sum.finish().0[..16].try_into().expect("32 bytes have 16");
    // A UUID of version 4, as sd_id128_get_machine(3) has it.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_for_a_machine_and_for_no_other() {
        let id = |uuid: &str, mac: &str| {
            let sys = tempfile::tempdir().unwrap();
            let at = sys.path().join("class/dmi/id");
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("product_uuid"), format!("{uuid}\n")).unwrap();
            derive(sys.path(), mac)
        };
        let (a, b) = ("4c4c4544-0042-3510-8052-b4c04f4e4e32", "4c4c4544-0042-3510-8052-b4c04f4e4e33");
        assert_eq!(id(a, "52:54:00:00:00:01"), id(&a.to_uppercase(), "52:54:00:00:00:02"));
        assert_ne!(id(a, ""), id(b, ""));
        let id_of_mac = id("", "52:54:00:00:00:01").unwrap();
        assert_ne!(Some(&id_of_mac), id("", "52:54:00:00:00:02").as_ref());
        for placeholder in
            ["00000000-0000-0000-0000-000000000000", "Not Settable", "03000200-0400-0500-0006-000700080009"]
        {
            assert_eq!(id(placeholder, "52:54:00:00:00:01").as_ref(), Some(&id_of_mac), "{placeholder}");
        }
        assert_eq!(id("", ""), None);
        assert!(id_of_mac.len() == 32 && &id_of_mac[12..13] == "4", "{id_of_mac}");
    }
}
