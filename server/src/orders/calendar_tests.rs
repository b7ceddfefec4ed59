// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::orders::{OrderRequest, Orders};
use bootspec::{
    Heartbeat, ImageRef,
    order::{OrderReport, OrderedImage, SwitchBy},
};
use chrono::{Local, Utc};

const MAC: &str = "52:54:00:00:00:01";
const EXAM: InfoHash = InfoHash([7; 20]);
/// 2026-11-27T08:55:00Z, a Friday.
const AT: u64 = 1_795_769_700;

fn hosts(more: &str) -> Hosts {
    let text = format!(
        "[\"group:lab\"]\n[\"{MAC}\"]\nname = \"pc1\"\ngroup = \"lab\"\n[schedule.exam]\nwho = [\"lab\"]\ndays = [\"fri\"]\n\
         times = [\"08:55\"]\nimage = \"exam\"\n{more}"
    );
    toml::from_str(&text).unwrap()
}

/// A calendar, a board, and one machine, as the daemon has them.
struct Room {
    hosts: Hosts,
    calendar: Calendar,
    board: Board,
    client: Client,
    booted: u64,
}

impl Room {
    fn new(more: &str) -> Room {
        let heartbeat = Heartbeat { id: MAC.into(), phase: Phase::Seed, ..Heartbeat::default() };
        let client = Client { heartbeat, proven: true, ..Client::default() };
        Room {
            hosts: hosts(more),
            calendar: Calendar::default(),
            board: Board::default(),
            client,
            booted: AT - 86_400,
        }
    }

    /// What the daemon does at a moment. The names of the entries whose order was given.
    fn look(&mut self, now: u64) -> Vec<String> {
        let (decision, due) = self.decide(now);
        if !decision.take_back.is_empty() {
            self.board.take_back(&decision.take_back).unwrap();
        }
        let (clients, image) = ([self.client.clone()], found);
        let mut names = Vec::new();
        for (n, macs) in decision.give {
            let due = &due[n];
            let orders = Orders { hosts: &self.hosts, clients: &clients, image: &image, now: clock(now) };
            let request = OrderRequest {
                who: macs.iter().map(ToString::to_string).collect(),
                action: Some(due.entry.action),
                image: due.entry.image.clone(),
                ..OrderRequest::default()
            };
            for order in orders.make_for(&request, due.occurrence.at, due.expires).unwrap() {
                assert_eq!(order.check(), Ok(()));
                let before = self.board.of(MAC).map(|p| p.order.id.clone());
                self.calendar.gave(due, &order, before.as_deref());
                self.board.place(vec![Placed { order, signature: String::new(), report: None }]);
            }
            names.push(due.occurrence.name.clone());
        }
        names
    }

    fn decide(&mut self, now: u64) -> (Decision, Vec<Due>) {
        let due = due(&self.hosts, &Utc, Version(now));
        self.client.heartbeat.uptime = now.saturating_sub(self.booted) as f64;
        let clients = [self.client.clone()];
        let orders = Orders { hosts: &self.hosts, clients: &clients, image: &found, now: clock(now) };
        let decision = self.calendar.decide(&Look {
            due: &due,
            machines: &|who| orders.machines_there(who),
            infohash: &|e| found(e.image.as_ref()?).map(|i| i.infohash),
            clients: &clients,
            board: &self.board,
            now: Version(now),
        });
        (decision, due)
    }

    fn reports(&mut self, stage: Stage, now: u64) {
        let order = self.board.of(MAC).unwrap().order.clone();
        let report = OrderReport { stage, by: Some(SwitchBy::SoftReboot), ..OrderReport::of(&order) };
        self.board.hear(MAC, Some(&report), None, Version(now));
        if stage == Stage::Done && order.action == Action::Switch {
            self.client.heartbeat.infohash = order.image.map(|i| i.infohash);
        }
    }

    fn by_hand(&mut self, now: u64, at: u64) {
        let order = bootspec::order::Order {
            id: format!("{now:016x}"),
            machine: MAC.into(),
            action: Action::Reboot,
            image: None,
            made: Version(now),
            at: Version(at),
            expires: Version(at + 600),
            wait_for_users: false,
            message: String::new(),
        };
        self.board.place(vec![Placed { order, signature: String::new(), report: None }]);
    }
}

