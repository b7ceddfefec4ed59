// SPDX-License-Identifier: GPL-3.0-or-later
//! Our lines in dracut, run by sh, with stand-ins for dracut's own functions.

use std::process::Command;

const LIBRARY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../initramfs-hooks/dracut/95boottorrent/boottorrent-lib.sh");

/// What happens after a boot that failed, with this after `panic=`.
fn failed(panic: &str) -> Vec<String> {
    let script = r#"
        getarg() { echo "$PANIC"; }
        warn() { :; }
        emergency_shell() { echo shell; }
        # The real one too refuses what is not a number.
        sleep() { echo "sleep $1"; case "$1" in *[!0-9]*) return 1 ;; esac; }
        reboot() { echo reboot; }
        . "$LIBRARY"
        boottorrent_failed 14
    "#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).env("PANIC", panic).env("LIBRARY", LIBRARY);
    let out = shell.output().unwrap();
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_failed_boot_ends_in_a_shell_or_in_a_reboot_after_a_pause() {
    for (panic, what) in [
        ("", &["shell"][..]),
        ("0", &["shell"]),
        ("-1", &["reboot"]),
        ("10", &["sleep 10", "reboot"]),
        ("x", &["sleep 60", "reboot"]),
        ("1O", &["sleep 60", "reboot"]),
    ] {
        assert_eq!(failed(panic), what, "panic={panic}");
    }
}
