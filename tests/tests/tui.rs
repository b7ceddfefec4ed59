// SPDX-License-Identifier: GPL-3.0-or-later
//! The screen with real machines: two are switched on, and watched until they have booted.

use anyhow::Result;
use boottorrent_tests::{BOOT, Lab, MULTI_USER, Server, Vm, assets, server_binary};

#[path = "../../server/tests/common/tmux.rs"]
#[allow(dead_code)]
mod tmux;

#[test]
#[ignore = "boots two machines: make test-full"]
fn two_machines_are_watched_to_the_end() -> Result<()> {
    let image = assets::image(assets::Suite::own()?)?;
    let lab = Lab::new("tui")?;
    // Slow enough that the way is seen.
    let server = Server::start(&lab, &image, &["--up", "15MB/s"])?;
    let t = tmux::Tmux::new(80, 24);
    // Over the catalogue's socket, from outside of the lab's network.
    t.run(&format!(
        "clear; {} --dir {}; echo left $?",
        server_binary()?.display(),
        server.catalogue().display()
    ));
    t.sees("published");
    t.keys(&["2"]);
    t.sees("No machine has reported yet.");
    let mut machines = vec![Vm::pxe("one").start(&lab)?, Vm::pxe("two").start(&lab)?];
    let (mut seen, began) = (Vec::new(), std::time::Instant::now());
    let finished = loop {
        let screen = t.screen();
        for phase in ["loader", "network", "download", "booted"] {
            if screen.contains(&format!(" {phase} ")) && !seen.contains(&phase) {
                seen.push(phase);
                println!("{:.1} s: {phase}\n{screen}", began.elapsed().as_secs_f64());
            }
        }
        if screen.matches("booted").count() == 2 && screen.matches("100 %").count() == 2 {
            break screen;
        }
        anyhow::ensure!(began.elapsed() < BOOT, "they never boot:\n{screen}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    println!("{finished}");
    anyhow::ensure!(seen.contains(&"download"), "no progress was seen, only {seen:?}");
    for machine in &mut machines {
        machine.expect(MULTI_USER, BOOT)?;
    }
    t.keys(&["3"]);
    println!("{}", t.until("what was received", |s| s.contains("machines received")));
    t.keys(&["q"]);
    t.sees("left 0");
    Ok(())
}
