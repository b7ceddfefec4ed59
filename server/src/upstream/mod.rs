// SPDX-License-Identifier: GPL-3.0-or-later
//! A relay at work: it asks the first server each two seconds whether anything has changed, makes copies of what is new,
//! and tells it each second what its machines have said.
//!
//! It asks with the tag of the last answer and gets a few hundred bytes where nothing has changed. A stream of events would
//! say it sooner, but needs the same answer after each cut.
//!
//! | step | module |
//! |---|---|
//! | what is said of machines, settings, entries, files | `words` |
//! | images: what is to be copied, what has to go | `images` |
//! | a payload comes by the swarm | `payload` |

mod images;
mod payload;
mod words;

use crate::{
    net::interfaces,
    refresh::refresh,
    relay::{
        Here,
        client::{First, Told},
        told::{MACHINES, Report},
    },
    state::ServerState,
};
use anyhow::Result;
use bootspec::text::count;
use images::Images;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

/// How often the first server is asked for changes, and told what machines say.
const ASK: Duration = Duration::from_secs(2);
const TELL: Duration = Duration::from_secs(1);
/// How often what could not be fetched is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Be a relay, until `stop`.
pub async fn follow(first: First, state: Arc<ServerState>, stop: CancellationToken) {
    let Some(here) = state.here.clone() else { return };
    let (first, news) = (Arc::new(first), Arc::new(Notify::new()));
    let work = async {
        tokio::join!(
            ask(&first, &state, &here, &news),
            fetch(&first, &state, &here, &news),
            tell(&first, &state, &here)
        )
    };
    stop.run_until_cancelled(work).await;
}

/// Say in the log what is wrong with a part of the work, when that is new.
fn told(here: &Here, part: &'static str, result: &Result<()>) {
    let trouble = result.as_ref().err().map(|e| format!("{e:#}"));
    if here.trouble(part, trouble.clone()) {
        match trouble {
            Some(why) => tracing::warn!("this relay goes on with what it has: {why}"),
            None => tracing::info!("{} answers", here.url),
        }
    }
}

/// Ask for changes.
async fn ask(first: &First, state: &Arc<ServerState>, here: &Arc<Here>, news: &Notify) {
    let mut tag = None;
    loop {
        let asked = once_more(first, state, here, &mut tag, news).await;
        told(here, "first server", &asked);
        sleep(ASK).await;
    }
}

async fn once_more(
    first: &First,
    state: &Arc<ServerState>,
    here: &Arc<Here>,
    tag: &mut Option<String>,
    news: &Notify,
) -> Result<()> {
    let known = here.known_so_far();
    let answer = first.snapshot(tag.as_deref()).await?;
    here.answered();
    // The first server knew of these when it was asked.
    here.forget(&known)?;
    let Told::New { snapshot, tag: new } = answer else { return Ok(()) };
    first.check(&snapshot)?;
    words::check(state, &snapshot)?;
    let (of, to) = (state.clone(), here.clone());
    let done = tokio::task::spawn_blocking(move || {
        let snapshot = to.set_snapshot(*snapshot)?;
        // From now on machines are told its settings.
        of.set_config((*of.config()).clone());
        words::take_over(&of, &to, &snapshot)
    });
    done.await??;
    refresh(state);
    *tag = Some(new);
    news.notify_one();
    Ok(())
}

/// Fetch what is new, and what was not to be had before.
async fn fetch(first: &Arc<First>, state: &Arc<ServerState>, here: &Arc<Here>, news: &Notify) {
    let mut images = match Images::start(first.clone(), state.clone(), here.clone()).await {
        Ok(images) => images,
        Err(e) => return tracing::error!("this relay fetches no images: {e:#}"),
    };
    loop {
        if let Some(snapshot) = here.snapshot() {
            let small = words::fetch(first, state, &snapshot).await;
            told(here, "files", &small);
            let done = images.fetch(&snapshot).await;
            told(here, "images", &done);
        }
        let _ = tokio::time::timeout(AGAIN, news.notified()).await;
    }
}

/// Tell what machines have said.
async fn tell(first: &First, state: &ServerState, here: &Here) {
    let (mut behind, mut machines) = (false, MACHINES);
    loop {
        let (words, done) = here.take(machines);
        let (told, done): (Vec<u64>, Vec<_>) = done.into_iter().unzip();
        let ids: BTreeSet<String> = words.iter().map(|w| w.id().to_owned()).collect();
        let going = words.iter().filter(|w| w.is_going()).map(|w| w.id().to_owned()).collect();
        let row = here.row();
        let report = Report {
            version: env!("CARGO_PKG_VERSION").into(),
            http: state.http_port(),
            subnets: interfaces().unwrap_or_default().into_iter().map(|i| i.subnet).collect(),
            images: state.library().len(),
            missing: row.missing.len(),
            trouble: row.trouble,
            words,
            done,
        };
        match first.report(&report).await {
            Ok(reply) => {
                here.answered();
                here.known(&told);
                here.set_orders(&going, reply.orders);
                machines = (machines * 2).min(MACHINES);
                if std::mem::take(&mut behind) {
                    tracing::info!("the first server has what machines said meanwhile");
                }
            }
            Err(e) => {
                if !behind && !report.words.is_empty() {
                    behind = true;
                    let machines = count(ids.len(), "machine");
                    tracing::warn!("what {machines} said is kept for the first server: {e:#}");
                }
                here.put_back(report.words);
                // It may be too much at once.
                machines = (machines / 2).max(1);
                sleep(TELL).await;
                continue;
            }
        }
        if !(here.has_more() && ids.len() >= machines.min(MACHINES)) {
            sleep(TELL).await;
        }
    }
}
