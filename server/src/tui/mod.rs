// SPDX-License-Identifier: GPL-3.0-or-later
//! The screen for the admin: `boottorrent` on a terminal.
//!
//! | part | module |
//! |---|---|
//! | all that is shown, and where the cursor is | [`model`], [`rows`], [`sort`] |
//! | what is where, for the eye and for the mouse | [`layout`] |
//! | what a key means where, and what is said of it | [`keys`] |
//! | a message changes the model, and may ask for work: no I/O | [`update`] |
//! | changes of machines and images, and what takes them back | `change`, `edit`, `undo` |
//! | the same for a question, a list or a text in front of the views | `dialog` |
//! | the model as lines on a screen: no I/O | [`draw`] |
//! | nothing else than what a terminal may show goes out | [`screen`] |
//! | the terminal, as found and left again; keys; signals | `terminal`, `backend` |
//! | work: asking the server, telling it, running commands, reading folders | `worker`, [`files`] |
//! | all of it together | [`run()`] |

mod backend;
mod change;
mod dialog;
pub mod draw;
mod edit;
pub mod effect;
pub mod files;
pub mod keys;
pub mod layout;
mod line;
pub mod model;
pub mod rows;
mod run;
pub mod screen;
pub mod sort;
mod terminal;
mod undo;
pub mod update;
mod worker;

pub use run::run;

#[cfg(test)]
mod tests;
