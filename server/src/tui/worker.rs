// SPDX-License-Identifier: GPL-3.0-or-later
//! Work: asking the server, telling it what was wanted, running our own commands. What comes of it are messages.

use super::{
    model::{ServerLink, ServerSnapshot, SourceRow},
    update::Message,
};
use crate::{
    api::{Api, types::ImageRow},
    catalogue::{Catalogue, own::initrd_size},
    config::Config,
    doctor::{SystemPaths, examine, render},
    net::interfaces,
    setup::prepare::{SetupPaths, prepare},
    sources::{Folders, FoundSource},
    tui::{
        effect::{Change, Done, Effect, Errand, Ran},
        files,
    },
};
use anyhow::{Context, Result, anyhow};
use bootspec::{ImageName, units::human_size};
use std::{ffi::OsString, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
    sync::{Notify, mpsc::UnboundedSender},
};

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// What a command may say.
const MOST: u64 = 1 << 20;

/// Does the work, and tells what came of it.
#[derive(Clone)]
pub struct Worker {
    config: Arc<Config>,
    /// What our own commands are given first: the same configuration.
    common: Arc<Vec<OsString>>,
    tell: UnboundedSender<Message>,
    /// Something was changed: ask now.
    changed: Arc<Notify>,
}

impl Worker {
    /// A worker. `common`: the flags of this command that its own commands need too.
    pub fn new(config: Config, common: Vec<OsString>, tell: UnboundedSender<Message>) -> Worker {
        let (config, common) = (Arc::new(config), Arc::new(common));
        Worker { config, common, tell, changed: Arc::new(Notify::new()) }
    }

    /// Ask the server each second, until nobody listens.
    pub async fn watch(self) {
        let mut api = None;
        loop {
            if api.is_none() {
                api = Api::connect(&self.config).ok();
            }
            let told = match &api {
                Some(api) => snapshot(api).await,
                None => Err(anyhow!("preparing HTTP")),
            };
            let message = match told {
                Ok(now) => {
                    let full = api.as_ref().is_some_and(Api::can_change);
                    Message::Polled(if full { ServerLink::Full } else { ServerLink::ReadOnly }, Box::new(now))
                }
                Err(e) => {
                    // Another one may be started, with a socket.
                    api = None;
                    Message::Polled(ServerLink::Down(format!("{e:#}")), Box::new(self.on_disk()))
                }
            };
            if self.tell.send(message).is_err() {
                return;
            }
            let _ = tokio::time::timeout(EVERY, self.changed.notified()).await;
        }
    }

    /// What there is without a server.
    fn on_disk(&self) -> ServerSnapshot {
        let catalogue = Catalogue::at(&self.config.catalogue.dir);
        let names = catalogue.names().unwrap_or_default();
        let row = |name: &ImageName| {
            let manifest = catalogue.manifest(name).ok()?;
            let phase_one = manifest.kernel.size + initrd_size(&catalogue.dir(name), &manifest);
            let key = catalogue.signed_by_key(name).map(|k| k.to_string());
            Some(ImageRow {
                manifest,
                phase_one,
                default: false,
                key,
                machines: Vec::new(),
                versions: Vec::new(),
            })
        };
        ServerSnapshot { images: names.iter().filter_map(row).collect(), ..ServerSnapshot::default() }
    }

    /// Begin some work.
    pub fn start(&self, effect: Effect) {
        let worker = self.clone();
        tokio::spawn(async move {
            // Only looked at, each time when the server was asked: that must not ask it again.
            let looks = matches!(effect, Effect::Log(_));
            let message = worker.work(effect).await;
            if !looks {
                worker.changed.notify_one();
            }
            // Nobody listens any more: it is over.
            let _ = worker.tell.send(message);
        });
    }

    async fn work(&self, effect: Effect) -> Message {
        match effect {
            Effect::Log(id) => {
                let log = self.log(&id).await.unwrap_or_default();
                Message::Log(id, log)
            }
            Effect::Sources => Message::Sources(self.sources().map_err(|e| format!("{e:#}"))),
            Effect::Networks => {
                let networks = interfaces().unwrap_or_default();
                Message::Networks(networks.into_iter().map(|i| (i.name, i.subnet.to_string())).collect())
            }
            Effect::Plan(options) => {
                let (config, asked) = (self.config.clone(), options.clone());
                let plan = move || {
                    let prepared = prepare(&options, &config, SetupPaths::default())?;
                    prepared.check()?;
                    let written = prepared.plan.is_written();
                    Ok((format!("{}checked with `dnsmasq --test`", prepared.plan.shown()), written))
                };
                Message::Planned(asked, blocking(plan).await.map_err(|e| format!("{e:#}")))
            }
            Effect::Examine => {
                let config = self.config.clone();
                let examined = blocking(move || Ok(render(&examine(&config, &SystemPaths::default()))));
                Message::Examined(examined.await.unwrap_or_else(|e| format!("{e:#}")))
            }
            Effect::Files(path) => {
                let asked = path.clone();
                let found = blocking(move || files::look(&asked)).await;
                Message::Files(path, found.map_err(|e| format!("{e:#}")))
            }
            Effect::Run(errand, args) => {
                let ran = self.run(&args, errand == Errand::Add).await;
                Message::Ran(errand, ran.unwrap_or_else(|e| Ran { err: format!("{e:#}"), ..Ran::default() }))
            }
            change => Message::Did(self.change(change).await.map_err(|e| format!("{e:#}"))),
        }
    }

