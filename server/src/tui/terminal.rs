// SPDX-License-Identifier: GPL-3.0-or-later
//! The terminal: taken over, and left as it was found, whatever ends us (but SIGKILL).

use super::screen::{self, Look};
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute,
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, layout::Rect};
use std::{
    io::{self, Stdout, stdout},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// Over a serial line nobody may have said how large the screen is.
const USUAL: (u16, u16) = (80, 24);

/// Whether the terminal is ours now.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours. It is given back when this is dropped, and in a panic.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    look: Look,
    /// Its size, where only we know it.
    fixed: bool,
}

/// How large the terminal is; nothing, if it does not say.
fn size() -> Option<(u16, u16)> {
    terminal::size().ok().filter(|(w, h)| *w > 0 && *h > 0)
}

impl Screen {
    /// Take it over.
    pub fn open() -> io::Result<Screen> {
        let look = Look::of(|name| std::env::var(name).ok());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        terminal::enable_raw_mode()?;
        OURS.store(true, SeqCst);
        let taken = || -> io::Result<Screen> {
            execute!(stdout(), EnterAlternateScreen, Hide)?;
            let backend = CrosstermBackend::new(stdout());
            let fixed = size().is_none();
            let mut terminal = match fixed {
                false => Terminal::new(backend)?,
                true => {
                    let viewport = Viewport::Fixed(Rect::new(0, 0, USUAL.0, USUAL.1));
                    Terminal::with_options(backend, TerminalOptions { viewport })?
                }
            };
            terminal.clear()?;
            Ok(Screen { terminal, look, fixed })
        };
        taken().inspect_err(|_| give_back())
    }

    /// How many rows there are.
    pub fn rows(&self) -> u16 {
        size().unwrap_or(USUAL).1
    }

    /// Draw a frame.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame)) -> io::Result<()> {
        let look = self.look;
        self.terminal.draw(|frame| {
            render(frame);
            screen::clean(frame.buffer_mut(), look);
        })?;
        Ok(())
    }

    /// Draw all of it again: somebody else may have written to the terminal.
    pub fn redraw(&mut self) -> io::Result<()> {
        match self.fixed {
            true => Ok(()),
            false => self.terminal.clear(),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Leave the terminal as it was found. Once: what comes later is somebody else's.
fn give_back() {
    if OURS.swap(false, SeqCst) {
        // A terminal without a second screen keeps ours: then what comes next stands below it.
        let bottom = size().unwrap_or(USUAL).1.saturating_sub(1);
        // Nobody may be there any more.
        let _ = execute!(stdout(), MoveTo(0, bottom), LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
}
