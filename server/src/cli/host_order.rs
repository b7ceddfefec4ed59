// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host switch`, `host reboot` and `host poweroff`

use super::{
    backend::Backend,
    complete,
    run::{block_on, print_json},
};
use crate::{
    api::types::ImageRow,
    config::Config,
    keys::{AskPassword, CatalogueSigner, Folder, Signer},
    orders::{OrderRequest, OrderRow, Orders},
    table::{Align, layout},
};
use anyhow::{Result, anyhow, bail};
use bootspec::{
    ImageRef,
    order::{Action, Order, OrderedImage, SentOrder, Stage},
    text::{clean, count},
    trust::Version,
};
use chrono::{DateTime, Local};
use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
The machines fetch the image in the background, from each other, and report
when they are ready. At TIME they switch to it: by systemd's soft-reboot where
that works, otherwise by a reboot. `host switch` alone lists how far they are.
After the next reboot a machine boots what `host set` says, as before.

A machine obeys if its kernel command line allows it:
  boottorrent host set group:lab --param boottorrent.remote=switch,reboot
and, if it has a key in its initrd, if this user can sign (docs/security.md).

Examples:
  boottorrent host switch group:lab exam --at 09:55 --within 10
  boottorrent host switch 'pc[01-30]' exam --message 'The exam begins'
  boottorrent host switch
  boottorrent host switch group:lab --cancel")]
pub struct Switch {
    /// The machines or groups, as in `host set`
    #[arg(add = complete::hosts())]
    who: Option<String>,
    /// The image; NAME@2 selects a version
    #[arg(add = complete::images(), conflicts_with = "cancel")]
    image: Option<ImageRef>,
    #[command(flatten)]
    when: When,
    /// Take the order back; possible until its time
    #[arg(long)]
    cancel: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A machine obeys if its kernel command line has boottorrent.remote=reboot.

Examples:
  boottorrent host reboot pc1
  boottorrent host reboot group:lab --at 18:00 --wait-for-users
  boottorrent host reboot group:lab --cancel")]
pub struct Reboot {
    /// The machines or groups, as in `host set`
    #[arg(required = true, add = complete::hosts())]
    who: Vec<String>,
    #[command(flatten)]
    when: When,
    /// Take the order back; possible until its time
    #[arg(long)]
    cancel: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A machine obeys if its kernel command line has boottorrent.remote=poweroff.

Examples:
  boottorrent host poweroff group:lab --at 18:00 --wait-for-users")]
pub struct Poweroff {
    /// The machines or groups, as in `host set`
    #[arg(required = true, add = complete::hosts())]
    who: Vec<String>,
    #[command(flatten)]
    when: When,
    /// Take the order back; possible until its time
    #[arg(long)]
    cancel: bool,
}

/// When, and what people at the machines notice.
#[derive(Debug, Args)]
struct When {
    /// When: 09:55 (the next one), RFC 3339, or now
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: String,
    /// How long after TIME a late machine may still do it [default: 60]
    #[arg(long, value_name = "MINUTES")]
    within: Option<u32>,
    /// Wait until nobody is logged in; without it, they are only warned
    #[arg(long)]
    wait_for_users: bool,
    /// What logged-in people are told besides
    #[arg(long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Switch {
    /// Whether nothing is to be changed.
    pub fn only_lists(&self) -> bool {
        self.who.is_none()
    }

