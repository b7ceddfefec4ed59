// SPDX-License-Identifier: GPL-3.0-or-later
//! A serial console: every line with the time when it came, kept in a file,
//! and waiting for a text to appear.

use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// One line of the console.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// When its first character came, since the machine was started.
    pub at: Duration,
    /// The text, without colours and control characters.
    pub text: String,
}

/// What the kernel's clock said, in seconds, when a line came: `[   15.612345] …`.
pub fn kernel_time(line: &str) -> Result<f64> {
    let inside = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let (at, _) = inside.with_context(|| format!("no time in '{line}'"))?;
    at.trim().parse().with_context(|| format!("no time in '{line}'"))
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// Whether the last line is still being written.
    open: bool,
    closed: bool,
}

/// A serial console. See the module's text.
pub struct Console {
    shared: Arc<(Mutex<State>, Condvar)>,
    writer: UnixStream,
    /// Line, and byte in it, after the last match.
    cursor: (usize, usize),
}

impl Console {
    /// Read from a connected socket until it closes.
    pub fn new(socket: UnixStream, start: Instant) -> Result<Self> {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let writer = socket.try_clone().context("doubling the console's socket")?;
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("console".into()).spawn(move || read(socket, start, &theirs))?;
        Ok(Self { shared, writer, cursor: (0, 0) })
    }

    /// Wait until one of `texts` appears after the last match; give which one, and its line.
    pub fn expect_any(&mut self, texts: &[&str], limit: Duration) -> Result<(usize, Line)> {
        let (state, changed) = &*self.shared;
        let deadline = Instant::now() + limit;
        let mut state = state.lock().expect("the reader does not panic");
        loop {
            while let Some(line) = state.lines.get(self.cursor.0) {
                let rest = &line.text[self.cursor.1..];
                let found = texts.iter().enumerate().filter_map(|(i, t)| Some((rest.find(t)?, i))).min();
                if let Some((at, which)) = found {
                    self.cursor.1 += at + texts[which].len();
                    return Ok((which, line.clone()));
                }
                if state.open && self.cursor.0 + 1 == state.lines.len() {
                    break;
                }
                self.cursor = (self.cursor.0 + 1, 0);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                let why =
                    if state.closed { "the machine stopped".into() } else { format!("{limit:?} passed") };
                bail!("{why}, and {texts:?} had not appeared on the console");
            }
            state = changed.wait_timeout(state, left).expect("the reader does not panic").0;
        }
    }

    /// Type a line.
    pub fn send_line(&mut self, line: &str) -> Result<()> {
        self.press(&format!("{line}\n"))
    }

    /// Press keys, as a terminal sends them.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.writer.write_all(keys.as_bytes()).context("typing on the console")
    }

    /// Whether a text has appeared.
    pub fn has(&self, text: &str) -> bool {
        let state = self.shared.0.lock().expect("the reader does not panic");
        state.lines.iter().any(|l| l.text.contains(text))
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.0.lock().expect("the reader does not panic").lines.clone()
    }

    /// The last lines, for an error message.
    pub fn last_lines(&self, count: usize) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(count);
        let text = |l: &Line| format!("{:7.2} {}", l.at.as_secs_f64(), l.text);
        lines[from..].iter().map(text).collect::<Vec<_>>().join("\n")
    }

    /// Let go of the console, so that somebody else can connect to it.
    pub fn detach(&self) -> Result<()> {
        self.writer.shutdown(std::net::Shutdown::Both).context("letting go of the console")
    }
}

fn read(mut socket: UnixStream, start: Instant, shared: &(Mutex<State>, Condvar)) {
    let mut buffer = [0; 4096];
    let mut filter = Filter::default();
    loop {
        let count = socket.read(&mut buffer).unwrap_or(0);
        let mut state = shared.0.lock().expect("nobody panics with it");
        state.closed = count == 0;
        let text: String =
            String::from_utf8_lossy(&buffer[..count]).chars().filter_map(|c| filter.pass(c)).collect();
        for c in text.chars() {
            if c == '\n' {
                state.open = false;
                continue;
            }
            if !state.open {
                state.lines.push(Line { at: start.elapsed(), text: String::new() });
                state.open = true;
            }
            state.lines.last_mut().expect("pushed above").text.push(c);
        }
        shared.1.notify_all();
        if count == 0 {
            return;
        }
    }
}

/// Takes out escape sequences and control characters; a carriage return ends a line too.
#[derive(Default)]
struct Filter {
    escape: Escape,
}

#[derive(Default, PartialEq)]
enum Escape {
    #[default]
    None,
    Started,
    Csi,
}

impl Filter {
    fn pass(&mut self, c: char) -> Option<char> {
        match (&self.escape, c) {
            (Escape::None, '\x1b') => self.escape = Escape::Started,
            (Escape::None, '\r' | '\n') => return Some('\n'),
            (Escape::None, c) if c.is_control() && c != '\t' => {}
            (Escape::None, c) => return Some(c),
            (Escape::Started, '[') => self.escape = Escape::Csi,
            (Escape::Started, '(' | ')') => {}
            (Escape::Started, _) => self.escape = Escape::None,
            (Escape::Csi, '\x40'..='\x7e') => self.escape = Escape::None,
            (Escape::Csi, _) => {}
        }
        None
    }
}

/// Connect to a socket that a program is about to make.
pub(crate) fn connect(path: &Path, limit: Duration) -> Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(e).with_context(|| format!("connecting to {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (UnixStream, Console) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        (theirs, Console::new(ours, Instant::now()).unwrap())
    }

    #[test]
    fn finds_in_order_across_pieces_and_colours() {
        let (mut guest, mut console) = console();
        guest.write_all(b"[  OK  ] Reached target \x1b[0;1;39mmulti-").unwrap();
        let soon = Duration::from_millis(100);
        assert!(console.expect_any(&["multi-user"], soon).is_err());
        guest.write_all("user.target\x1b[0m\r\nlogin: b\u{e4}r".as_bytes()).unwrap();
        let (_, line) = console.expect_any(&["target multi-user"], soon).unwrap();
        assert_eq!(line.text, "[  OK  ] Reached target multi-user.target");
        assert_eq!(console.expect_any(&["nothing", "login:"], soon).unwrap().0, 1);
        assert!(console.expect_any(&["login:"], soon).is_err(), "matched already");
    }

    #[test]
    fn tells_a_stop_from_a_time_limit() {
        let (guest, mut console) = console();
        let limit = Duration::from_millis(50);
        assert!(console.expect_any(&["x"], limit).unwrap_err().to_string().contains("50ms passed"));
        drop(guest);
        let e = console.expect_any(&["x"], Duration::from_secs(5)).unwrap_err().to_string();
        assert!(e.contains("the machine stopped"), "{e}");
    }

    #[test]
    fn types() {
        let (mut guest, mut console) = console();
        console.send_line("ls").unwrap();
        let mut got = [0; 3];
        guest.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ls\n");
    }
}