    /// Tell the server. What it did, in a sentence.
    async fn change(&self, change: Effect) -> Result<Done> {
        let api = Api::local(&self.config.serve.socket)?.context("the server does not run")?;
        let name = |name: &str| name.parse::<ImageName>().map_err(anyhow::Error::msg);
        let (said, undo) = match change {
            Effect::Fetch(request) => {
                let row = api.fetch(&request).await?;
                (format!("the server fetches {}", row.request.what), None)
            }
            Effect::Cancel(id) => {
                api.cancel_fetch(id).await?;
                ("cancelled".into(), None)
            }
            Effect::Remove(image) => {
                api.remove_image(&name(&image)?.into(), true).await?;
                (format!("image '{image}' removed"), None)
            }
            Effect::Change(change, said, undo) => {
                match *change {
                    Change::Hosts(changes) => drop(api.change_hosts(&changes).await?),
                    Change::Image(image, change) => drop(api.change_image(&image, &change).await?),
                }
                (said, undo)
            }
            Effect::Wake(who) => (self.wake(&api, &who).await?, None),
            Effect::Log(_)
            | Effect::Sources
            | Effect::Files(_)
            | Effect::Networks
            | Effect::Plan(_)
            | Effect::Examine
            | Effect::Run(..) => Default::default(),
        };
        Ok(Done { said, undo })
    }

    async fn wake(&self, api: &Api, who: &[String]) -> Result<String> {
        let mut sent = Vec::new();
        for who in who {
            sent.extend(api.wake(who).await?.sent);
        }
        Ok(match &sent[..] {
            [one] => format!("wake-on-LAN packet sent to {one}"),
            all => format!("wake-on-LAN packets sent to {} machines", all.len()),
        })
    }

    /// What a machine said last.
    async fn log(&self, id: &str) -> Result<Vec<String>> {
        Ok(Api::connect(&self.config)?.client(id).await?.heartbeat.log)
    }

    /// What can be fetched by name.
    fn sources(&self) -> Result<Vec<SourceRow>> {
        let all = Folders { dirs: self.config.catalogue.sources.clone() }.read()?;
        let source = |found: &FoundSource| {
            let size = found.source.size.map(human_size).unwrap_or_default();
            let words = [size, found.source.architecture.clone(), found.source.description.clone()];
            let about = words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join("  ");
            SourceRow { name: found.name.to_string(), about }
        };
        Ok(all.sources.values().map(source).collect())
    }

    /// Run `boottorrent ARGS…`. `tell`: what it says on the way is told.
    async fn run(&self, args: &[String], tell: bool) -> Result<Ran> {
        let program = std::env::current_exe().context("looking for our own program")?;
        let shown = || format!("running boottorrent {}", args.join(" "));
        let mut child = Command::new(program)
            .args(self.common.iter())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(shown)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let teller = self.tell.clone();
        let on_line = |line: &str| {
            if tell {
                let _ = teller.send(Message::Progress(line.to_owned()));
            }
        };
        let (out, err) = tokio::join!(read(out, |_| ()), read(err, on_line));
        let good = child.wait().await.with_context(shown)?.success();
        Ok(Ran { good, out, err })
    }
}

/// Work that waits for this machine, and not for a network of ours.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("looking at this machine")?
}

/// All that a pipe says, line by line; and no more than [`MOST`].
async fn read(pipe: Option<impl AsyncRead + Unpin>, mut on_line: impl FnMut(&str)) -> String {
    let mut all = String::new();
    if let Some(pipe) = pipe {
        let mut lines = BufReader::new(pipe.take(MOST)).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line);
            on_line(&line);
            all.push_str(&line);
            all.push('\n');
        }
    }
    all
}

/// All that the server tells.
async fn snapshot(api: &Api) -> Result<ServerSnapshot> {
    Ok(ServerSnapshot {
        images: api.images().await?,
        fetches: api.fetches().await?,
        machines: api.clients().await?,
        hosts: api.hosts().await?,
        entries: api.entries().await?,
        stats: api.get("/api/v1/stats").await?,
    })
}
