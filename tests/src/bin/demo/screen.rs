// SPDX-License-Identifier: GPL-3.0-or-later
//! Live progress: a table that is redrawn on a terminal, lines elsewhere.

use crate::state::State;
use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

/// Where progress is drawn.
pub struct Screen {
    terminal: bool,
    drawn: usize,
    /// What each machine's phase was when a line was last printed, and when that was.
    last: Vec<(&'static str, Duration)>,
}

/// Without a terminal, a phase that takes long is told again this often.
const REPEAT: Duration = Duration::from_secs(15);

impl Screen {
    /// Look whether standard output is a terminal.
    pub fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), drawn: 0, last: Vec::new() }
    }

    /// Show how the machines are.
    pub fn draw(&mut self, now: Duration, machines: &[State]) {
        if self.terminal { self.redraw(now, machines) } else { self.lines(now, machines) }
    }

    fn redraw(&mut self, now: Duration, machines: &[State]) {
        let mut out = std::io::stdout().lock();
        if self.drawn > 0 {
            // Up to the first of our lines, and clear from there.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        let _ = writeln!(out, "{:4} s", now.as_secs());
        for m in machines {
            let _ = writeln!(out, "  {}  {:<22}{}", m.name, m.phase, m.detail);
        }
        self.drawn = machines.len() + 1;
    }

    fn lines(&mut self, now: Duration, machines: &[State]) {
        self.last.resize(machines.len(), ("", Duration::ZERO));
        for (m, (phase, told)) in machines.iter().zip(&mut self.last) {
            if *phase != m.phase || (!m.up && now - *told >= REPEAT) {
                (*phase, *told) = (m.phase, now);
                println!("{:4} s  {}  {:<22}{}", now.as_secs(), m.name, m.phase, m.detail);
            }
        }
    }
}
