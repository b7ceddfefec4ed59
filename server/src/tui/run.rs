// SPDX-License-Identifier: GPL-3.0-or-later
//! All of it together: messages in, frames out, until somebody has enough.

use super::{
    draw::draw,
    model::Model,
    terminal::{Screen, is_gone},
    update::{Message, update},
    worker::Worker,
};
use crate::config::Config;
use anyhow::{Context, Result};
use crossterm::event::{self, Event, KeyEventKind};
use std::{ffi::OsString, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

/// What a terminal says.
enum Typed {
    Message(Message),
    /// It has another size, or was written to.
    Redraw,
}

/// How often, at least, is looked whether the terminal is still there: not everybody is told by SIGHUP.
const LOOK: Duration = Duration::from_secs(1);

/// Show the screen until `q`, ^C, SIGTERM, SIGINT or SIGHUP. `common`: flags for our own commands.
pub async fn run(config: Config, common: Vec<OsString>) -> Result<()> {
    let mut signals = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
        signals.push(signal(kind).context("listening to signals")?);
    }
    let (tell, mut told) = unbounded_channel();
    let (type_, mut typed) = unbounded_channel();
    let worker = Worker::new(config, common, tell);
    let mut screen = Screen::open().context("taking over the terminal")?;
    // It blocks in read(2), and ends with the process.
    std::thread::spawn(move || keys(&type_));
    tokio::spawn(worker.clone().watch());
    let (width, height) = screen.size();
    let mut model = Model { width, height, ..Model::default() };
    while !model.over && !is_gone() {
        screen.draw(|frame| draw(frame, &model)).context("writing to the terminal")?;
        let ended = futures::future::select_all(signals.iter_mut().map(|s| Box::pin(s.recv())));
        let mut messages = tokio::select! {
            _ = ended => break,
            message = told.recv() => message.into_iter().collect::<Vec<_>>(),
            input = typed.recv() => match input {
                Some(Typed::Message(message)) => vec![message],
                Some(Typed::Redraw) => {
                    screen.redraw().context("writing to the terminal")?;
                    let (width, height) = screen.size();
                    vec![Message::Size(width, height)]
                }
                // Nobody types any more: the terminal is gone.
                None => break,
            },
            () = tokio::time::sleep(LOOK) => Vec::new(),
        };
        // All that has come meanwhile is one frame.
        while let Ok(message) = told.try_recv() {
            messages.push(message);
        }
        for message in messages {
            for effect in update(&mut model, message) {
                worker.start(effect);
            }
        }
    }
    Ok(())
}

/// Read the keyboard and the mouse until nobody wants it, or it is gone.
fn keys(tell: &UnboundedSender<Typed>) {
    while let Ok(event) = event::read() {
        let input = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Typed::Message(Message::Key(key)),
            Event::Mouse(mouse) => Typed::Message(Message::Mouse(mouse)),
            Event::Resize(..) => Typed::Redraw,
            _ => continue,
        };
        if tell.send(input).is_err() {
            return;
        }
    }
}
