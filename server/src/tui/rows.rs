// SPDX-License-Identifier: GPL-3.0-or-later
//! The lists as they are shown: filtered, and what needs attention first.

use super::{
    line::{Line, fetch_name},
    model::{Model, PickItem},
    sort,
};
use crate::{
    api::types::ImageRow,
    clients::{Client, name},
    fetch::request::FetchState,
};
use std::time::Duration;

/// The images, and below them what is being prepared.
pub fn images(model: &Model) -> Vec<Line<'_>> {
    let stats = |row: &ImageRow| model.now.stats.images.iter().find(|s| s.name == row.manifest.name);
    let published = model.now.images.iter().map(|row| Line::Image(row, stats(row)));
    let fetches = model.now.fetches.iter().filter(|f| f.progress.state != FetchState::Done);
    let all = published.chain(fetches.map(Line::Fetch));
    let matching = all.filter(|line| {
        let text = match line {
            Line::Image(row, _) => format!("{} {}", row.manifest.name, row.manifest.what()),
            Line::Fetch(fetch) => format!("{} {}", fetch_name(fetch), fetch.request.what),
        };
        matches(&text, &model.filter)
    });
    let mut lines: Vec<Line> = matching.collect();
    sort::images(model.image_sort, &mut lines);
    lines
}

/// The machines, unless the admin sorts them otherwise: failed, silent in the middle, under way (least done first),
/// booted, switched off.
pub fn machines(model: &Model) -> Vec<&Client> {
    let mut all: Vec<&Client> =
        model.now.machines.iter().filter(|c| matches(&words(c), &model.filter)).collect();
    sort::machines(model.machine_sort, &mut all);
    all
}

fn words(c: &Client) -> String {
    let h = &c.heartbeat;
    let more = [&h.hostname, &h.address, &h.image, &h.error, &c.group];
    let more: Vec<&str> = more.iter().filter_map(|w| w.as_deref()).collect();
    format!("{} {} {} {}", name(c), h.id, c.phase(), more.join(" "))
}

/// How a machine of this id is called.
pub fn name_of(model: &Model, id: &str) -> String {
    model.now.machines.iter().find(|c| c.heartbeat.id == id).map_or_else(|| id.to_owned(), name)
}

/// How long a machine has been in its phase.
pub fn since(c: &Client) -> Duration {
    let h = &c.heartbeat;
    let began = h.phases.last().map_or(0.0, |p| p.at);
    Duration::try_from_secs_f64(h.uptime - began + c.age).unwrap_or_default()
}

/// The items of a list to pick from that match.
pub fn items<'a>(items: &'a [PickItem], filter: &str) -> Vec<&'a PickItem> {
    items.iter().filter(|i| matches(&format!("{} {}", i.key, i.note), filter)).collect()
}

/// Whether a text has all the words that were typed.
pub fn matches(text: &str, filter: &str) -> bool {
    let text = text.to_lowercase();
    filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootspec::{Heartbeat, Phase, Progress};

    #[test]
    fn what_needs_attention_comes_first() {
        let client = |id: &str, phase, have, gone| {
            let progress = Progress { have, total: 100, ..Default::default() };
            let heartbeat = Heartbeat { id: id.into(), phase, progress, ..Default::default() };
            Client { heartbeat, gone, ..Default::default() }
        };
        let mut model = Model::default();
        model.now.machines = vec![
            client("off", Phase::Seed, 100, true),
            client("booted", Phase::Seed, 100, false),
            client("most", Phase::Download, 90, false),
            client("least", Phase::Download, 9, false),
            client("lost", Phase::Download, 50, true),
            client("failed", Phase::Failed, 0, false),
        ];
        let ids = |model: &Model| machines(model).iter().map(|c| c.heartbeat.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&model), ["failed", "lost", "least", "most", "booted", "off"]);
        model.filter = "DOWN st".into();
        assert_eq!(ids(&model), ["least", "most"]);
    }
}
