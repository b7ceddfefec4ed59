// SPDX-License-Identifier: GPL-3.0-or-later
//! All that the screen shows.

use super::effect::{Effect, Undo};
use crate::{
    api::types::{EntryRow, HostRow, ImageRow},
    clients::Client,
    fetch::request::FetchRow,
    hosts::EntryKey,
    setup::plan::SetupOptions,
    watch::stats::Stats,
};
use std::{collections::BTreeSet, path::PathBuf};

/// The four views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// What is served, and what is being prepared.
    #[default]
    Images,
    /// Who boots.
    Machines,
    /// What flows.
    Transfers,
    /// dnsmasq, firmware, and what is wrong.
    Setup,
}

/// In the order of their keys, 1 to 4.
pub const VIEWS: [(View, &str); 4] = [
    (View::Images, "Images"),
    (View::Machines, "Machines"),
    (View::Transfers, "Transfers"),
    (View::Setup, "Setup"),
];

/// How the server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerLink {
    /// Nothing is known yet.
    #[default]
    Asking,
    /// It answers, and takes changes.
    Full,
    /// It answers; changes it takes over its local socket only, which is not ours.
    ReadOnly,
    /// It does not answer: why.
    Down(String),
}

/// What the server has told last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerSnapshot {
    /// Its images. While it does not run: those on disk.
    pub images: Vec<ImageRow>,
    /// Its fetches.
    pub fetches: Vec<FetchRow>,
    /// The machines.
    pub machines: Vec<Client>,
    /// What is set for them.
    pub hosts: Vec<HostRow>,
    /// What machines can boot besides images.
    pub entries: Vec<EntryRow>,
    /// Figures.
    pub stats: Stats,
}

/// Something that can be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRow {
    /// Its name.
    pub name: String,
    /// What it is, and how large.
    pub about: String,
}

/// What the setup view shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetupView {
    /// This machine's networks: interface, and what it is in.
    pub networks: Vec<(String, String)>,
    /// What setup is asked for.
    pub options: SetupOptions,
    /// What it said: what would be written, or why not.
    pub plan: Vec<String>,
    /// Whether it can be written.
    pub fits: bool,
    /// Whether all of it is there already.
    pub written: bool,
    /// What `boottorrent doctor` said.
    pub doctor: Vec<String>,
    /// Whether either runs now.
    pub busy: bool,
}

impl SetupView {
    /// Look at what the view shows.
    pub fn look(&mut self) -> Vec<Effect> {
        self.busy = true;
        // What was planned for other options must not be written.
        self.fits = false;
        vec![Effect::Networks, Effect::Plan(Box::new(self.options.clone())), Effect::Examine]
    }
}

/// Where the cursor of a list is: at a row by its key, wherever it moves; and where it was, for when it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The row's key.
    pub key: Option<String>,
    /// Its number.
    pub at: usize,
}

impl Cursor {
    /// Find the row again among `keys`: by its key, or who took its place.
    pub fn settle(&mut self, keys: &[String]) {
        let found = self.key.as_ref().and_then(|k| keys.iter().position(|o| o == k));
        self.go(found.unwrap_or(self.at), keys);
    }

    /// Go to a row, or the last one.
    pub fn go(&mut self, at: usize, keys: &[String]) {
        self.at = at.min(keys.len().saturating_sub(1));
        self.key = keys.get(self.at).cloned();
    }

    /// Go so many rows down, or up.
    pub fn step(&mut self, by: isize, keys: &[String]) {
        self.go(self.at.saturating_add_signed(by), keys);
    }
}

/// Machines, or a group, that a change is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Their entries.
    pub keys: Vec<EntryKey>,
    /// For people: `pc1`, `3 machines`, `group room1 (12 machines)`.
    pub who: String,
}

impl Targets {
    /// `one` of a single machine or group, `many` of several machines.
    pub fn verb(&self, one: &'static str, many: &'static str) -> &'static str {
        if self.keys.len() == 1 { one } else { many }
    }
}

/// The order of one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// Which of the things that the list can be sorted by.
    pub at: usize,
    /// Whether the last row is first.
    pub reversed: bool,
}

/// What a text that is typed is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// The name of the image that is made of this file or folder.
    Add(PathBuf),
    /// A URL, a magnet link or a .torrent to fetch.
    Fetch,
    /// This image's new name.
    Rename(String),
    /// This image's priority.
    Priority(String),
    /// This image's kernel parameters.
    Append(String),
    /// This machine's name.
    Name(Targets),
    /// Kernel parameters of these machines.
    Params(Targets),
    /// The addresses that dnsmasq gives.
    Range,
}

