// SPDX-License-Identifier: GPL-3.0-or-later
//! An order from its arrival to its end. One that the server does not answer any more is taken back.

use super::{
    host::{self, Roots, blocking},
    next::{Ask, ask},
    prepare::{Prepared, Preparing},
};
use crate::{
    beat,
    booted::{Obeys, Seeded},
    report::Report,
    status,
};
use anyhow::{Context, anyhow, bail};
use bootspec::{
    Phase,
    order::{Action, Answer, Obeyed, Order, OrderReport, Refusal, Remote, SentOrder, Stage, SwitchBy},
    trust::Version,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::watch, time::sleep};

/// How often a machine that waits looks at the clock, and who is logged in.
const LOOK: Duration = Duration::from_secs(2);
/// How long until an order is judged again that is wrong by a clock that may be set.
const AGAIN: Duration = Duration::from_secs(60);
/// How long a soft-reboot may take until the next root is there.
const SOFT_REBOOT: Duration = Duration::from_secs(300);
/// Tries to reach the server before something is done that cannot be taken back.
const TRIES: u32 = 3;

/// Obeys orders, one after the other.
pub struct Follower {
    obeys: Obeys,
    seeded: Seeded,
    report: Report,
    /// When the last order was made that was carried out.
    last: Option<Version>,
    /// The folder of the root that is in use.
    home: PathBuf,
    /// How many roots there have been.
    roots: u32,
}

/// When the kernel started, by this machine's clock as it is now: it may have been set since.
fn kernel_start() -> Version {
    let uptime = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from);
    Version(now().0.saturating_sub(uptime.unwrap_or_default().as_secs()))
}

/// By this machine's own clock.
fn now() -> Version {
    Version::of(SystemTime::now())
}

impl Follower {
    /// A machine that has booted.
    pub fn new(obeys: Obeys, seeded: Seeded, report: &Report) -> Self {
        let allows = obeys.params.remote.clone();
        report.note(|b| b.orders = Some(Remote { allows, order: None }));
        let home = obeys.args.run_dir.clone();
        Follower { obeys, seeded, report: report.clone(), last: None, home, roots: 0 }
    }

    /// Never returns.
    pub async fn obey(mut self) {
        let mut answers = beat::answers();
        // A root that is not complete yet depends on this process.
        while self.report.heartbeat().phase != Phase::Seed {
            sleep(LOOK).await;
        }
        // What was decided of it is not decided again.
        let mut settled: Option<SentOrder> = None;
        loop {
            let sent = next(&mut answers, settled.as_ref()).await;
            settled = Some(sent.clone());
            match self.judge(&sent) {
                Ok(order) => self.carry_out(&order, &sent, &mut answers).await,
                Err((report, again)) => {
                    self.report.warn(&report.sentence());
                    self.tell(report).await;
                    if again {
                        // Another order need not wait for that.
                        let _ = tokio::time::timeout(AGAIN, next(&mut answers, settled.as_ref())).await;
                        settled = None;
                    }
                }
            }
        }
    }

    /// Errors: what is reported, and whether a clock that is set changes it.
    fn judge(&self, sent: &SentOrder) -> Result<Order, (OrderReport, bool)> {
        let Obeys { params, keys, net, .. } = &self.obeys;
        let obeyed = Obeyed {
            machine: &net.mac,
            allows: &params.remote,
            keys: keys.as_ref(),
            booted: kernel_start(),
            last: self.last,
        };
        obeyed.judge(sent, now()).map_err(|why| {
            // What it says is shown, and nothing of it is believed.
            let parsed = Order::parse(&sent.order).ok();
            let mut report = parsed.as_ref().map_or_else(OrderReport::unknown, OrderReport::of);
            (report.stage, report.why) = (Stage::Refused, why.to_string());
            (report, matches!(why, Refusal::Future(_) | Refusal::BeforeBoot(_)))
        })
    }

    async fn tell(&self, report: OrderReport) -> Option<Answer> {
        self.report.note(|b| {
            if let Some(orders) = &mut b.orders {
                orders.order = Some(report);
            }
        });
        beat::ask(&self.report).await
    }

