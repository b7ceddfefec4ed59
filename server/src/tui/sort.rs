// SPDX-License-Identifier: GPL-3.0-or-later
//! In which order the rows of a list stand.

use super::{
    line::Line,
    model::{Sort, View},
};
use crate::clients::{Client, by_need, natural};
use std::cmp::{Ordering, Reverse};

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Machines that need attention first.
    Need,
    /// By name, pc2 before pc10.
    Name,
    /// By the image that a machine boots.
    Image,
    /// By a machine's group.
    Group,
    /// By how much of its image a machine has, the least first.
    Done,
    /// By a machine's rate, the fastest first.
    Rate,
    /// The largest image first.
    Size,
    /// The image that most machines run first.
    Machines,
    /// The image that the server sent most of first.
    Sent,
}

/// What a list can be sorted by, the usual order first.
const MACHINES: &[SortKey] =
    &[SortKey::Need, SortKey::Name, SortKey::Image, SortKey::Group, SortKey::Done, SortKey::Rate];
const IMAGES: &[SortKey] = &[SortKey::Name, SortKey::Size, SortKey::Machines, SortKey::Sent];

/// Sort by the next of the view's keys.
pub fn advance(sort: &mut Sort, view: View) {
    *sort = Sort { at: (sort.at + 1) % keys(view).len(), reversed: false };
}

/// In words; nothing for the usual order.
pub fn words(sort: Sort, view: View) -> Option<String> {
    let by = match key(sort, view) {
        SortKey::Need => "what needs attention",
        SortKey::Name => "name",
        SortKey::Image => "image",
        SortKey::Group => "group",
        SortKey::Done => "progress",
        SortKey::Rate => "rate",
        SortKey::Size => "size",
        SortKey::Machines => "machines",
        SortKey::Sent => "bytes sent",
    };
    let reversed = if sort.reversed { ", reversed" } else { "" };
    (sort != Sort::default()).then(|| format!("sorted by {by}{reversed}"))
}

/// Put machines into an order; among equals, those that need attention come first.
pub fn machines(sort: Sort, all: &mut [&Client]) {
    let key = key(sort, View::Machines);
    all.sort_by(|a, b| turned(sort, by_key(key, a, b)).then_with(|| by_need(a, b)));
}

/// Put images into an order, and what is being prepared below them.
pub fn images(sort: Sort, all: &mut [Line]) {
    let figure = |line: &Line| match (line, key(sort, View::Images)) {
        (Line::Image(row, _), SortKey::Size) => row.manifest.size,
        (Line::Image(row, _), SortKey::Machines) => row.machines.len() as u64,
        (Line::Image(_, Some(stats)), SortKey::Sent) => stats.sent,
        _ => 0,
    };
    let is_fetch = |line: &Line| matches!(line, Line::Fetch(_));
    all.sort_by(|a, b| {
        let order = Reverse(figure(a)).cmp(&Reverse(figure(b))).then_with(|| natural(&a.key(), &b.key()));
        is_fetch(a).cmp(&is_fetch(b)).then(if is_fetch(a) { Ordering::Equal } else { turned(sort, order) })
    });
}

fn turned(sort: Sort, order: Ordering) -> Ordering {
    if sort.reversed { order.reverse() } else { order }
}

fn key(sort: Sort, view: View) -> SortKey {
    keys(view)[sort.at % keys(view).len()]
}

fn keys(view: View) -> &'static [SortKey] {
    if view == View::Images { IMAGES } else { MACHINES }
}

fn by_key(key: SortKey, a: &Client, b: &Client) -> Ordering {
    let progress = |c: &Client| (c.heartbeat.progress.percent() * 10.0) as u64;
    let rate = |c: &Client| Reverse(c.heartbeat.progress.down_rate);
    // Those in no group come last.
    let group = |c: &Client| (c.group.is_none(), c.group.clone().unwrap_or_default());
    match key {
        SortKey::Name => natural(&crate::clients::name(a), &crate::clients::name(b)),
        SortKey::Image => natural(&a.image(), &b.image()),
        SortKey::Group => group(a).0.cmp(&group(b).0).then_with(|| natural(&group(a).1, &group(b).1)),
        SortKey::Done => progress(a).cmp(&progress(b)),
        SortKey::Rate => rate(a).cmp(&rate(b)),
        _ => by_need(a, b),
    }
}
