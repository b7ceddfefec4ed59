// SPDX-License-Identifier: GPL-3.0-or-later
//! Work that a change of the model asks for, and how it ended.

use crate::{fetch::request::FetchRequest, setup::plan::SetupOptions};
use bootspec::ImageName;

/// Work to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Have the server fetch.
    Fetch(Box<FetchRequest>),
    /// Have it cancel a fetch, or forget it.
    Cancel(u64),
    /// Have it remove an image, used or not.
    Remove(String),
    /// Have it rename one.
    Rename(String, ImageName),
    /// Have it make one the default.
    Default(String),
    /// Say of a machine or a group which image it boots.
    Assign(String, String),
    /// Say which image a machine boots the next time only.
    Once(String, String),
    /// Say nothing of it any more.
    Unassign(String),
    /// Wake a machine.
    Wake(String),
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