    async fn carry_out(
        &mut self,
        order: &Order,
        sent: &SentOrder,
        answers: &mut watch::Receiver<Option<Answer>>,
    ) {
        self.report.info(&format!("the server orders: {}, at {}", order.what(), order.at));
        let home = self.obeys.args.run_dir.join(format!("next-{}", self.roots + 1));
        let prepared = tokio::select! {
            prepared = self.ready(order, &home) => prepared,
            () = taken_back(answers, sent) => Err(anyhow!("the order was taken back")),
        };
        let done = match prepared {
            Ok((prepared, report)) => self.go(order, prepared, report).await,
            Err(e) => Err(e),
        };
        if let Err(e) = done {
            let mut report = OrderReport::of(order);
            (report.stage, report.why) = (Stage::Refused, format!("{e:#}"));
            self.report.warn(&report.sentence());
            self.preparing().give_up(order, home).await;
            self.tell(report).await;
        }
    }

    fn preparing(&self) -> Preparing<'_> {
        Preparing { obeys: &self.obeys, seeded: &self.seeded, report: &self.report }
    }

    /// Prepare it, and wait until it may be done.
    async fn ready(&self, order: &Order, home: &Path) -> anyhow::Result<(Prepared, OrderReport)> {
        let left = Duration::from_secs(order.expires.0.saturating_sub(now().0));
        let preparing = self.preparing();
        let prepared = tokio::time::timeout(left, preparing.prepare(order, home)).await;
        let prepared = prepared
            .map_err(|_| anyhow!("the image was not here in time: this machine stays as it is"))??;
        let mut report = OrderReport::of(order);
        (report.stage, report.percent, report.by) = (Stage::Ready, 100, prepared.by);
        report.why = prepared.why.clone();
        self.report.info(&report.sentence());
        self.tell(report.clone()).await;
        while now() < order.at {
            let left = Duration::from_secs(order.at.0 - now().0);
            sleep(left.min(LOOK)).await;
        }
        self.people(order, &mut report).await?;
        if now() >= order.expires {
            bail!("it was too late: the order has expired at {}", order.expires);
        }
        Ok((prepared, report))
    }

    /// Warn who is logged in, and wait for them if the order says so.
    async fn people(&self, order: &Order, report: &mut OrderReport) -> anyhow::Result<()> {
        let mut warned = false;
        loop {
            let users = blocking(host::users).await;
            let users = match (users, order.wait_for_users) {
                (Ok(users), _) => users,
                (Err(e), true) => return Err(e.context("it cannot be seen who is logged in")),
                (Err(_), false) => Vec::new(),
            };
            let names = bootspec::text::printable(&users.join(", "), 100);
            if !users.is_empty() && !std::mem::replace(&mut warned, true) {
                let text = warning(order);
                self.report.info(&format!("warned {names}"));
                if let Err(e) = blocking(move || host::warn(&text)).await {
                    self.report.debug(&format!("{e:#}"));
                }
            }
            if users.is_empty() || !order.wait_for_users {
                return Ok(());
            }
            let why = format!("logged in: {names}");
            if report.stage != Stage::Waiting || report.why != why {
                (report.stage, report.why) = (Stage::Waiting, why);
                self.tell(report.clone()).await;
            }
            if now() >= order.expires {
                bail!("{names} did not log out in time: this machine stays as it is");
            }
            sleep(LOOK).await;
        }
    }

    /// Do it. From here on it cannot be taken back.
    async fn go(&mut self, order: &Order, prepared: Prepared, mut report: OrderReport) -> anyhow::Result<()> {
        report.stage = Stage::Going;
        report.why.clear();
        self.last_word(order, &report).await?;
        self.last = Some(order.made);
        match (order.action, prepared.by) {
            (Action::Switch, Some(SwitchBy::SoftReboot)) => self.soft_reboot(prepared, report).await,
            (Action::Poweroff, _) => self.systemctl("poweroff").await,
            (Action::Reboot | Action::Switch, _) => self.systemctl("reboot").await,
        }
    }

    /// Ask the server whether it still stands. A machine that must boot the image from the server needs its word.
    async fn last_word(&self, order: &Order, report: &OrderReport) -> anyhow::Result<()> {
        for _ in 0..TRIES {
            let Some(answer) = self.tell(report.clone()).await else {
                sleep(Duration::from_secs(1)).await;
                continue;
            };
            return match (answer.order, answer.stop) {
                (_, Some(why)) => {
                    Err(anyhow!("the server does not let it go: {}", bootspec::text::printable(&why, 200)))
                }
                (Some(sent), None) if sent.order == order.to_string() => Ok(()),
                _ => Err(anyhow!("the order was taken back")),
            };
        }
        match report.by {
            Some(SwitchBy::Reboot) => bail!("the server does not answer, and it has to set what is booted"),
            _ => Ok(()),
        }
    }

    async fn systemctl(&self, verb: &'static str) -> anyhow::Result<()> {
        self.report.info(&format!("systemctl {verb}"));
        let program = self.obeys.args.systemctl.clone();
        blocking(move || host::run(&[&program, verb])).await?;
        // It ends this process, too.
        sleep(SOFT_REBOOT).await;
        bail!("systemctl {verb} has not ended this system within {} s", SOFT_REBOOT.as_secs())
    }

    async fn soft_reboot(&mut self, prepared: Prepared, mut report: OrderReport) -> anyhow::Result<()> {
        let image = prepared.image.context("nothing was fetched")?;
        ask(Ask::Show(image.home.clone())).await?;
        image.lay_files(&self.obeys, &self.report)?;
        self.report.info(&format!("soft-reboot to {} ({})", image.name, image.what));
        let roots = Roots::open().context("opening /proc")?;
        let root = roots.device().context("looking at the root")?;
        let program = self.obeys.args.systemctl.clone();
        // It may be ended by what it has begun.
        let asked = blocking(move || host::run(&[&program, "soft-reboot"])).await;
        let begun = Instant::now();
        while roots.device().ok().is_none_or(|now| now == root) {
            if begun.elapsed() > SOFT_REBOOT {
                asked?;
                bail!(
                    "systemctl soft-reboot has not reached the next root within {} s",
                    SOFT_REBOOT.as_secs()
                );
            }
            sleep(Duration::from_millis(250)).await;
        }
        self.arrived(&roots);
        self.roots += 1;
        let before = std::mem::replace(&mut self.home, image.home.clone());
        let old = self.seeded.set(image.torrent.clone());
        let (name, hostname) = (image.name.clone(), image.hostname.clone());
        let infohash = image.torrent.infohash();
        self.report.note(|b| {
            (b.image, b.infohash) = (Some(name), Some(infohash));
            b.hostname = Some(hostname);
        });
        self.obeys.session.remove(old.infohash());
        drop(old);
        let all = before != self.obeys.args.run_dir;
        if let Err(e) = ask(Ask::Forget(before, all)).await {
            self.report.warn(&format!("the image before stays in memory: {e:#}"));
        }
        report.stage = Stage::Done;
        self.report.info(&report.sentence());
        self.tell(report).await;
        Ok(())
    }
}

