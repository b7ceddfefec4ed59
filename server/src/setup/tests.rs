// SPDX-License-Identifier: GPL-3.0-or-later
use super::{
    plan::{Content, Here, SetupOptions, SetupPlan, plan},
    survey::Survey,
    write::{Record, Removed, check, remove, write},
};
use crate::net::{Interface, Subnet};
use anyhow::Result;
use proptest::prelude::*;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// A machine with iPXE, an /etc/dnsmasq.d and two networks.
struct World {
    dir: TempDir,
    interfaces: Vec<Interface>,
}

impl World {
    fn new(snippets: &[(&str, &str)]) -> World {
        let world = World {
            dir: tempfile::tempdir().unwrap(),
            interfaces: vec![interface("eth0", "192.168.1.2/24"), interface("eth1", "10.0.0.1/16")],
        };
        for dir in ["dnsmasq.d", "lib/ipxe", "lib/shim", "lib/grub/x86_64-efi-signed"] {
            fs::create_dir_all(world.path(dir)).unwrap();
        }
        for loader in [
            "ipxe/undionly.kpxe",
            "ipxe/snponly.efi",
            "ipxe/ipxe.efi",
            "shim/shimx64.efi.signed",
            "grub/x86_64-efi-signed/grubnetx64.efi.signed",
        ] {
            fs::write(world.path("lib").join(loader), loader).unwrap();
        }
        for (name, text) in snippets {
            fs::write(world.path("dnsmasq.d").join(name), text).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn plan(&self, wishes: SetupOptions) -> Result<SetupPlan> {
        self.plan_with(wishes, true)
    }

    /// `shell`: whether iPXE gives one.
    fn plan_with(&self, wishes: SetupOptions, shell: bool) -> Result<SetupPlan> {
        let dir = self.path("dnsmasq.d");
        let here =
            Here { dnsmasq_dir: &dir, lib: &self.path("lib"), state: &self.path("state"), port: 6980, shell };
        plan(&wishes, &Survey::read(&dir)?, &self.interfaces, here)
    }

    /// The texts of a plan, with the temporary folder's name taken out.
    fn texts(&self, plan: &SetupPlan) -> String {
        let root = self.dir.path().display().to_string();
        let text = |i: &super::plan::PlannedFile| {
            let content = match &i.content {
                Content::Text(text) => text.clone(),
                Content::Copy(from) => format!("(a copy of {})\n", from.display()),
                Content::Link(to) => format!("(a link to {})\n", to.display()),
                Content::Folder => "(a folder)\n".into(),
            };
            format!("==> {} <==\n{content}", i.path.display()).replace(&root, "@")
        };
        plan.items.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    fn check(&self, plan: &SetupPlan) -> Result<()> {
        let dir = self.path("dnsmasq.d");
        check(plan, &dir, &Survey::read(&dir)?.files)
    }

    /// Every file below the folder, with its content.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut todo, mut out) = (vec![self.dir.path().to_owned()], Vec::new());
        while let Some(path) = todo.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => {
                    out.push((path, Vec::new()));
                    todo.extend(entries.map(|e| e.unwrap().path()));
                }
                Err(_) => out.push((path.clone(), fs::read(path).unwrap())),
            }
        }
        out.sort();
        out
    }
}

fn interface(name: &str, address: &str) -> Interface {
    let subnet: Subnet = address.parse().unwrap();
    Interface { name: name.into(), address: address.split('/').next().unwrap().parse().unwrap(), subnet }
}

fn proxy() -> SetupOptions {
    SetupOptions { interfaces: vec!["eth0".into()], ..Default::default() }
}

fn authoritative(from: &str, to: &str) -> SetupOptions {
    let ranges = vec![(from.parse().unwrap(), to.parse().unwrap())];
    let dns = vec!["10.0.0.3".parse().unwrap(), "10.0.0.4".parse().unwrap()];
    let router = "10.0.0.254".parse().ok();
    SetupOptions {
        interfaces: vec!["eth1".into()],
        authoritative: true,
        ranges,
        dns,
        router,
        ..Default::default()
    }
}

