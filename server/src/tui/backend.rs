// SPDX-License-Identifier: GPL-3.0-or-later
//! Crossterm's backend, but the terminal is never asked where the cursor is: its answer comes by the keyboard, where
//! another thread reads it. Ratatui wants to know when it clears, to put the cursor back to where it has put it.

use ratatui::{
    backend::{Backend, ClearType, CrosstermBackend, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
};
use std::io::{self, Stdout, stdout};

/// See the module's text.
pub(super) struct Remembering {
    backend: CrosstermBackend<Stdout>,
    cursor: Position,
}

impl Remembering {
    /// On standard output.
    pub(super) fn new() -> Self {
        Self { backend: CrosstermBackend::new(stdout()), cursor: Position::default() }
    }
}

impl Backend for Remembering {
    type Error = io::Error;

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.cursor)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.cursor = position.into();
        self.backend.set_cursor_position(self.cursor)
    }

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        self.backend.draw(content)
    }

    fn append_lines(&mut self, n: u16) -> io::Result<()> {
        self.backend.append_lines(n)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.backend.hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        // Ratatui calls this at the end, and prints an error. If the terminal is gone, nothing can be printed either.
        let _ = self.backend.show_cursor();
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.backend.clear()
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.backend.clear_region(clear_type)
    }

    fn size(&self) -> io::Result<Size> {
        self.backend.size()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.backend.window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.backend)
    }
}