/// What something is picked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// To be fetched.
    Source,
    /// A file in this folder that becomes an image.
    File(PathBuf),
    /// For these machines to boot.
    Image(Targets),
    /// For these machines to boot the next time only.
    Once(Targets),
    /// What is to change of these machines.
    Edit(Targets),
    /// The group that these machines are in.
    Group(Targets),
    /// Whether these machines show a menu.
    Menu(Targets),
    /// What is to change of this image.
    EditImage(String),
    /// The network to serve.
    Interface,
}

/// Something that can be picked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PickItem {
    /// What is taken.
    pub key: String,
    /// What is shown beside it.
    pub note: String,
}

/// What lies over a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialog {
    /// One machine, and the end of its log.
    Machine(String, Vec<String>),
    /// One image.
    Image(String),
    /// Text to read.
    Text(TextDialog),
    /// A line to type.
    Input {
        /// What for.
        ask: Prompt,
        /// What was typed.
        text: String,
    },
    /// A list to pick from, with a filter.
    Pick(PickDialog),
}

/// Text to read, which may ask for a yes.
#[derive(Clone, Debug, PartialEq)]
pub struct TextDialog {
    /// Its title.
    pub title: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// The first one that is shown.
    pub scroll: usize,
    /// What y does.
    pub yes: Option<Effect>,
}

/// A list to pick from.
#[derive(Clone, Debug, PartialEq)]
pub struct PickDialog {
    /// What for.
    pub pick: Pick,
    /// All there is.
    pub items: Vec<PickItem>,
    /// What was typed.
    pub filter: String,
    /// Where the cursor is.
    pub cursor: Cursor,
}

/// A sentence at the bottom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusLine {
    /// The sentence.
    pub text: String,
    /// Whether something failed.
    pub bad: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Where we are.
    pub view: View,
    /// How the server is reached.
    pub link: ServerLink,
    /// What it told.
    pub now: ServerSnapshot,
    /// What can be fetched; nothing until it was looked for.
    pub sources: Vec<SourceRow>,
    /// The setup view.
    pub setup: SetupView,
    /// The cursors of images and machines.
    pub images: Cursor,
    /// See `images`.
    pub machines: Cursor,
    /// How each of the two is sorted.
    pub image_sort: Sort,
    /// See `image_sort`.
    pub machine_sort: Sort,
    /// The machines that are marked, by id.
    pub marks: BTreeSet<String>,
    /// The end of a machine's log, of the one that is shown beside the list.
    pub log: (String, Vec<String>),
    /// What takes back the last change.
    pub undo: Option<Undo>,
    /// The folder in which a file was looked for last.
    pub folder: PathBuf,
    /// The first line of the setup view that is shown.
    pub scroll: usize,
    /// What was typed after `/`.
    pub filter: String,
    /// Whether it is being typed.
    pub filtering: bool,
    /// What lies over the view.
    pub dialog: Option<Dialog>,
    /// The sentence at the bottom.
    pub said: StatusLine,
    /// A command that runs, and what it said last.
    pub running: Option<String>,
    /// Columns of the terminal.
    pub width: u16,
    /// Rows of the terminal, for a page's length.
    pub height: u16,
    /// Whether it is over.
    pub over: bool,
}

impl Model {
    /// Say something at the bottom.
    pub fn say(&mut self, text: impl Into<String>) {
        self.said = StatusLine { text: text.into(), bad: false };
    }

    /// Say what failed.
    pub fn complain(&mut self, text: impl Into<String>) {
        self.said = StatusLine { text: text.into(), bad: true };
    }

    /// Ask for a text; this one stands there already.
    pub fn ask_with(&mut self, ask: Prompt, text: String) {
        self.dialog = Some(Dialog::Input { ask, text });
    }

    /// Ask for a text.
    pub fn ask(&mut self, ask: Prompt) {
        self.ask_with(ask, String::new());
    }

    /// Let one of these be chosen.
    pub fn pick(&mut self, pick: Pick, items: Vec<PickItem>) {
        let mut cursor = Cursor::default();
        cursor.settle(&items.iter().map(|i| i.key.clone()).collect::<Vec<_>>());
        self.dialog = Some(Dialog::Pick(PickDialog { pick, items, filter: String::new(), cursor }));
    }

    /// How the rows of the view are sorted.
    pub fn sort(&mut self) -> Option<&mut Sort> {
        match self.view {
            View::Images => Some(&mut self.image_sort),
            View::Machines => Some(&mut self.machine_sort),
            View::Transfers | View::Setup => None,
        }
    }

    /// Rows of a list that are seen at once.
    pub fn page(&self) -> isize {
        isize::from(self.height.saturating_sub(8).max(1) as i16)
    }
}
