// SPDX-License-Identifier: GPL-3.0-or-later
//! Every man page renders without a warning, completions load in their shells, and the agent's pages are current.

use boottorrent_agent::args::Cli as AgentCli;
use boottorrent_server::{cli::Cli, manual};
use clap::CommandFactory;
use std::{fs, path::Path, process::Command};

const AGENT_PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man");

fn installed(program: &str) -> bool {
    let there =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    // scripts/setup installs them all; a package is also built where they are not.
    if !there {
        eprintln!("{program} is not installed: not tested");
    }
    there
}

fn rendered(page: &Path) -> String {
    let out = Command::new("man")
        .args(["-l", "--warnings", "-Tutf8"])
        .arg(page)
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.is_empty(), "{}: {said}", page.display());
    // Bold and underlined, as on a printer: a letter, a backspace, a letter.
    let mut plain = String::new();
    for c in String::from_utf8_lossy(&out.stdout).chars() {
        match c {
            '\x08' => drop(plain.pop()),
            c => plain.push(c),
        }
    }
    plain
}

#[test]
fn pages_render_without_warnings() {
    let dir = tempfile::tempdir().unwrap();
    manual::write(&Cli::command(), dir.path()).unwrap();
    if !installed("man") {
        return;
    }
    let folders = [dir.path().join("man"), AGENT_PAGES.into()];
    let pages = folders.iter().flat_map(|f| fs::read_dir(f).unwrap().map(|e| e.unwrap().path()));
    let mut count = 0;
    for page in pages {
        let text = rendered(&page);
        for section in ["NAME", "SEE ALSO"] {
            assert!(text.lines().any(|l| l == section), "{} lacks {section}:\n{text}", page.display());
        }
        count += 1;
    }
    assert!(count >= 14, "{count} pages");
    // Lines of examples stay lines.
    let add = rendered(&dir.path().join("man/boottorrent-image-add.1"));
    assert!(add.contains("\n       boottorrent image add /srv/lab.squashfs\n"), "{add}");
}

#[test]
fn completions_load() {
    let dir = tempfile::tempdir().unwrap();
    manual::write(&Cli::command(), dir.path()).unwrap();
    let dir = dir.path().join("completions").display().to_string();
    for (shell, args) in [
        (
            "bash",
            format!(
                "set -u; . {dir}/bash/boottorrent; COMP_WORDS=(boottorrent image a); COMP_CWORD=2; \
                 _boottorrent boottorrent a image; echo \"${{COMPREPLY[*]}}\""
            ),
        ),
        (
            "zsh",
            format!(
                "fpath=({dir}/zsh $fpath); autoload -U compinit; compinit -D -u; autoload +X _boottorrent && whence -v _boottorrent >&2; grep -o '^add' {dir}/zsh/_boottorrent | head -1; print add"
            ),
        ),
        ("fish", format!("source {dir}/fish/boottorrent.fish; complete -C 'boottorrent image a'")),
    ] {
        if !installed(shell) {
            continue;
        }
        let out = Command::new(shell).args(["-c", &args]).env("HOME", &dir).output().unwrap();
        let (said, why) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && said.contains("add"), "{shell}: {said}\n{why}");
    }
}

#[test]
fn the_agents_pages_are_current() {
    for (name, text) in manual::clap_pages(&AgentCli::command(), "8") {
        let on_disk = fs::read_to_string(format!("{AGENT_PAGES}/{name}")).unwrap_or_default();
        assert!(on_disk == text, "docs/man/{name} is stale: run `make docs`");
    }
}
