// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::{clients::Client, hosts::Hosts};
use bootspec::{
    Heartbeat, ImageRef, InfoHash, Phase,
    order::{Action, OrderReport, OrderedImage, Stage, SwitchBy},
    trust::Version,
};
use chrono::Local;
use std::collections::BTreeSet;

const MAC: &str = "52:54:00:00:00:01";

fn hosts() -> Hosts {
    toml::from_str(
        "[\"group:lab\"]\n[\"52:54:00:00:00:01\"]\nname=\"pc1\"\ngroup=\"lab\"\n[\"52:54:00:00:00:02\"]\nname=\"pc2\"\ngroup=\"lab\"\n",
    )
    .unwrap()
}

fn found(image: &ImageRef) -> Option<OrderedImage> {
    (image.name.as_str() == "exam")
        .then(|| OrderedImage { image: image.clone(), infohash: InfoHash([7; 20]) })
}

fn make(request: &OrderRequest) -> Result<Vec<bootspec::order::Order>, String> {
    Orders { hosts: &hosts(), clients: &[], image: &found, now: Local::now() }.make(request)
}

fn switch(who: &str) -> OrderRequest {
    OrderRequest {
        who: vec![who.into()],
        action: Some(Action::Switch),
        image: Some("exam".parse().unwrap()),
        ..OrderRequest::default()
    }
}

fn reboot(who: &str) -> OrderRequest {
    OrderRequest { who: vec![who.into()], action: Some(Action::Reboot), ..OrderRequest::default() }
}

fn placed(who: &str) -> Placed {
    let order = make(&switch(who)).unwrap().remove(0);
    Placed { order, signature: String::new(), report: None }
}

fn report(placed: &Placed, stage: Stage, by: SwitchBy) -> OrderReport {
    OrderReport { stage, by: Some(by), ..OrderReport::of(&placed.order) }
}

#[test]
fn one_order_for_each_machine() {
    let orders = make(&OrderRequest { at: "23:59".into(), within: Some(10), ..switch("group:lab") }).unwrap();
    let machines: Vec<&str> = orders.iter().map(|o| o.machine.as_str()).collect();
    assert_eq!(machines, [MAC, "52:54:00:00:00:02"]);
    assert!(orders[0].id != orders[1].id && orders[0].expires.0 == orders[0].at.0 + 600, "{orders:?}");
    assert_eq!(make(&switch("pc[1-2]")).unwrap().len(), 2);
    // Everything that is made can be read.
    for order in orders {
        assert_eq!(bootspec::order::Order::parse(&order.to_string()), Ok(order));
    }
}

#[test]
fn bad_requests_are_one_sentence() {
    for (request, why) in [
        (
            OrderRequest { action: None, ..switch("pc1") },
            "nothing is ordered: give the action switch, reboot or poweroff",
        ),
        (OrderRequest { who: vec![], ..switch("") }, "no machine is named"),
        (switch("pc9"), "no machine and no group is called 'pc9'"),
        (OrderRequest { image: None, ..switch("pc1") }, "name the image to switch to"),
        (
            OrderRequest { image: Some("memtest".parse().unwrap()), ..switch("pc1") },
            "there is no image 'memtest' to switch to",
        ),
        (
            OrderRequest { action: Some(Action::Reboot), ..switch("pc1") },
            "an order to reboot names no image, and 'exam' was given",
        ),
        (OrderRequest { at: "soon".into(), ..switch("pc1") }, "'soon' is not a valid time"),
        (
            OrderRequest { at: "2999-01-01T00:00:00Z".into(), ..switch("pc1") },
            "its time is more than seven days after it was made",
        ),
        (OrderRequest { within: Some(0), ..switch("pc1") }, "0 minutes are not allowed: use 1 to 1440"),
        (
            OrderRequest { message: "a\nb".into(), ..switch("pc1") },
            "the message must be one line of at most 400 bytes",
        ),
    ] {
        let told = make(&request).unwrap_err();
        assert!(told.starts_with(why), "{told}");
    }
}

