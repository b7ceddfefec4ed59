// SPDX-License-Identifier: GPL-3.0-or-later
//! The terminal: taken over, and left as it was found, whatever ends us (but SIGKILL).

use super::{
    backend::Remembering,
    screen::{self, Look},
};
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{DisableMouseCapture, EnableMouseCapture},
    execute,
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport, layout::Rect};
use std::{
    io::{self, stdin, stdout},
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// Over a serial line nobody may have said how large the screen is.
const USUAL: (u16, u16) = (80, 24);

/// Whether the terminal is ours now.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours. It is given back when this is dropped, and in a panic.
pub struct Screen {
    terminal: Terminal<Remembering>,
    look: Look,
    /// Its size, where only we know it.
    fixed: bool,
}

/// Whether there is no terminal any more: its window was closed, or the connection to it is lost. Reading from it would
/// say "end of file" for ever.
pub(super) fn is_gone() -> bool {
    let stdin = stdin();
    let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).is_ok()
        && asked[0].revents().is_some_and(|r| r.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
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
            execute!(stdout(), EnterAlternateScreen, EnableMouseCapture, Hide)?;
            let backend = Remembering::new();
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

    /// How many columns and rows there are.
    pub fn size(&self) -> (u16, u16) {
        size().unwrap_or(USUAL)
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
        let _ = execute!(stdout(), MoveTo(0, bottom), DisableMouseCapture, LeaveAlternateScreen, Show);
        let _ = terminal::disable_raw_mode();
    }
}