fn clock(now: u64) -> chrono::DateTime<Local> {
    chrono::DateTime::from_timestamp(now as i64, 0).unwrap().with_timezone(&Local)
}

fn found(image: &ImageRef) -> Option<OrderedImage> {
    let n = match image.name.as_str() {
        "exam" => EXAM,
        "lesson" => InfoHash([8; 20]),
        _ => return None,
    };
    Some(OrderedImage { image: image.clone(), infohash: n })
}

#[test]
fn an_order_is_given_once_and_ahead_of_its_time() {
    let mut room = Room::new("");
    assert!(room.look(AT - 1801).is_empty(), "it is too early");
    assert_eq!(room.look(AT - 1800), ["exam"]);
    let order = room.board.of(MAC).unwrap().order.clone();
    assert_eq!((order.at.0, order.made.0, order.expires.0), (AT, AT - 1800, AT + 900));
    assert!(room.look(AT - 1798).is_empty() && room.look(AT + 10).is_empty());
    room.reports(Stage::Done, AT + 20);
    assert!(room.look(AT + 30).is_empty());
    // A server that starts again knows.
    let saved = room.calendar.to_save().unwrap();
    room.calendar = Calendar::restore(saved);
    assert!(room.look(AT + 40).is_empty());
    // It is switched back by hand, and the clock is set back: nothing is repeated.
    room.client.heartbeat.infohash = None;
    assert!(room.look(AT + 50).is_empty() && room.look(AT - 1000).is_empty());
    room.client.heartbeat.infohash = Some(EXAM);
    // A week later it is another time, and the exam runs already.
    assert!(room.look(AT + 7 * 86_400).is_empty());
    room.client.heartbeat.infohash = None;
    assert_eq!(room.look(AT + 7 * 86_400), ["exam"]);
}

#[test]
fn a_time_that_was_missed_is_caught_up_within_its_bound() {
    assert_eq!(Room::new("").look(AT + 899), ["exam"]);
    assert!(Room::new("").look(AT + 900).is_empty(), "too late: what runs goes on");
    let mut room = Room::new("within = 60\n");
    assert_eq!(room.look(AT + 3599), ["exam"]);
    assert_eq!(room.board.of(MAC).unwrap().order.expires.0, AT + 3600);
}

#[test]
fn who_is_off_gets_it_when_it_has_booted() {
    let mut room = Room::new("");
    room.client.gone = true;
    assert!(room.look(AT - 60).is_empty());
    (room.client.gone, room.booted) = (false, AT + 60);
    room.client.heartbeat.phase = Phase::Download;
    assert!(room.look(AT + 90).is_empty());
    room.client.heartbeat.phase = Phase::Seed;
    room.client.proven = false;
    assert!(room.look(AT + 95).is_empty(), "anybody may say that");
    room.client.proven = true;
    assert_eq!(room.look(AT + 100), ["exam"]);
    // It has booted again: an order from before that would be refused.
    room.booted = AT + 200;
    assert_eq!(room.look(AT + 230), ["exam"]);
    room.booted = AT + 300;
    assert_eq!(room.look(AT + 330), ["exam"]);
    room.booted = AT + 400;
    assert!(room.look(AT + 430).is_empty(), "that does not help");
}

#[test]
fn what_a_person_does_counts() {
    // Taken back: it is not given again.
    let mut room = Room::new("");
    assert_eq!(room.look(AT - 600), ["exam"]);
    room.board.take_back(&BTreeSet::from([MAC.into()])).unwrap();
    assert!(room.look(AT - 590).is_empty() && room.look(AT + 10).is_empty());
    room.booted = AT + 20;
    assert!(room.look(AT + 50).is_empty());
    // Another order by hand, after it or before.
    let mut room = Room::new("");
    assert_eq!(room.look(AT - 600), ["exam"]);
    room.by_hand(AT - 500, AT - 400);
    assert!(room.look(AT - 490).is_empty() && room.look(AT + 10).is_empty());
    let mut room = Room::new("");
    room.by_hand(AT - 3600, AT + 3600);
    let (decision, _) = room.decide(AT);
    assert!(decision.give.is_empty());
    let told = "calendar: 'exam' at 2026-11-27T08:55:00Z is not given to 52:54:00:00:00:01, which has an order by hand: reboot";
    assert_eq!(decision.notes, [told]);
    assert!(room.decide(AT + 2).0.notes.is_empty(), "told once");
    // When that has been done, the calendar counts again.
    room.reports(Stage::Done, AT + 10);
    assert_eq!(room.look(AT + 12), ["exam"]);
}

