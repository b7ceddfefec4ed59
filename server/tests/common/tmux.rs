// SPDX-License-Identifier: GPL-3.0-or-later
//! A terminal, driven as a person does: keys in, screen out.

#![allow(dead_code)]

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

static TERMINALS: AtomicU32 = AtomicU32::new(0);

/// A shell in a real tmux. It ends when this is dropped.
pub struct Tmux {
    socket: String,
}

impl Tmux {
    pub fn new(width: u16, height: u16) -> Tmux {
        let number = TERMINALS.fetch_add(1, Ordering::Relaxed);
        let tmux = Tmux { socket: format!("boottorrent-test-{}-{number}", std::process::id()) };
        let size = [width.to_string(), height.to_string()];
        tmux.call(&["new-session", "-d", "-x", &size[0], "-y", &size[1], "env PS1='$ ' sh"]);
        tmux.until("a prompt", |s| s.contains('$'));
        tmux
    }

    /// Run a tmux command.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> String {
        let out = Command::new("tmux")
            .args(["-u", "-f", "/dev/null", "-L", &self.socket])
            .args(args)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .output()
            .expect("tmux");
        assert!(out.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Press keys, by tmux' names: `Enter`, `Down`, `x`.
    pub fn keys(&self, keys: &[&str]) {
        self.call(&[&["send-keys"], keys].concat());
    }

    /// Type a text.
    pub fn text(&self, text: &str) {
        self.call(&["send-keys", "-l", text]);
    }

    /// Give the shell a command.
    pub fn run(&self, command: &str) {
        self.text(command);
        self.keys(&["Enter"]);
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.call(&["capture-pane", "-p"])
    }

    /// Wait until the screen shows something, and give it.
    #[track_caller]
    pub fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        self.wait(what, Duration::from_secs(30), is)
    }

    /// The same, for as long as `limit`.
    #[track_caller]
    pub fn wait(&self, what: &str, limit: Duration, is: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(start.elapsed() < limit, "never seen: {what}\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Wait until the screen has this text.
    #[track_caller]
    pub fn sees(&self, text: &str) -> String {
        self.until(text, |s| s.contains(text))
    }

    /// Make the terminal so large.
    pub fn resize(&self, width: u16, height: u16) {
        self.call(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// How the terminal is: second screen, cursor, and keypad, as tmux sees it.
    pub fn modes(&self) -> String {
        let format = "#{alternate_on} #{cursor_flag} #{keypad_flag} #{keypad_cursor_flag} #{mouse_any_flag} #{wrap_flag}";
        self.call(&["display-message", "-p", format])
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}