    pub fn run(self, backend: &Backend, config: &Config) -> Result<()> {
        let who: Vec<String> = self.who.into_iter().collect();
        match (who.is_empty(), self.cancel, self.image) {
            (true, true, _) => bail!("name the machines whose orders are taken back"),
            (true, false, _) => show(&block_on(backend.server()?.orders())?, self.when.json),
            (false, true, _) => cancel(&who, backend, self.when.json),
            (false, false, None) => bail!("name the image to switch to"),
            (false, false, image) => self.when.order(who, (Action::Switch, image), backend, config),
        }
    }
}

impl Reboot {
    pub fn run(self, backend: &Backend, config: &Config) -> Result<()> {
        match self.cancel {
            true => cancel(&self.who, backend, self.when.json),
            false => self.when.order(self.who, (Action::Reboot, None), backend, config),
        }
    }
}

impl Poweroff {
    pub fn run(self, backend: &Backend, config: &Config) -> Result<()> {
        match self.cancel {
            true => cancel(&self.who, backend, self.when.json),
            false => self.when.order(self.who, (Action::Poweroff, None), backend, config),
        }
    }
}

fn cancel(who: &[String], backend: &Backend, json: bool) -> Result<()> {
    let api = backend.server()?;
    let taken = who.iter().map(|w| block_on(api.take_back_order(w))).collect::<Result<Vec<_>>>()?.concat();
    if json {
        return print_json(&taken);
    }
    for row in &taken {
        let came = match row.stage {
            Some(Stage::Going) => "cannot be taken back: it is in progress",
            Some(Stage::Done) => "cannot be taken back: it is done",
            _ => "is taken back",
        };
        println!("{}", clean(&format!("{}: {} {came}", called(row), what(row)), &[]));
    }
    Ok(())
}

impl When {
    /// Give the order: signed here, where this user can use the key.
    fn order(
        self,
        who: Vec<String>,
        (action, image): (Action, Option<ImageRef>),
        backend: &Backend,
        config: &Config,
    ) -> Result<()> {
        let api = backend.server()?;
        let When { at, within, wait_for_users, message, json } = self;
        let action = Some(action);
        let request =
            OrderRequest { who, action, image, at, within, wait_for_users, message, signed: Vec::new() };
        let rows = match Folder::of(config).hand(AskPassword::Terminal)? {
            CatalogueSigner::Ready(signer) => {
                let orders = compose(&request, backend)?;
                let signed = orders.iter().map(|o| sign(o, &signer)).collect::<Result<_>>()?;
                block_on(api.order(&OrderRequest { signed, ..OrderRequest::default() }))?
            }
            CatalogueSigner::Unable(why) => {
                let rows = block_on(api.order(&request))?;
                if rows.iter().any(|row| !row.signed) {
                    eprintln!(
                        "note: not signed: {why}; machines with a key in their initrd refuse this order"
                    );
                }
                rows
            }
            _ => block_on(api.order(&request))?,
        };
        if json {
            return print_json(&rows);
        }
        show(&rows, false)?;
        println!("`boottorrent host switch` shows how far they are");
        Ok(())
    }
}

fn sign(order: &Order, signer: &Signer) -> Result<SentOrder> {
    Ok(SentOrder { order: order.to_string(), signature: signer.sign_order(order)? })
}

/// The same orders that the server would make.
fn compose(request: &OrderRequest, backend: &Backend) -> Result<Vec<Order>> {
    let (hosts, clients) = (backend.hosts()?, backend.clients()?);
    let images = block_on(backend.server()?.images())?;
    let image = |wanted: &ImageRef| find(&images, wanted);
    let orders = Orders { hosts: &hosts, clients: &clients, image: &image, now: Local::now() };
    orders.make(request).map_err(|why| anyhow!(why))
}

fn find(images: &[ImageRow], wanted: &ImageRef) -> Option<OrderedImage> {
    let row = images.iter().find(|row| row.manifest.name == wanted.name)?;
    let infohash = match wanted.version {
        None => Some(row.manifest.infohash),
        Some(version) if version == row.manifest.version => Some(row.manifest.infohash),
        Some(version) => row.versions.iter().find(|v| v.version == version).map(|v| v.infohash),
    };
    Some(OrderedImage { image: wanted.clone(), infohash: infohash? })
}

fn show(rows: &[OrderRow], json: bool) -> Result<()> {
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        println!("no machine has an order: `boottorrent host switch WHO IMAGE` gives one");
        return Ok(());
    }
    let head =
        [("MACHINE", Align::Left), ("ORDER", Align::Left), ("AT", Align::Left), ("STATE", Align::Left)];
    let line = |row: &OrderRow| vec![called(row), what(row), local(&row.at), row.state.clone()];
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    print!("{}", clean(&layout(&head, &lines), &['\n']));
    let ready = rows.iter().filter(|r| r.stage == Some(Stage::Ready)).count();
    println!("{}, {ready} ready", count(rows.len(), "machine"));
    Ok(())
}

fn called(row: &OrderRow) -> String {
    row.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| row.machine.clone())
}

fn what(row: &OrderRow) -> String {
    match &row.image {
        Some(image) => format!("{} to {image}", row.action),
        None => row.action.clone(),
    }
}

/// A time of the server's in this machine's time zone.
pub fn local(at: &str) -> String {
    let at = at.parse::<Version>().ok().and_then(|v| DateTime::from_timestamp(v.0.try_into().ok()?, 0));
    let shown = at.map(|at| at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string());
    shown.unwrap_or_else(|| "-".into())
}