#[test]
fn an_entry_that_is_changed_or_removed_is_taken_back() {
    let mut room = Room::new("");
    assert_eq!(room.look(AT - 600), ["exam"]);
    room.hosts = hosts("lead = 20\n");
    assert!(room.look(AT - 590).is_empty() && room.board.of(MAC).is_some(), "that changes nothing");
    room.hosts = hosts("message = \"Sorry\"\n");
    assert_eq!(room.look(AT - 580), ["exam"], "another one");
    room.hosts.schedule.clear();
    assert!(room.look(AT - 570).is_empty() && room.board.of(MAC).is_none());
    // What has begun is not taken back.
    let mut room = Room::new("");
    room.look(AT - 600);
    room.reports(Stage::Going, AT);
    room.hosts.schedule.clear();
    assert!(room.look(AT + 1).is_empty() && room.board.of(MAC).is_some());
}

#[test]
fn one_after_the_other() {
    let lesson =
        "[schedule.lesson]\nwho = [\"pc1\"]\ndays = [\"daily\"]\ntimes = [\"09:05\"]\nimage = \"lesson\"\n";
    let mut room = Room::new(lesson);
    // Both are near: the first one first.
    assert_eq!(room.look(AT - 600), ["exam"]);
    assert!(room.look(AT + 10).is_empty(), "it is on its way");
    room.reports(Stage::Done, AT + 20);
    assert_eq!(room.look(AT + 22), ["lesson"]);
    room.reports(Stage::Done, AT + 610);
    assert!(room.look(AT + 620).is_empty(), "back it does not go");
    // One that is late gives way to the next.
    let mut room = Room::new(lesson);
    assert_eq!(room.look(AT - 600), ["exam"]);
    assert_eq!(room.look(AT + 600), ["lesson"]);
    assert!(room.look(AT + 610).is_empty());
    // An earlier one that is added later goes first, and the later one follows.
    let mut room = Room::new("");
    let later = toml::from_str::<Hosts>(lesson).unwrap().schedule;
    let earlier = std::mem::replace(&mut room.hosts.schedule, later);
    assert_eq!(room.look(AT - 600), ["lesson"]);
    room.hosts.schedule.extend(earlier);
    assert_eq!(room.look(AT - 500), ["exam"]);
    room.reports(Stage::Done, AT + 5);
    assert_eq!(room.look(AT + 10), ["lesson"]);
}

#[test]
fn who_has_booted_after_a_reboot_was_due_is_left_alone() {
    let night = |more: &str| {
        let mut room = Room::new("");
        let text = format!(
            "[schedule.night]\nwho = [\"pc1\"]\ndays = [\"daily\"]\ntimes = [\"08:55\"]\naction = \"reboot\"\n{more}"
        );
        room.hosts.schedule = toml::from_str::<Hosts>(&text).unwrap().schedule;
        room
    };
    let mut room = night("");
    assert_eq!(room.look(AT - 60), ["night"]);
    room.reports(Stage::Going, AT);
    room.booted = AT + 20;
    assert!(room.look(AT + 60).is_empty(), "it has rebooted");
    let mut room = night("");
    room.booted = AT + 20;
    assert!(room.look(AT + 60).is_empty(), "somebody has switched it on just now");
}

proptest::proptest! {
    /// However often the daemon looks, and whenever it was off: a machine that obeys is given each time at most once, never
    /// outside of its bounds, and has switched if anybody looked within them.
    #[test]
    fn looks_at_any_time(mut looks in proptest::collection::vec(AT - 4000..AT + 4000, 1..40)) {
        looks.sort_unstable();
        let mut room = Room::new("");
        let mut given = 0;
        for now in &looks {
            let names = room.look(*now);
            given += names.len();
            proptest::prop_assert!(names.is_empty() || (AT - 1800..AT + 900).contains(now), "{}", now);
        }
        let looked = looks.iter().any(|now| (AT - 1800..AT + 900).contains(now));
        proptest::prop_assert_eq!(given, usize::from(looked));
    }
}
