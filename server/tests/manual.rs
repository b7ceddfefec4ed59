// SPDX-License-Identifier: GPL-3.0-or-later
//! Every man page renders without a warning, completions load in their shells, and the agent's pages are current.

use boottorrent_agent::args::Cli as AgentCli;
use boottorrent_server::{
    cli::{COMPLETE, Cli},
    manual,
};
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
    manual::write(&Cli::command(), COMPLETE, dir.path()).unwrap();
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

/// What a shell offers for a half-typed command, by the script that the package installs.
fn offered(shell: &str, script: &str, dir: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_boottorrent")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let out = Command::new(shell)
        .args(["-c", script])
        .envs([("PATH", path.as_str()), ("TERM", "dumb")])
        .env("HOME", dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{shell}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn shells_complete_commands_and_names() {
    let dir = tempfile::tempdir().unwrap();
    manual::write(&Cli::command(), COMPLETE, dir.path()).unwrap();
    fs::create_dir_all(dir.path().join("images/exam-room")).unwrap();
    fs::write(dir.path().join("images/exam-room/manifest.toml"), "").unwrap();
    fs::write(dir.path().join("hosts.toml"), "[\"group:room1\"]\nmenu = true\n").unwrap();
    let (root, to) = (dir.path(), dir.path().display().to_string());
    let lines = [
        ("image sho", "show"),
        (&*format!("image --dir {to} show e"), "exam-room"),
        (&*format!("--dir={to} host unset r"), "room1"),
        ("host set pc1 --param boottorrent.se", "boottorrent.seed="),
    ];
    for (line, expected) in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words.last().unwrap();
        for (shell, script) in [
            (
                "bash",
                format!(
                    "set -u; . {to}/completions/bash/boottorrent; COMP_WORDS=(boottorrent {line}); COMP_TYPE=9; \
                     COMP_CWORD={}; _clap_complete_boottorrent boottorrent '{last}' ''; echo \"${{COMPREPLY[*]}}\"",
                    words.len()
                ),
            ),
            (
                "fish",
                format!("source {to}/completions/fish/boottorrent.fish; complete -C 'boottorrent {line}'"),
            ),
            // Only a terminal makes zsh complete: one of its own, of which what it shows is read until nothing more comes.
            (
                "zsh",
                format!(
                    "zmodload zsh/zpty; zpty z zsh -f -i; \
                     zpty -w z \"fpath=({to}/completions/zsh \\$fpath); autoload -U compinit; compinit -D -u; print rea''dy\"; \
                     zpty -r z seen '*ready*'; zpty -n -w z $'boottorrent {line}\\t'; \
                     repeat 100; do sleep 0.1; while zpty -r -t z seen; do print -rn -- $seen; \
                     [[ $seen != *{expected}* ]] || exit 0; done; done"
                ),
            ),
        ] {
            if installed(shell) {
                let said = offered(shell, &script, root);
                assert!(said.contains(expected), "{shell}, {line}: {said}");
            }
        }
    }
}

#[test]
fn the_agents_pages_are_current() {
    for (name, text) in manual::clap_pages(&AgentCli::command(), "8") {
        let on_disk = fs::read_to_string(format!("{AGENT_PAGES}/{name}")).unwrap_or_default();
        assert!(on_disk == text, "docs/man/{name} is stale: run `make docs`");
    }
}
