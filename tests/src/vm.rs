// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine in QEMU on a lab's network.

use crate::{
    Background, Cmd, Console, Lab, Line, Relay,
    console::connect,
    firmware::{Firmware, rom},
    lab::BRIDGE,
};
use anyhow::{Context, Result, ensure};
use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What our images say on the console when the boot is done.
pub const MULTI_USER: &str = "lab: systemd reached multi-user.target";

/// The longest that a machine may take to boot. Software emulation is slow: on two cores with four machines and a compiler a
/// live ISO needed more than seven minutes. A hang must still be told from it.
pub const BOOT: Duration = Duration::from_secs(900);

/// What is done to a machine before it starts.
#[derive(Clone, Debug)]
pub struct VmConfig {
    name: String,
    memory: u32,
    from: From,
    firmware: Firmware,
    new_firmware: bool,
    spare_card: bool,
    other_network: bool,
    trunk: Option<u16>,
    disks: Vec<DiskConfig>,
    clock: Option<String>,
    mac: Option<String>,
    card: Option<&'static str>,
    bridge: &'static str,
    screen: bool,
}

/// A disk of a machine.
#[derive(Clone, Debug)]
struct DiskConfig {
    file: PathBuf,
    serial: String,
    kind: DiskKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskKind {
    /// virtio, with sectors of 512 bytes.
    Virtio,
    /// The same, with sectors of 4096 bytes.
    LargeSectors,
    /// A namespace of an NVMe device: those with one serial number are on one device.
    Namespace,
}

/// What a machine is started from.
#[derive(Clone, Debug)]
enum From {
    /// The network.
    Network,
    /// Kernel, initrd and command line.
    Direct(PathBuf, PathBuf, String),
    /// Its first disk; there is no network card at all.
    Disk,
}

/// A running machine; it is killed when dropped.
pub struct Vm {
    name: String,
    mac: String,
    log: PathBuf,
    socket: PathBuf,
    console: Console,
    qemu: Background,
    /// What stands between it and the switch, if anything does.
    _trunk: Option<Background>,
    monitor: UnixStream,
    started: Instant,
}

impl VmConfig {
    /// RAM in MiB; 1024 if not said.
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory = mib;
        self
    }

    /// With UEFI instead of a BIOS.
    pub fn uefi(mut self) -> Self {
        self.firmware = Firmware::Uefi;
        self
    }

    /// With UEFI that starts only what Microsoft's keys have signed.
    pub fn secure_boot(mut self) -> Self {
        self.firmware = Firmware::SecureBoot;
        self
    }

    /// A machine with 64-bit ARM, and UEFI.
    pub fn arm64(mut self) -> Self {
        self.firmware = Firmware::Arm64;
        self
    }

    /// With the variables that its firmware had at the end of its last start in this lab.
    pub fn same_firmware(mut self) -> Self {
        self.new_firmware = false;
        self
    }

    /// With a clock that says this time when it is switched on, as in 2036-03-01T12:00:00.
    pub fn clock(mut self, time: &str) -> Self {
        self.clock = Some(time.into());
        self
    }

    /// With this address on its network card: the same machine again.
    pub fn mac_of(mut self, mac: &str) -> Self {
        self.mac = Some(mac.into());
        self
    }

    /// With one more network card, which is plugged in nowhere.
    pub fn spare_card(mut self) -> Self {
        self.spare_card = true;
        self
    }

    /// With one more network card, which the kernel finds first, in a network of its own whose DHCP server (QEMU's)
    /// answers at once, as a management card's does: 192.168.7.0/24.
    pub fn other_network(mut self) -> Self {
        self.other_network = true;
        self
    }

    /// In the network behind a [`crate::Relay`].
    pub fn behind_relay(mut self) -> Self {
        self.bridge = Relay::BRIDGE;
        self
    }

    /// With a graphics card: some EFI programs do not start without a screen.
    pub fn screen(mut self) -> Self {
        self.screen = true;
        self
    }

