// SPDX-License-Identifier: GPL-3.0-or-later
//! Work that a change of the model asks for, and how it ended.

use crate::{
    catalogue::ImageChange, fetch::request::FetchRequest, hosts::HostChanges, setup::plan::SetupOptions,
};
use bootspec::ImageName;
use std::path::PathBuf;

/// A change that can be taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Of machines, groups or the default.
    Hosts(HostChanges),
    /// Of an image.
    Image(ImageName, ImageChange),
}

/// What takes a change back.
#[derive(Clone, Debug, PartialEq)]
pub struct Undo {
    /// The opposite change.
    pub change: Change,
    /// What was done, for people.
    pub of: String,
}

/// The server has changed something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// What, in a sentence.
    pub said: String,
    /// What takes it back.
    pub undo: Option<Box<Undo>>,
}

/// Work to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Have the server fetch.
    Fetch(Box<FetchRequest>),
    /// Have it cancel a fetch, or forget it.
    Cancel(u64),
    /// Have it remove an image, used or not.
    Remove(String),
    /// Have it change something; what is said of it afterwards; and what takes it back.
    Change(Box<Change>, String, Option<Box<Undo>>),
    /// Wake machines, by MAC address.
    Wake(Vec<String>),
    /// Look into a folder, or whether there is such a file.
    Files(PathBuf),
    /// Ask what this machine said last.
    Log(String),
    /// Read the catalogue of sources.
    Sources,
    /// Look at this machine's networks.
    Networks,
    /// What would setup write?
    Plan(Box<SetupOptions>),
    /// What is wrong?
    Examine,
    /// Run one of our own commands: it takes long, or must be root.
    Run(Errand, Vec<String>),
}

/// What a command is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A file becomes an image.
    Add,
    /// Write it.
    Write,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Whether it did what it should.
    pub good: bool,
    /// What it said.
    pub out: String,
    /// What it complained about.
    pub err: String,
}