const LTSP: &str = "port=0\nenable-tftp\ntftp-root=@/ltsp\nbind-dynamic\ndhcp-match=set:ipxe,175\ndhcp-boot=tag:ipxe,ltsp/ltsp.ipxe\n";

/// Set UPDATE_GOLDEN=1 to write what is planned now.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(
        text,
        fs::read_to_string(&path).unwrap(),
        "{name}: run with UPDATE_GOLDEN=1 and read the diff"
    );
}

#[test]
fn what_dnsmasq_is_told_and_that_it_understands() {
    let fresh = World::new(&[("README", "# Debian's\n")]);
    let dns = World::new(&[("lan.conf", "domain=lan\naddress=/nas/192.168.1.3\n")]);
    let ltsp = World::new(&[]);
    fs::write(ltsp.path("dnsmasq.d/ltsp.conf"), LTSP.replace('@', &ltsp.dir.path().display().to_string()))
        .unwrap();
    let arm64 = World::new(&[]);
    fs::create_dir_all(arm64.path("lib/grub/arm64-efi-signed")).unwrap();
    fs::write(arm64.path("lib/grub/arm64-efi-signed/grubnetaa64.efi.signed"), "grub").unwrap();
    for (name, world, wishes) in [
        ("dnsmasq-arm64", &arm64, authoritative("10.0.1.0", "10.0.2.255")),
        ("dnsmasq-arm64-proxy", &arm64, proxy()),
        ("dnsmasq-proxy", &fresh, proxy()),
        ("dnsmasq-authoritative", &fresh, authoritative("10.0.1.0", "10.0.2.255")),
        (
            "dnsmasq-beside-dns",
            &dns,
            SetupOptions { subnet: "192.168.1.0/24".parse().ok(), ..Default::default() },
        ),
        ("dnsmasq-beside-ltsp", &ltsp, proxy()),
        (
            "dnsmasq-secure-boot",
            &fresh,
            SetupOptions { secure_boot: true, ..authoritative("10.0.1.0", "10.0.2.255") },
        ),
        ("dnsmasq-secure-boot-proxy", &fresh, SetupOptions { secure_boot: true, ..proxy() }),
    ] {
        let plan = world.plan(wishes).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        golden(&format!("{name}.txt"), &world.texts(&plan));
        world.check(&plan).unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
    let notes = ltsp.plan(proxy()).unwrap().notes.join("\n");
    assert!(
        notes.ends_with("ltsp.conf has dhcp-boot too: machines may get what it names instead"),
        "{notes}"
    );
}

#[test]
fn no_shell_for_who_sits_there() {
    let world = World::new(&[]);
    let open = world.plan_with(proxy(), false).unwrap();
    assert!(world.texts(&open).contains("X86PC,\"BootTorrent\",boottorrent/undionly.kpxe"));
    assert!(
        open.notes.join("\n").contains("`apt install pxelinux syslinux-common ipxe`"),
        "{:?}",
        open.notes
    );
    for file in ["PXELINUX/pxelinux.0", "syslinux/modules/bios/ldlinux.c32", "ipxe/ipxe.lkrn"] {
        let path = world.path("lib").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    let wishes = SetupOptions { secure_boot: true, ..authoritative("10.0.1.0", "10.0.2.255") };
    let plan = world.plan_with(wishes, false).unwrap();
    golden("dnsmasq-no-shell.txt", &world.texts(&plan));
    world.check(&plan).unwrap();
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    let plan = world.plan_with(proxy(), false).unwrap();
    world.check(&plan).unwrap();
    assert!(world.texts(&plan).contains("X86PC,\"BootTorrent\",boottorrent/pxelinux.0"));
}

#[test]
fn refuses_in_one_sentence() {
    let world = World::new(&[]);
    let nothing = || SetupOptions::default();
    for (wishes, sentence) in [
        (
            nothing(),
            "there are several networks here: give --interface with one of: eth0 (192.168.1.0/24), eth1 (10.0.0.0/16)",
        ),
        (
            SetupOptions { interfaces: vec!["wlan0".into()], ..nothing() },
            "the interface wlan0 has no IPv4 address: give --subnet, or one of: eth0 (192.168.1.0/24), eth1 (10.0.0.0/16)",
        ),
        (
            SetupOptions { authoritative: true, ..proxy() },
            "authoritative mode needs the addresses to give: --range FROM,TO within 192.168.1.0/24",
        ),
        (
            SetupOptions { authoritative: false, ..authoritative("10.0.1.0", "10.0.2.0") },
            "--range is for --mode authoritative: in proxy mode another server gives the addresses",
        ),
        (
            SetupOptions { ranges: vec![], authoritative: false, ..authoritative("10.0.1.0", "10.0.2.0") },
            "--dns and --router are for --mode authoritative: in proxy mode another server tells them",
        ),
        (
            authoritative("10.1.1.0", "10.1.2.0"),
            "the range 10.1.1.0,10.1.2.0 is not within 10.0.0.0/16: give --range FROM,TO with two addresses of it",
        ),
        (
            authoritative("10.0.0.1", "10.0.0.9"),
            "the range 10.0.0.1,10.0.0.9 has this machine's own address 10.0.0.1 in it: leave it out",
        ),
        (
            SetupOptions { tftp_root: Some("tftp".into()), ..proxy() },
            "'tftp' is not an absolute path: TFTP needs one",
        ),
    ] {
        assert_eq!(world.plan(wishes).unwrap_err().to_string(), sentence);
    }
    let ltsp = World::new(&[("ltsp.conf", "tftp-root=/srv/ltsp\n")]);
    let e =
        ltsp.plan(SetupOptions { tftp_root: Some("/srv/tftp".into()), ..proxy() }).unwrap_err().to_string();
    assert!(e.ends_with("ltsp.conf sets tftp-root=/srv/ltsp: take that one, or change it there"), "{e}");
}

/// server.md F2: what keeps dnsmasq from machines is widened, refused or told.
#[test]
fn a_dnsmasq_that_is_narrowed() {
    for (line, interface, note) in [
        ("listen-address=127.0.0.1", true, "limits dnsmasq to 127.0.0.1: interface=eth0 is added"),
        ("interface=lo", true, "limits dnsmasq to lo: interface=eth0 is added"),
        ("dhcp-ignore=tag:!known", true, "has dhcp-ignore=tag:!known: dnsmasq does not answer machines"),
        ("tftp-secure", true, "has tftp-secure"),
    ] {
        let world = World::new(&[("lan.conf", line)]);
        for wishes in
            [proxy(), SetupOptions { subnet: "192.168.1.0/24".parse().ok(), ..SetupOptions::default() }]
        {
            let plan = world.plan(wishes).unwrap();
            let own = plan.notes.iter().any(|n| n.contains(note));
            assert!(own, "{line}: {:?}", plan.notes);
            if line.contains('=') && !line.starts_with("dhcp") {
                assert_eq!(world.texts(&plan).contains("\ninterface=eth0\n"), interface, "{line}");
            }
            world.check(&plan).unwrap();
        }
    }
    for line in ["no-dhcp-interface=eth0", "except-interface=eth*", "no-dhcp-interface=eth1,eth0"] {
        let world = World::new(&[("lan.conf", line)]);
        let e = world.plan(proxy()).unwrap_err().to_string();
        let sentence = format!(
            "lan.conf has {line}: dnsmasq answers no machine on eth0; take that line out, or choose another --interface"
        );
        assert!(e.ends_with(&sentence), "{e}");
    }
}

/// server.md F3: several networks at once.
#[test]
fn several_interfaces() {
    let world = World::new(&[]);
    let both = || vec!["eth0".to_owned(), "eth1".to_owned()];
    let plan = world.plan(SetupOptions { interfaces: both(), ..SetupOptions::default() }).unwrap();
    golden("dnsmasq-two-networks.txt", &world.texts(&plan));
    world.check(&plan).unwrap();
    let range = |a: &str, b: &str| (a.parse().unwrap(), b.parse().unwrap());
    let ranges = vec![range("10.0.1.0", "10.0.2.0"), range("192.168.1.100", "192.168.1.200")];
    let wishes =
        SetupOptions { interfaces: both(), ranges: ranges.clone(), ..authoritative("10.0.1.0", "10.0.2.0") };
    let plan = world.plan(wishes).unwrap();
    let text = world.texts(&plan);
    for line in [
        "dhcp-range=set:bt-range,192.168.1.100,192.168.1.200,255.255.255.0,12h",
        "dhcp-range=set:bt-range-2,10.0.1.0,10.0.2.0,255.255.0.0,12h",
        "dhcp-option=tag:bt-range-2,option:router,10.0.0.254",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("tag:bt-range,option:router"), "a router of another network");
    world.check(&plan).unwrap();
    let e = world.plan(SetupOptions {
        interfaces: both(),
        ranges: ranges[..1].to_vec(),
        ..authoritative("10.0.1.0", "10.0.2.0")
    });
    assert_eq!(
        e.unwrap_err().to_string(),
        "authoritative mode needs the addresses to give: --range FROM,TO within 192.168.1.0/24"
    );
    // Two addresses on one card, and a link without room for machines.
    let mut world = World::new(&[]);
    world.interfaces = vec![interface("eth0", "192.168.1.2/24"), interface("eth0", "192.168.77.1/24")];
    let e = world.plan(proxy()).unwrap_err().to_string();
    assert_eq!(
        e,
        "the interface eth0 has several networks: choose one with --subnet: eth0 (192.168.1.0/24), eth0 (192.168.77.0/24)"
    );
    let link =
        Interface { subnet: Subnet::of("10.9.9.1".parse().unwrap(), 32), ..interface("eth0", "10.9.9.1/24") };
    world.interfaces = vec![link];
    let e = world.plan(proxy()).unwrap_err().to_string();
    assert_eq!(
        e,
        "the interface eth0 has the address 10.9.9.1/32, whose network has no room for machines: give --subnet"
    );
}

#[test]
fn a_conf_that_dnsmasq_does_not_take_is_refused() {
    let world = World::new(&[("broken.conf", "no-such-keyword\n")]);
    let e = format!("{:#}", world.check(&world.plan(proxy()).unwrap()).unwrap_err());
    assert!(
        e.starts_with("dnsmasq would not start with this beside what is there already: `dnsmasq --test"),
        "{e}"
    );
    assert!(e.contains("bad option at line 1 of"), "{e}");
}

#[test]
fn remove_takes_back_exactly_what_was_written() {
    let world = World::new(&[("lan.conf", "domain=lan\n")]);
    let state = world.path("state");
    fs::create_dir(&state).unwrap();
    let before = world.all();
    let tftp = |at: &str| SetupOptions { tftp_root: Some(world.path(at)), ..proxy() };
    write(&world.plan(tftp("tftp")).unwrap(), &state).unwrap();
    assert_eq!(
        fs::read_to_string(world.path("tftp/boottorrent/undionly.kpxe")).unwrap(),
        "ipxe/undionly.kpxe"
    );
    // Written again elsewhere, the files of the first time go.
    write(&world.plan(tftp("tftp2")).unwrap(), &state).unwrap();
    assert!(!world.path("tftp/boottorrent/undionly.kpxe").exists());
    let removed = remove(&state).unwrap();
    assert_eq!(removed.len(), 5, "{removed:?}");
    assert_eq!(world.all(), before);
    assert_eq!(remove(&state).unwrap(), []);

    // With links, and a folder that the daemon has written to; without Secure Boot again, they go.
    let secure = |secure_boot| SetupOptions { secure_boot, ..tftp("tftp") };
    for again in [secure(true), secure(true), secure(false), secure(true)] {
        let filled = again.secure_boot;
        write(&world.plan(again).unwrap(), &state).unwrap();
        let link = world.path("tftp/boottorrent/grub");
        assert_eq!(fs::read_link(&link).ok(), filled.then(|| state.join("grub")));
        assert_eq!(state.join("grub").is_dir(), filled);
        if filled {
            fs::write(link.join("grub.cfg"), "x").unwrap();
        }
    }
    remove(&state).unwrap();
    assert_eq!(world.all(), before);
}

#[test]
fn files_of_others_are_not_touched() {
    let world = World::new(&[("boottorrent.conf", "# mine\n")]);
    let state = world.path("state");
    let wishes = SetupOptions { tftp_root: Some(world.path("tftp")), ..proxy() };
    let e = write(&world.plan(wishes.clone()).unwrap(), &state).unwrap_err().to_string();
    assert!(e.ends_with("dnsmasq.d/boottorrent.conf is there and is not ours: move it away first"), "{e}");
    assert_eq!(Record::read(&state).unwrap(), Record::default());

    fs::remove_file(world.path("dnsmasq.d/boottorrent.conf")).unwrap();
    write(&world.plan(wishes).unwrap(), &state).unwrap();
    let script = world.path("tftp/boottorrent/boot.ipxe");
    fs::write(&script, "#!ipxe\nshell\n").unwrap();
    let removed = remove(&state).unwrap();
    assert_eq!(removed.iter().filter(|r| **r == Removed::Changed(script.clone())).count(), 1);
    assert!(script.exists() && !world.path("dnsmasq.d/boottorrent.conf").exists());
}

/// What somebody may type, or a program may pass on.
fn hostile() -> impl Strategy<Value = String> {
    let words = vec![
        "eth0",
        "/srv/tftp",
        "\n",
        "\r\n",
        "dhcp-script=/bin/sh",
        ",",
        "\"",
        "\\",
        " #",
        "\0",
        "\u{85}",
        "\u{2028}",
        "=",
        "..",
        "\x1b[2J",
        "*",
        " ",
        "é",
    ];
    let word =
        prop_oneof![proptest::sample::select(words).prop_map(str::to_owned), any::<String>(), "[ -~]{0,12}"];
    proptest::collection::vec(word, 0..6).prop_map(|w| w.concat())
}

proptest! {
    /// Whatever is wished, dnsmasq is told what it would be told of an interface and a folder, or nothing.
    #[test]
    fn nothing_breaks_out_of_a_line_of_dnsmasq(interface in hostile(), root in hostile(), authoritative_: bool) {
        let world = World::new(&[]);
        let wishes = |interface: &str, root: &str| SetupOptions {
            interfaces: vec![interface.into()],
            subnet: "10.0.0.0/16".parse().ok(),
            tftp_root: Some(root.into()),
            ..if authoritative_ { authoritative("10.0.1.1", "10.0.1.9") } else { SetupOptions::default() }
        };
        let model = world.texts(&world.plan(wishes("eth0", "/srv/tftp")).unwrap());
        let Ok(plan) = world.plan(wishes(&interface, &root)) else { return Ok(()) };
        let text = world.texts(&plan);
        prop_assert_eq!(text.lines().count(), model.lines().count());
        for (line, like) in text.lines().zip(model.lines()) {
            let at = line.starts_with("==> ");
            let like = &like.replace("tag:eth0,", &format!("tag:{interface},"))[..];
            let key = |l: &str| l.split('=').next().unwrap().to_owned();
            prop_assert!(at || line == like || key(line) == key(like), "{:?}", line);
            prop_assert!(at || !line.contains(['"', '\\']) || line == like, "{:?}", line);
            prop_assert!(!line.chars().any(|c| c != '\t' && c.is_control()), "{:?}", line);
        }
    }
}