    /// On a trunk port: the machine meets the lab's network in the VLAN with this tag only.
    pub fn trunk(mut self, tag: u16) -> Self {
        self.trunk = Some(tag);
        self
    }

    /// One more disk: a raw file, which the machine writes to, with a serial number of at most 20 characters.
    /// The first one is /dev/vda.
    pub fn disk(mut self, file: &Path, serial: &str) -> Self {
        self.disks.push(DiskConfig { file: file.into(), serial: serial.into(), kind: DiskKind::Virtio });
        self
    }

    /// One more disk, with sectors of 4096 bytes.
    pub fn disk_of_large_sectors(mut self, file: &Path, serial: &str) -> Self {
        self.disks.push(DiskConfig {
            file: file.into(),
            serial: serial.into(),
            kind: DiskKind::LargeSectors,
        });
        self
    }

    /// An NVMe device with these namespaces: /dev/nvme0n1, /dev/nvme0n2 and so on. One for a machine.
    pub fn nvme(mut self, namespaces: &[&Path], serial: &str) -> Self {
        let kind = DiskKind::Namespace;
        let disk = |file: &&Path| DiskConfig { file: file.to_path_buf(), serial: serial.into(), kind };
        self.disks.extend(namespaces.iter().map(disk));
        self
    }

    /// Another network card than virtio's, with the ROM that QEMU has for it.
    pub fn card(mut self, model: &'static str) -> Self {
        self.card = Some(model);
        self
    }

