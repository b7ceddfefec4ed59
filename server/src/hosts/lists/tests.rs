// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::hosts::{EntryKey, HostEntry};

fn read(text: &str) -> Result<Vec<String>, String> {
    let listed = ListFormat::guess(text).read(text)?;
    let shown = |(key, e): &(EntryKey, HostEntry)| {
        let word = |w: Option<String>| w.unwrap_or_else(|| "-".into());
        let (name, group) =
            (e.name.as_ref().map(ToString::to_string), e.group.as_ref().map(ToString::to_string));
        let image = e.image.as_ref().map(ToString::to_string);
        format!("{key} {} {} {} {}", word(name), word(group), word(image), e.params.join(","))
    };
    Ok(listed.entries.iter().map(shown).chain(listed.notes).collect())
}

#[test]
fn a_spreadsheets_table() {
    let rows = ["52:54:00:00:00:01 pc1 room1 lab@2 quiet,x=\"1\"", "group:room1 - - - "];
    for text in [
        "who,name,group,image,params\n52:54:00:00:00:01,pc1,room1,lab@2,\"quiet x=\"\"1\"\"\"\ngroup:room1,,,,\n",
        "\u{feff}MAC;Name;Group;Image;Params\r\n52-54-00-00-00-01;pc1;room1;lab@2;\"quiet x=\"\"1\"\"\"\r\ngroup:room1;;;;\r\n",
        "name\tgroup\twho\timage\tparams\n# a remark\npc1\troom1\t525400000001\tlab@2\t\"quiet x=\"\"1\"\"\"\n\t\tgroup:room1\t\t\n",
    ] {
        assert_eq!(read(text).unwrap(), rows, "{text}");
    }
    for (text, why) in [
        (
            "who,owner\n",
            "line 1: there is no column 'owner': use who, name, group, image, once, menu, params, prefix, subnet",
        ),
        ("who,name\n52:54:00:00:00:01\n", "line 2: it has 1 cells, and the first line has 2"),
        ("who,name\n,pc1\n", "line 2: nobody is named in the column who"),
        ("who,menu\ndefault,perhaps\n", "line 2: 'perhaps' is not a valid value for menu: use yes or no"),
        ("who,name\nserial:1,a\nserial:1,b\n", "serial:1 is there twice"),
    ] {
        assert_eq!(read(text), Err(why.into()), "{text}");
    }
    assert!(
        read("who,image\ndefault,a b\n").unwrap_err().starts_with("line 2: 'a b' is not a valid image name")
    );
}

#[test]
fn ethers_and_dnsmasq() {
    assert_eq!(
        read("# comment\n52:54:0:0:0:a pc1 # behind\n\n52:54:00:00:00:0b\t10.0.0.5\n").unwrap(),
        [
            "52:54:00:00:00:0a pc1 - - ",
            "52:54:00:00:00:0b - - - ",
            "52:54:00:00:00:0b has the address 10.0.0.5 and no name: addresses come from DHCP"
        ]
    );
    assert_eq!(
        read(
            "domain=lab\ndhcp-host=52:54:00:00:00:01,set:room1,pc1,10.0.0.5,12h\n\
             dhcp-host=01-52:54:00:00:00:02, pc2.lab ,infinite # x\ndhcp-host=id:ff:1,pc3\n\
             dhcp-host=52:54:00:00:00:04,ignore\ndhcp-host=52:54:00:00:00:05,52:54:00:00:00:06,pc5,[fd00::5]\n"
        )
        .unwrap(),
        [
            "52:54:00:00:00:01 pc1 room1 - ",
            "52:54:00:00:00:02 pc2 - - ",
            "52:54:00:00:00:05 pc5 - - ",
            "id:ff:1 is passed over",
            "'id:ff:1,pc3' is left out: it has no MAC address",
            "'52:54:00:00:00:04,ignore' is left out: dnsmasq ignores this machine",
            "'52:54:00:00:00:05,52:54:00:00:00:06,pc5,[fd00::5]': only its first MAC address counts",
        ]
    );
    assert_eq!(read("52:54:00:00:00:01,pc1\n").unwrap(), ["52:54:00:00:00:01 pc1 - - "]);
    for (text, why) in [
        ("52:54:00 pc1\n", "line 1: '52:54:00' is not a valid MAC address: write it as in 52:54:00:12:34:56"),
        ("52:54:00:00:00:01\n", "line 1: '52:54:00:00:00:01' has no name behind it"),
        ("52:54:00:00:00:01 a b\n", "line 1: 'b' is too much: write an address and a name"),
        (
            "dhcp-host=52:54:00:*:*:*,pc\n",
            "line 1: '52:54:00:*:*:*' is not the MAC address of one machine: write it as in 52:54:00:12:34:56",
        ),
    ] {
        assert_eq!(read(text), Err(why.into()), "{text}");
    }
}
