// SPDX-License-Identifier: GPL-3.0-or-later
//! Lists: sorted, clicked on, and with details beside them.

use super::*;
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

fn click(m: &mut Model, button: MouseButton, column: u16, row: u16) -> Vec<Effect> {
    let kind = MouseEventKind::Down(button);
    update(m, Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
}

/// Where a text stands on the screen.
fn find(m: &Model, text: &str) -> (u16, u16) {
    let all = screen(m, m.width, m.height, RICH);
    let (row, line) = all.lines().enumerate().find(|(_, l)| l.contains(text)).expect(text);
    (line[..line.find(text).unwrap()].chars().count() as u16, row as u16)
}

fn order(m: &Model) -> Vec<String> {
    super::super::rows::machines(m).iter().map(|c| crate::clients::name(c)).collect()
}

#[test]
fn machines_are_sorted() {
    let mut m = model();
    m.now.machines[0].group = Some("b".into());
    m.now.machines[1].group = Some("a".into());
    m.now.machines[1].heartbeat.progress.down_rate = 99_000_000;
    m.now.machines[2].heartbeat.image = Some("exam".into());
    press(&mut m, "2");
    assert_eq!(order(&m), ["pc3", "pc2", "pc1"]);
    for (by, want) in [
        ("name", ["pc1", "pc2", "pc3"]),
        ("image", ["pc3", "pc2", "pc1"]),
        ("group", ["pc2", "pc1", "pc3"]),
        ("progress", ["pc3", "pc2", "pc1"]),
        ("rate", ["pc2", "pc3", "pc1"]),
    ] {
        press(&mut m, "s");
        assert_eq!(order(&m), want, "{by}");
        let text = screen(&m, 80, 24, RICH);
        assert!(text.contains(&format!("sorted by {by}")), "{text}");
    }
    press(&mut m, "S");
    assert_eq!(order(&m), ["pc3", "pc1", "pc2"], "reversed; among equals the one that failed is still first");
    press(&mut m, "s");
    assert_eq!(order(&m), ["pc3", "pc2", "pc1"], "as at first");
}

#[test]
fn images_are_sorted_and_fetches_stay_below() {
    let mut m = model();
    m.now.images[0].manifest.size = 1;
    let names = |m: &Model| {
        super::super::rows::images(m).iter().map(super::super::line::Line::key).collect::<Vec<_>>()
    };
    assert_eq!(names(&m), ["exam", "lab", "fetch:3"]);
    press(&mut m, "s");
    assert_eq!(names(&m), ["lab", "exam", "fetch:3"]);
    press(&mut m, "S");
    assert_eq!(names(&m), ["exam", "lab", "fetch:3"]);
}

#[test]
fn what_is_clicked_is_what_is_shown_there() {
    let mut m = model();
    let left = MouseButton::Left;
    let (column, row) = find(&m, "2 Machines");
    click(&mut m, left, column, row);
    assert_eq!(m.view, View::Machines);
    let (column, row) = find(&m, "pc1 ");
    assert_eq!(layout::hit(&m, column, row), Some(Hit::Row(2)));
    assert_eq!(click(&mut m, left, column, row), []);
    assert_eq!(m.machines.key.as_deref(), Some("52:54:00:00:00:01"));
    let effects = click(&mut m, left, column, row);
    assert!(matches!(&effects[..], [Effect::Log(_)]) && m.dialog.is_some(), "a second click shows details");
    press(&mut m, "\x1b");
    let (column, row) = find(&m, "pc2 ");
    click(&mut m, MouseButton::Right, column, row);
    assert_eq!(m.marks.iter().collect::<Vec<_>>(), ["52:54:00:00:00:02"]);
    assert!(m.dialog.is_none());
    // A key of the bottom line, and a row of what opens then.
    let (column, row) = find(&m, "a assign");
    click(&mut m, left, column, row);
    let (column, row) = find(&m, "  lab ");
    assert_eq!(click(&mut m, left, column + 2, row), []);
    let effects = click(&mut m, left, column + 2, row);
    assert!(matches!(&effects[..], [Effect::Change(..)]), "{effects:?}");
    // Nothing is there.
    let before = m.clone();
    assert_eq!(click(&mut m, left, 79, 15), []);
    assert_eq!(m, before);
}

#[test]
fn a_wide_screen_has_details_beside_the_list() {
    let mut m = model();
    update(&mut m, Message::Size(200, 50));
    press(&mut m, "2");
    assert_eq!(press(&mut m, ">"), [Effect::Log("52:54:00:00:00:02".into())]);
    update(&mut m, Message::Log("52:54:00:00:00:02".into(), vec!["0.10 network: eth0".into()]));
    let text = screen(&m, 200, 50, RICH);
    for want in ["┌ pc2 ─", "phase        download", "0.10 network: eth0", "LAST ERROR", "FROM MACHINES"]
    {
        assert!(text.contains(want), "{want}\n{text}");
    }
    assert!(text.contains("3 machines: 1 booted, 1 under way, 1 failed"), "{text}");
    // Of another machine nothing is shown that this one said.
    press(&mut m, "<");
    assert!(!screen(&m, 200, 50, RICH).contains("0.10 network: eth0"));
    press(&mut m, "1");
    let text = screen(&m, 200, 50, RICH);
    assert!(text.contains("┌ Image ─") && text.contains("infohash"), "{text}");
    update(&mut m, Message::Size(80, 24));
    assert!(!screen(&m, 80, 24, RICH).contains("infohash"));
}

#[test]
fn curves_have_a_scale() {
    let mut m = model();
    press(&mut m, "3");
    let text = screen(&m, 80, 24, RICH);
    for want in
        ["machines receive: 5.0 MB/s now, 5.0 MB/s at most", "5.0 MB/s ┤", "0 ┤", "1 min 08 s ago", "now"]
    {
        assert!(text.contains(want), "{want}\n{text}");
    }
}