    /// Switch the machine on.
    pub fn start(&self, lab: &Lab) -> Result<Vm> {
        let (tap, own) = lab.tap(self.bridge)?;
        let mac = self.mac.clone().unwrap_or(own);
        let file = |suffix: &str| lab.dir().join(format!("{}.{suffix}", self.name));
        let (log, socket) = (file("console"), file("sock"));
        let console = format!(
            "socket,id=console,path={},server=on,wait=on,logfile={}",
            socket.display(),
            log.display()
        );
        let accel = std::env::var("BT_TEST_ACCEL").unwrap_or_else(|_| "tcg".into());
        let (program, cpu) = self.firmware.emulator();
        let mut cmd = Cmd::new(program)
            .args(["-name", &self.name, "-accel", &accel, "-cpu", cpu])
            .args(["-m", &self.memory.to_string()])
            .args(["-machine", self.firmware.machine(), "-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-chardev", &console, "-serial", "chardev:console"])
            .args(["-device", "virtio-rng-pci", "-monitor"])
            .arg(format!("unix:{},server=on,wait=off", file("monitor").display()));
        if let Some(time) = &self.clock {
            cmd = cmd.args(["-rtc", &format!("base={time}")]);
        }
        if self.spare_card {
            cmd = cmd.args(["-netdev", "hubport,id=spare,hubid=1", "-device"]);
            cmd = cmd.arg("virtio-net-pci,netdev=spare,romfile=,addr=0x5");
        }
        if self.screen {
            cmd = cmd.args(["-device", "VGA"]);
        }
        if self.other_network {
            cmd = cmd.args(["-netdev", "user,id=other,net=192.168.7.0/24,restrict=on", "-device"]);
            cmd = cmd.arg("virtio-net-pci,netdev=other,romfile=,addr=0x3");
        }
        let mut trunk = None;
        if let Some(tag) = self.trunk {
            // The switch's own loopback: no other lab is there, so any port is free.
            let (relay, own) = (20_000 + tag, 30_000 + tag);
            lab.switch().ip("link set lo up")?;
            let script = Cmd::new("python3").args(["-c", include_str!("trunk.py"), &tap]);
            let script = script.args([tag, relay, own].map(|n| n.to_string()));
            trunk = Some(lab.spawn_at_switch(&script, &file("trunk.log"))?);
            cmd = cmd.arg("-netdev");
            cmd = cmd.arg(format!("socket,id=net,udp=127.0.0.1:{relay},localaddr=127.0.0.1:{own}"));
        } else if !matches!(self.from, From::Disk) {
            cmd = cmd.args(["-netdev", &format!("tap,id=net,ifname={tap},script=no,downscript=no")]);
        }
        let card = match self.card {
            Some(model) => format!("{model},netdev=net,mac={mac}"),
            None => format!("virtio-net-pci,netdev=net,mac={mac},romfile="),
        };
        match &self.from {
            From::Direct(kernel, initrd, append) => {
                let files =
                    cmd.args(["-device", &card]).arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
                cmd = files
                    .args(["-append", &append.replace("${mac}", &format!("01-{}", mac.replace(':', "-")))]);
            }
            // The firmware's own driver and PXE: it fetches the loader that DHCP names.
            From::Network if self.firmware != Firmware::Bios => {
                cmd = cmd.args(["-device", &format!("{card},bootindex=0")])
            }
            From::Network if self.card.is_some() => {
                cmd = cmd.args(["-device", &format!("{card},bootindex=0")])
            }
            From::Network => cmd = cmd.args(["-device", &format!("{card}{},bootindex=0", rom()?)]),
            From::Disk => {}
        }
        if self.firmware != Firmware::Bios {
            if self.firmware == Firmware::SecureBoot {
                cmd = cmd.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
            }
            let (code, new) = self.firmware.files();
            // The firmware writes to its variables.
            let vars = file("vars.fd");
            if self.new_firmware || !vars.exists() {
                std::fs::copy(&new, &vars).with_context(|| format!("copying {new}"))?;
            }
            cmd = cmd
                .args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={code}")])
                .args(["-drive", &format!("if=pflash,format=raw,file={}", vars.display())]);
        }
        if let Some(disk) = self.disks.iter().find(|d| d.kind == DiskKind::Namespace) {
            cmd = cmd.args(["-device", &format!("nvme,id=nvme,serial={}", disk.serial)]);
        }
        for (n, DiskConfig { file, serial, kind }) in self.disks.iter().enumerate() {
            // What the guest flushes goes to this host's cache only: the host is not what fails here.
            let drive = format!("if=none,id=disk{n},format=raw,cache=unsafe,file={}", file.display());
            let boot = if n == 0 && matches!(self.from, From::Disk) { ",bootindex=0" } else { "" };
            let large = "logical_block_size=4096,physical_block_size=4096";
            let device = match kind {
                DiskKind::Virtio => format!("virtio-blk-pci,drive=disk{n},serial={serial}{boot}"),
                DiskKind::LargeSectors => format!("virtio-blk-pci,drive=disk{n},serial={serial},{large}"),
                DiskKind::Namespace => format!("nvme-ns,bus=nvme,drive=disk{n}"),
            };
            cmd = cmd.args(["-drive", &drive, "-device", &device]);
        }
        let mut qemu = lab.spawn_at_switch(&cmd, &file("qemu.log"))?;
        // QEMU waits for this connection before the machine starts.
        let stream = connect(&socket, Duration::from_secs(20)).or_else(|e| qemu.check().and(Err(e)))?;
        let started = Instant::now();
        let console = Console::new(stream, started)?;
        let monitor = connect(&file("monitor"), Duration::from_secs(20))?;
        Ok(Vm { name: self.name.clone(), mac, log, socket, console, qemu, _trunk: trunk, monitor, started })
    }
}

impl Vm {
    /// A machine that boots from the network.
    pub fn pxe(name: &str) -> VmConfig {
        VmConfig {
            name: name.into(),
            memory: 1024,
            from: From::Network,
            firmware: Firmware::Bios,
            new_firmware: true,
            spare_card: false,
            other_network: false,
            trunk: None,
            disks: Vec::new(),
            clock: None,
            mac: None,
            card: None,
            bridge: BRIDGE,
            screen: false,
        }
    }

    /// A machine that is given kernel, initrd and command line, as if firmware
    /// and iPXE had loaded them; `${mac}` in it is its card, as BOOTIF= has it.
    pub fn direct(name: &str, kernel: &Path, initrd: &Path, append: &str) -> VmConfig {
        let from = From::Direct(kernel.into(), initrd.into(), append.into());
        VmConfig { from, ..Self::pxe(name) }
    }

