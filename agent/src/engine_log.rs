// SPDX-License-Identifier: GPL-3.0-or-later
//! What the engine logs (tracing) goes the way of everything else: with
//! `boottorrent.log=debug` an admin at a console sees why no peer answers.

use crate::report::Report;
use std::fmt::{Debug, Write};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Send the engine's events to `report` from now on.
pub fn install(report: &Report) {
    // Fails only where somebody was first: then that one gets them.
    let _ = tracing::subscriber::set_global_default(Bridge(report.clone()));
}

struct Bridge(Report);

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && !metadata.target().starts_with("hyper") && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().target().to_owned() + ":");
        event.record(&mut text);
        self.0.debug(&text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