#[test]
fn an_order_is_carried_until_it_is_done() {
    let now = Version::of(std::time::SystemTime::now());
    let (mut board, first) = (Board::default(), placed("pc1"));
    board.place(vec![first.clone()]);
    let sent = board.hear(MAC, None, None, now).order.unwrap();
    assert_eq!(sent.order, first.order.to_string());
    assert_eq!(board.hear("52:54:00:00:00:02", None, None, now).order, None);
    let row = |board: &mut Board| board.list(now)[0].row(None, now);
    assert_eq!(
        (row(&mut board).stage, row(&mut board).state.as_str()),
        (None, "the machine has not reported yet")
    );
    let ready = report(&first, Stage::Ready, SwitchBy::SoftReboot);
    assert!(board.hear(MAC, Some(&ready), None, now).order.is_some());
    assert_eq!(row(&mut board).state, "ready (soft-reboot)");
    // Of another order: it says nothing of this one.
    let other = OrderReport { id: "f".repeat(16), stage: Stage::Refused, ..ready.clone() };
    assert!(board.hear(MAC, Some(&other), None, now).order.is_some());
    assert_eq!(row(&mut board).stage, Some(Stage::Ready));
    assert!(
        board.hear(MAC, Some(&report(&first, Stage::Done, SwitchBy::SoftReboot)), None, now).order.is_none()
    );
    // A reboot: who comes back must not find it again, and who asks whether to go does.
    let second = placed("pc1");
    board.place(vec![second.clone()]);
    let going = report(&second, Stage::Going, SwitchBy::Reboot);
    assert!(board.hear(MAC, Some(&going), None, now).order.is_some());
    assert!(board.hear(MAC, Some(&going), None, now).order.is_some(), "its first answer was lost");
    assert!(board.hear(MAC, None, None, now).order.is_none());
    let heartbeat =
        Heartbeat { infohash: Some(InfoHash([7; 20])), phase: Phase::Seed, ..Heartbeat::default() };
    let client = Client { heartbeat, ..Client::default() };
    assert_eq!(board.list(now)[0].row(Some(&client), now).stage, Some(Stage::Done));
    // With another image it has not switched; with this one it has, and that stays so.
    let kept = |board: &mut Board| board.of(MAC).and_then(|p| p.report.clone()).map(|r| r.stage);
    board.hear(MAC, None, Some(InfoHash([8; 20])), now);
    assert_eq!(kept(&mut board), Some(Stage::Going));
    board.hear(MAC, None, Some(InfoHash([7; 20])), now);
    assert_eq!(kept(&mut board), Some(Stage::Done));
    // A machine that is here again has rebooted.
    let third =
        Placed { order: make(&reboot("pc1")).unwrap().remove(0), signature: String::new(), report: None };
    board.place(vec![third.clone()]);
    board.hear(MAC, Some(&report(&third, Stage::Going, SwitchBy::Reboot)), Some(InfoHash([7; 20])), now);
    assert_eq!(kept(&mut board), Some(Stage::Going));
    board.hear(MAC, None, Some(InfoHash([7; 20])), now);
    assert_eq!(kept(&mut board), Some(Stage::Done));
}

#[test]
fn an_order_is_taken_back_until_its_minute() {
    let now = Version::of(std::time::SystemTime::now());
    let (mut board, machines) = (Board::default(), BTreeSet::from([MAC.to_owned()]));
    let none = "these machines have no order that could be taken back";
    assert_eq!(board.take_back(&machines), Err(none.into()));
    let first = placed("pc1");
    board.place(vec![first.clone()]);
    assert_eq!(board.take_back(&machines), Ok(TakenBack { taken: vec![first], late: Vec::new() }));
    assert!(board.hear(MAC, None, None, now).order.is_none() && board.list(now).is_empty());
    let second = placed("pc1");
    board.place(vec![second.clone()]);
    board.hear(MAC, Some(&report(&second, Stage::Going, SwitchBy::SoftReboot)), None, now);
    let late = "it is too late: the order is being carried out, or it has been";
    assert_eq!(board.take_back(&machines), Err(late.into()));
    // Of a room, those who are going already are told apart.
    let other = Placed {
        order: bootspec::order::Order { machine: "52:54:00:00:00:99".into(), ..second.order.clone() },
        ..second
    };
    board.place(vec![other.clone()]);
    let both = BTreeSet::from([MAC.to_owned(), other.order.machine.clone()]);
    let came = board.take_back(&both).unwrap();
    assert_eq!((came.taken, came.late.len()), (vec![other], 1));
}

#[test]
fn one_that_has_expired_is_carried_no_more() {
    let now = Version::of(std::time::SystemTime::now());
    let (mut board, first) = (Board::default(), placed("pc1"));
    board.place(vec![first.clone()]);
    let ready = report(&first, Stage::Fetching, SwitchBy::SoftReboot);
    board.hear(MAC, Some(&ready), None, now);
    let later = first.order.expires;
    assert!(board.hear(MAC, None, None, later).order.is_none());
    assert_eq!(
        board.list(later)[0].row(None, later).state,
        "not done in time: fetching, 0 % (soft-reboot)".replace(" (soft-reboot)", "")
    );
    assert!(board.list(Version(later.0 + 3600)).is_empty());
}

#[test]
fn a_server_that_starts_again_has_forgotten_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = OrdersFile::at(dir.path());
    assert!(file.load().unwrap().to_save().is_none());
    let (mut board, first) = (Board::default(), placed("pc1"));
    board.place(vec![Placed { signature: "four lines".into(), ..first.clone() }]);
    file.save(&board.to_save().unwrap()).unwrap();
    assert!(board.to_save().is_none(), "nothing has changed");
    let again = file.load().unwrap();
    assert_eq!(again.of(MAC).unwrap().signature, "four lines");
    assert_eq!(again.of(MAC).unwrap().order, first.order);
    std::fs::write(dir.path().join("orders.json"), "[{").unwrap();
    assert!(file.load().unwrap_err().to_string().ends_with("(it can be deleted)"));
}