    /// A machine that boots from its first disk ([`VmConfig::disk`]) by UEFI, without a network.
    pub fn from_disk(name: &str) -> VmConfig {
        VmConfig { from: From::Disk, firmware: Firmware::Uefi, ..Self::pxe(name) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its MAC address.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// The socket of its serial console.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// When it was switched on.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its console, to read what is there.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Wait for a text on the console, after the last one that was waited for; give its line.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<Line> {
        Ok(self.expect_any(&[text], limit)?.1)
    }

    /// Wait for one of several texts; give which one, and its line.
    pub fn expect_any(&mut self, texts: &[&str], limit: Duration) -> Result<(usize, Line)> {
        self.console.expect_any(texts, limit).with_context(|| {
            format!(
                "machine {}: the console's end, all of it in {}\n{}\n{}",
                self.name,
                self.log.display(),
                self.console.last_lines(30),
                String::from_utf8_lossy(&self.qemu.output())
            )
        })
    }

    /// Type a line on the console.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.console.send_line(line)
    }

    /// Press keys on the console, as a terminal sends them: `\r` is Enter.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.console.press(keys)
    }

    /// Wait for the shell on the console of our images, and make it quiet enough for [`Vm::sh`].
    pub fn login(&mut self) -> Result<()> {
        // Its prompt may have come long ago: ask for another.
        for _ in 0..30 {
            self.send_line("")?;
            if self.console.expect_any(&["root@"], Duration::from_secs(4)).is_ok() {
                break;
            }
        }
        self.send_line("stty -echo; dmesg -n 1; PS1= PS2= TERM=dumb; echo ready-$((40+2))")?;
        self.expect("ready-42", Duration::from_secs(60)).map(drop)
    }

    /// Run a command in that shell and give what it printed; anything but exit code 0 is an error.
    pub fn sh(&mut self, command: &str) -> Result<String> {
        let before = self.console.lines().len();
        self.send_line(&format!("{command}; echo \"exit-code-$?-\""))?;
        self.expect("exit-code-", Duration::from_secs(120))?;
        let zero = self.expect_any(&["0-", "-"], Duration::from_secs(20))?.0 == 0;
        let lines = self.console.lines();
        let output: Vec<&str> = lines[before..].iter().map(|l| l.text.as_str()).collect();
        let output = output.join("\n");
        let output = output.split("exit-code-").next().unwrap_or_default().trim().to_owned();
        ensure!(zero, "machine {}: `{command}` failed\n{output}", self.name);
        Ok(output)
    }

    /// Take the cable out of its network card, or put it back: the card sees it.
    pub fn cable(&mut self, plugged: bool) -> Result<()> {
        let word = if plugged { "on" } else { "off" };
        self.monitor.write_all(format!("set_link net {word}\n").as_bytes()).context("asking QEMU's monitor")
    }

    /// What its screen shows (`VmConfig::screen`): a PPM file (netpbm's P6) in the lab's folder.
    pub fn screenshot(&mut self) -> Result<PathBuf> {
        let path = self.log.with_extension("ppm");
        let _ = std::fs::remove_file(&path);
        let command = format!("screendump {}\n", path.display());
        self.monitor.write_all(command.as_bytes()).context("asking QEMU's monitor")?;
        let began = Instant::now();
        // QEMU writes it in one go, the last byte last.
        let mut size = 0;
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = std::fs::metadata(&path).map_or(0, |m| m.len());
            if now > 0 && now == size {
                return Ok(path);
            }
            size = now;
            ensure!(began.elapsed() < Duration::from_secs(20), "QEMU has written no picture of the screen");
        }
    }

    /// Wait until the machine has switched itself off (or would have rebooted).
    pub fn wait_off(&mut self, limit: Duration) -> Result<()> {
        self.qemu.wait(limit).map(drop).with_context(|| format!("machine {} is to stop", self.name))
    }

    /// Whether it runs.
    pub fn is_on(&mut self) -> Result<bool> {
        Ok(self.qemu.ended()?.is_none())
    }
}
