// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent host schedule …`

use super::{backend::Backend, complete, host_order::local, run::print_json};
use crate::{
    hosts::{
        Name, ScheduleEntry,
        schedule::{Days, LEAD, TimeOfDay, WITHIN},
    },
    orders::ScheduleRow,
    table::{Align, layout},
};
use anyhow::{Result, anyhow};
use bootspec::{ImageRef, order::Action, text::clean};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Without a command: list the entries, the next one first.

The server gives the orders that `boottorrent host switch` would give, ahead of
each time, to machines that run then. Between the times nothing changes. Times
are those of the server's clock, in its time zone. An order by hand counts
before the calendar's. docs/admin.md has the details.

Examples:
  boottorrent host schedule add exams --who group:lab --days mon-fri \\
      --at 09:55 --image exam
  boottorrent host schedule add lessons --who group:lab --days mon-fri \\
      --at 11:30,15:00 --image lesson
  boottorrent host schedule add finals --who 'pc[01-30]' --days 2027-06-01 \\
      --at 08:00 --image finals@2 --wait-for-users
  boottorrent host schedule add night --who group:lab --days daily \\
      --at 22:00 --poweroff --wait-for-users
  boottorrent host schedule remove exams"
)]
pub struct Schedule {
    #[command(subcommand)]
    command: Option<ScheduleCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Add an entry; an entry of the same name is replaced
    Add(Box<Add>),
    /// List the entries, the next one first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove entries; orders that machines wait with are taken back
    Remove {
        /// The entries
        #[arg(required = true, add = complete::schedule())]
        names: Vec<Name>,
    },
}

#[derive(Debug, Args)]
#[command(
    override_usage = "boottorrent host schedule add [OPTIONS] <NAME> --who <WHO>...\n       --days <DAY,…> --at <TIME,…> --image <IMAGE>"
)]
struct Add {
    /// The entry's name
    #[arg(add = complete::schedule())]
    name: Name,
    /// The machines or groups, as in `host set`
    #[arg(long, required = true, num_args = 1.., add = complete::hosts())]
    who: Vec<String>,
    /// The days: mon, mon-fri, daily or 2026-12-24
    #[arg(long, required = true, value_delimiter = ',', value_name = "DAY,…")]
    days: Vec<Days>,
    /// The times of these days, e.g. 09:55
    #[arg(long, required = true, value_delimiter = ',', value_name = "TIME,…")]
    at: Vec<TimeOfDay>,
    /// The image to switch to; NAME@2 selects a version
    #[arg(long, required_unless_present_any = ["reboot", "poweroff"], add = complete::images())]
    image: Option<ImageRef>,
    /// Reboot instead of switching
    #[arg(long, conflicts_with_all = ["image", "poweroff"])]
    reboot: bool,
    /// Power off instead of switching
    #[arg(long, conflicts_with = "image")]
    poweroff: bool,
    /// How long before the time machines begin to fetch the image
    #[arg(long, value_name = "MINUTES", default_value_t = LEAD)]
    lead: u32,
    /// How long after the time a machine may still do it
    #[arg(long, value_name = "MINUTES", default_value_t = WITHIN)]
    within: u32,
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

impl Schedule {
    /// Whether nothing is to be changed.
    pub fn only_lists(&self) -> bool {
        matches!(self.command, None | Some(ScheduleCommand::List { .. }))
    }

    pub fn run(self, backend: &Backend) -> Result<()> {
        match self.command {
            None => list(&backend.schedule()?, self.json),
            Some(ScheduleCommand::List { json }) => list(&backend.schedule()?, json),
            Some(ScheduleCommand::Add(add)) => add.run(backend),
            Some(ScheduleCommand::Remove { names }) => {
                for name in names {
                    backend.unset_schedule(&name)?;
                    println!("{name}: removed");
                }
                Ok(())
            }
        }
    }
}

impl Add {
    fn run(self, backend: &Backend) -> Result<()> {
        let entry = ScheduleEntry {
            who: self.who,
            days: self.days,
            times: self.at,
            action: match (self.reboot, self.poweroff) {
                (true, _) => Action::Reboot,
                (_, true) => Action::Poweroff,
                _ => Action::Switch,
            },
            image: self.image,
            lead: self.lead,
            within: self.within,
            wait_for_users: self.wait_for_users,
            message: self.message,
        };
        entry.check().map_err(|why| anyhow!(why))?;
        let row = backend.set_schedule(&self.name, &entry)?;
        if self.json {
            return print_json(&row);
        }
        let next = match &row.next {
            Some(at) => format!("next at {}", local(at)),
            None => "it is never due: all its dates are over".into(),
        };
        println!("{}", clean(&format!("{}: {}, {next}", row.name, entry.what()), &[]));
        if let Some(problem) = &row.problem {
            eprintln!("{}", clean(&format!("note: {problem}"), &[]));
        }
        if !backend.is_server() {
            eprintln!("note: no server runs here, and the calendar is kept by it");
        }
        Ok(())
    }
}

fn list(rows: &[ScheduleRow], json: bool) -> Result<()> {
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        println!("the calendar is empty: `boottorrent host schedule add` adds an entry");
        return Ok(());
    }
    let head = ["NAME", "WHO", "DAYS", "TIMES", "ORDER", "NEXT", ""].map(|name| (name, Align::Left));
    let line = |row: &ScheduleRow| {
        let e = &row.entry;
        vec![
            row.name.to_string(),
            e.who.join(","),
            texts(&e.days),
            texts(&e.times),
            e.what(),
            row.next.as_deref().map_or_else(|| "-".into(), local),
            row.problem.clone().unwrap_or_default(),
        ]
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    print!("{}", clean(&layout(&head, &lines), &['\n']));
    Ok(())
}

fn texts<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
