// SPDX-License-Identifier: GPL-3.0-or-later
//! `demo console MACHINE`: the serial console of a machine of a lab that was kept.

use anyhow::{Context, Result};
use boottorrent_tests::{Cmd, lab_dir};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

/// Ctrl-], as in telnet.
const LEAVE: u8 = 0x1d;

/// Connect terminal and console until Ctrl-].
pub fn attach(name: &str) -> Result<()> {
    let runs = lab_dir().join("runs");
    let sockets = std::fs::read_dir(&runs).with_context(|| format!("reading {}", runs.display()))?;
    let mut console = sockets
        .filter_map(|run| UnixStream::connect(run.ok()?.path().join(format!("{name}.sock"))).ok())
        .next()
        .with_context(|| format!("no machine {name} runs: start the demo with KEEP=1"))?;
    let mut output = console.try_clone().context("doubling the console's socket")?;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            let mut out = std::io::stdout().lock();
            if out.write_all(&buffer[..count]).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
    });
    stty(&["raw", "-echo"])?;
    let typed = keys(&mut console);
    stty(&["sane"])?;
    println!();
    typed
}

fn keys(console: &mut UnixStream) -> Result<()> {
    console.write_all(b"\r").context("typing on the console")?;
    let mut buffer = [0; 256];
    loop {
        let count = std::io::stdin().read(&mut buffer).context("reading the keyboard")?;
        if count == 0 || buffer[..count].contains(&LEAVE) {
            return Ok(());
        }
        console.write_all(&buffer[..count]).context("typing on the console")?;
    }
}

fn stty(args: &[&str]) -> Result<()> {
    Cmd::new("stty").arg("-F").arg("/dev/tty").args(args).run().map(drop)
}