impl Follower {
    /// Make the new root's /run/boottorrent what the old one's was.
    fn arrived(&self, roots: &Roots) {
        let done = roots.settle(&self.obeys.args.run_dir).and_then(|()| {
            self.report.log_to(Path::new("agent.log"));
            status::listen(Path::new("."), &self.report)
        });
        if let Err(e) = done {
            self.report.warn(&format!("the agent cannot be asked any more, nor obey orders: {e:#}"));
        }
    }
}

/// What people are told.
fn warning(order: &Order) -> String {
    let what = match order.action {
        Action::Switch => "switched to another system",
        Action::Reboot => "rebooted",
        Action::Poweroff => "powered off",
    };
    let when = if order.wait_for_users { "as soon as you log out" } else { "now" };
    let text = format!("This computer will be {what} {when}. {}", order.message);
    text.trim_end().to_owned()
}

/// The next order that was not settled.
async fn next(answers: &mut watch::Receiver<Option<Answer>>, settled: Option<&SentOrder>) -> SentOrder {
    loop {
        let sent = answers.borrow_and_update().as_ref().and_then(|a| a.order.clone());
        if let Some(sent) = sent.filter(|s| Some(s) != settled) {
            return sent;
        }
        if answers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns when the server answers, and this order is not what it wants any more.
async fn taken_back(answers: &mut watch::Receiver<Option<Answer>>, sent: &SentOrder) {
    loop {
        let stands = match answers.borrow_and_update().as_ref() {
            Some(answer) => answer.order.as_ref() == Some(sent),
            None => true,
        };
        if !stands {
            return;
        }
        if answers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
