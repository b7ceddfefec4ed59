// SPDX-License-Identifier: GPL-3.0-or-later
//! BMCs of others' making: `ipmi_sim` (Debian's openipmi), and a Redfish service (sushy-tools, which scripts/setup puts
//! into target/redfish). User `admin`, password `secret`.

#![allow(dead_code)]

use crate::{
    certificate::certificate,
    common::{World, until},
};
use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// `secret`, as htpasswd would write it (bcrypt).
const HASH: &str = "$2b$04$mtpDH0b0G9qW8uRt3hD7w.hHfON4kFIxYwP14NGpulZ4asI0owQ1u";

/// A simulator. Killed when dropped.
pub struct Bmc {
    child: Child,
    pub port: u16,
    dir: PathBuf,
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bmc {
    /// One that speaks IPMI; its machine is off.
    pub fn ipmi(w: &World, name: &str) -> Bmc {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (dir, shown) = (w.path(name), w.shown(name));
        fs::create_dir_all(dir.join("state")).unwrap();
        w.write(
            &format!("{name}/chassis"),
            format!(
                "#!/bin/sh\necho \"$@\" >>{shown}/calls\nverb=$2\nshift 2\nwhile [ $# -gt 0 ]; do\n\
                 case $verb in get) echo \"$1:$(cat {shown}/power)\" ;; set) [ $1 = power ] && echo $2 >{shown}/power; shift ;; esac\n\
                 shift\ndone\n"
            ),
        );
        fs::set_permissions(dir.join("chassis"), fs::Permissions::from_mode(0o755)).unwrap();
        w.write(&format!("{name}/power"), "0\n");
        w.write(&format!("{name}/commands"), "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n");
        w.write(
            &format!("{name}/lan.conf"),
            format!(
                "name \"bmc\"\nset_working_mc 0x20\n startlan 1\n  addr 127.0.0.1 {port}\n  priv_limit admin\n  \
                 allowed_auths_admin none md2 md5 straight\n  guid a123456789abcdefa123456789abcdef\n endlan\n \
                 chassis_control \"{shown}/chassis 0x20\"\n user 2 true \"admin\" \"secret\" admin 10 none md2 md5 straight\n"
            ),
        );
        let at = |file: &str| dir.join(file);
        let child = Command::new("ipmi_sim")
            .args([
                "-n".as_ref(),
                "-c".as_ref(),
                at("lan.conf").as_os_str(),
                "-f".as_ref(),
                at("commands").as_os_str(),
            ])
            .arg("-s")
            .arg(at("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("ipmi_sim is missing: scripts/setup installs openipmi");
        // It listens as soon as nobody else can.
        until("ipmi_sim", || UdpSocket::bind(("127.0.0.1", port)).is_err().then_some(()));
        Bmc { child, port, dir }
    }

    /// What its machine was told, by IPMI.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        calls.lines().filter_map(|line| line.split_once(" set ")).map(|(_, what)| what.to_owned()).collect()
    }

    /// One that speaks Redfish for systems of these names, all off; its certificate is by NAME.ca.crt.
    pub fn redfish(w: &World, name: &str, systems: &[&str]) -> Bmc {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/redfish/bin/sushy-emulator");
        assert!(program.exists(), "{} is missing: scripts/setup installs it", program.display());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        certificate(w, name, "IP:127.0.0.1");
        let dir = w.path(&format!("{name}-state"));
        fs::create_dir(&dir).unwrap();
        w.write(&format!("{name}.users"), format!("admin:{HASH}\n"));
        let systems: Vec<String> = systems
            .iter()
            .map(|n| format!("{{'uuid': '{n}', 'name': 'name-of-{n}', 'power_state': 'Off', 'nics': []}}"))
            .collect();
        let config = w.write(
            &format!("{name}.conf"),
            format!(
                "SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_FAKE_SYSTEMS = [{}]\nSUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
                 SUSHY_EMULATOR_LISTEN_PORT = {port}\nSUSHY_EMULATOR_SSL_CERT = {:?}\nSUSHY_EMULATOR_SSL_KEY = {:?}\n\
                 SUSHY_EMULATOR_AUTH_FILE = {:?}\nSUSHY_EMULATOR_STATE_DIR = {dir:?}\n",
                systems.join(", "),
                w.shown(&format!("{name}.pem")),
                w.shown(&format!("{name}.key")),
                w.shown(&format!("{name}.users")),
            ),
        );
        let mut command = Command::new(program);
        command.arg("--config").arg(config).env("TMPDIR", &dir).current_dir(&dir);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("sushy-emulator", || TcpStream::connect(("127.0.0.1", port)).ok());
        Bmc { child, port, dir }
    }
}
