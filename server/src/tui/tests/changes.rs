// SPDX-License-Identifier: GPL-3.0-or-later
//! What changes machines and images: asked for, said, and taken back.

use super::*;
use crate::{api::types::EntryRow, tui::effect::Done};

const PC: [&str; 3] = ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"];

fn keys(ids: &[&str]) -> Vec<EntryKey> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

/// The only effect: a change, what is said, and what takes it back.
fn change(effects: &[Effect]) -> (Change, String, Change) {
    match effects {
        [Effect::Change(change, said, Some(undo))] => ((**change).clone(), said.clone(), undo.change.clone()),
        other => panic!("one change was expected: {other:?}"),
    }
}

fn hosts(ids: &[&str], set: HostEntry, unset: &[Field]) -> Change {
    Change::Hosts(HostChanges::same(&keys(ids), &HostChange { set, unset: unset.to_vec() }))
}

fn boots(image: &str) -> HostEntry {
    HostEntry { image: Some(image.parse().unwrap()), ..HostEntry::default() }
}

fn entry(m: &mut Model, id: &str, entry: HostEntry) {
    m.now.hosts.push(HostRow { key: id.parse().unwrap(), entry });
}

#[test]
fn machines_are_assigned_and_it_is_taken_back() {
    let mut m = model();
    // Nothing is set for it yet: then nothing is said of it again.
    let (done, said, back) = change(&press(&mut m, "2alab\n"));
    assert_eq!((done, said.as_str()), (hosts(&[PC[2]], boots("lab"), &[]), "pc3 boots 'lab' the next time"));
    assert_eq!(back, Change::Hosts(HostChanges::forget(&keys(&[PC[2]]))));
    // Another image, and a name that stays.
    entry(&mut m, PC[2], HostEntry { name: Some("pc3".parse().unwrap()), ..boots("exam") });
    let (_, _, back) = change(&press(&mut m, "alab\n"));
    assert_eq!(back, hosts(&[PC[2]], boots("exam"), &[Field::Image]));
    let once = HostEntry { once: Some("lab".parse().unwrap()), ..HostEntry::default() };
    let (done, said, _) = change(&press(&mut m, "olab\n"));
    assert_eq!(done, hosts(&[PC[2]], once, &[]));
    assert_eq!(said, "pc3 boots 'lab' the next time, and only then");
    let (done, _, back) = change(&press(&mut m, "x"));
    assert_eq!(done, hosts(&[PC[2]], HostEntry::default(), &[Field::Image, Field::Once]));
    assert_eq!(back, hosts(&[PC[2]], boots("exam"), &[Field::Image, Field::Once]));
}

#[test]
fn entries_are_offered_behind_the_images() {
    let mut m = model();
    let entry = |name: &str, title: &str| EntryRow {
        name: name.parse().unwrap(),
        title: title.into(),
        what: "kernel".into(),
        hidden: false,
    };
    m.now.entries = vec![entry("installer", ""), entry("memtest", "Memory test")];
    press(&mut m, "2a");
    let Some(Dialog::Pick(list)) = &m.dialog else { panic!("{:?}", m.dialog) };
    let shown: Vec<_> = list.items.iter().map(|i| (i.key.as_str(), i.note.as_str())).collect();
    assert_eq!(shown[2..], [("installer", "kernel"), ("memtest", "Memory test (kernel)")]);
    let (done, said, _) = change(&press(&mut m, "mem\n"));
    assert_eq!(
        (done, said.as_str()),
        (hosts(&[PC[2]], boots("memtest"), &[]), "pc3 boots 'memtest' the next time")
    );
}

#[test]
fn the_last_change_is_taken_back_and_made_again() {
    let mut m = model();
    assert_eq!(press(&mut m, "2z"), []);
    assert_eq!(m.said.text, "there is nothing to take back");
    let [Effect::Change(_, said, undo)] = &press(&mut m, "alab\n")[..] else { panic!() };
    update(&mut m, Message::Did(Ok(Done { said: said.clone(), undo: undo.clone() })));
    assert_eq!(m.said.text, "pc3 boots 'lab' the next time (z takes it back)");
    entry(&mut m, PC[2], boots("lab"));
    let (done, said, again) = change(&press(&mut m, "z"));
    assert_eq!(said, "taken back: pc3 boots 'lab' the next time");
    assert_eq!(done, Change::Hosts(HostChanges::forget(&keys(&[PC[2]]))));
    assert_eq!(again, hosts(&[PC[2]], boots("lab"), &[]));
    assert_eq!(press(&mut m, "z"), [], "once");
    // What failed is nothing to take back, and what was done before still is.
    m.undo = Some(Undo { change: done.clone(), of: "this".into() });
    update(&mut m, Message::Did(Err("the server does not run".into())));
    assert_eq!(change(&press(&mut m, "z")).0, done);
}

#[test]
fn marked_machines_change_together() {
    let mut m = model();
    press(&mut m, "2  ");
    assert_eq!(m.machines.key.as_deref(), Some(PC[0]), "marking goes on to the next row");
    let text = screen(&m, 80, 24, RICH);
    assert!(
        text.contains(" *pc3") && text.contains(" *pc2") && text.contains("2 machines are marked"),
        "{text}"
    );
    let (done, said, _) = change(&press(&mut m, "alab\n"));
    assert_eq!(done, hosts(&[PC[1], PC[2]], boots("lab"), &[]));
    assert_eq!(said, "2 machines boot 'lab' the next time");
    assert_eq!(press(&mut m, "w"), [Effect::Wake(PC[1..].iter().map(ToString::to_string).collect())]);
    // One that is gone counts no more; then none is marked, and the cursor counts.
    m.now.machines.remove(1);
    let now = m.now.clone();
    update(&mut m, Message::Polled(ServerLink::Full, Box::new(now)));
    assert_eq!(press(&mut m, "w"), [Effect::Wake(vec![PC[2].into()])]);
    assert_eq!(press(&mut m, "\x1bw"), [Effect::Wake(vec![PC[0].into()])]);
    // All that are shown, and none of them.
    press(&mut m, "/pc1\n*");
    assert_eq!(m.marks.iter().collect::<Vec<_>>(), [PC[0]]);
    press(&mut m, "*");
    assert!(m.marks.is_empty());
}

/// A room, and everybody: it is asked once more.
#[test]
fn what_is_for_many_is_asked() {
    let mut m = model();
    assert_eq!(press(&mut m, "d"), []);
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("Make exam the default?") && text.contains("The default is 'lab' now."), "{text}");
    let (done, said, back) = change(&press(&mut m, "y"));
    let default = ImageChange { default: Some(true), ..ImageChange::default() };
    assert_eq!(done, Change::Image("exam".parse().unwrap(), default));
    assert_eq!(said, "the default image is now 'exam'");
    assert_eq!(back, hosts(&["default"], boots("lab"), &[Field::Image]));
    assert_eq!(press(&mut m, "dn"), []);
    assert_eq!(press(&mut m, ">d"), [], "it is the default already");

    assert_eq!(press(&mut m, "2A"), []);
    assert_eq!(m.said.text, "it is in no group: press e to put it into one");
    m.now.machines[2].group = Some("group:room1".into());
    assert_eq!(press(&mut m, "Alab\n"), []);
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("Let group room1 (1 machine) boot lab?"), "{text}");
    assert_eq!(change(&press(&mut m, "y")).0, hosts(&["group:room1"], boots("lab"), &[]));
}

#[test]
fn names_groups_parameters_and_menus_are_edited() {
    let mut m = model();
    let name = |n: &str| HostEntry { name: Some(n.parse().unwrap()), ..HostEntry::default() };
    entry(&mut m, PC[2], HostEntry { params: vec!["quiet".into()], ..name("old") });
    press(&mut m, "2e");
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("Change what of pc3?") && text.contains("kernel parameters  quiet"), "{text}");
    let (done, said, back) = change(&press(&mut m, "name\n\x08\x08\x08pc-03\n"));
    assert_eq!(done, hosts(&[PC[2]], name("pc-03"), &[Field::Name]));
    assert_eq!((said.as_str(), back), ("pc3 is 'pc-03' now", hosts(&[PC[2]], name("old"), &[Field::Name])));
    let params = |all: &[&str]| HostEntry {
        params: all.iter().map(ToString::to_string).collect(),
        ..HostEntry::default()
    };
    let (done, _, back) = change(&press(&mut m, "eparam\n splash\n"));
    assert_eq!(done, hosts(&[PC[2]], params(&["quiet", "splash"]), &[Field::Params]));
    assert_eq!(back, hosts(&[PC[2]], params(&["quiet"]), &[Field::Params]));
    let (done, _, _) = change(&press(&mut m, "emenu\nyes\n"));
    assert_eq!(done, hosts(&[PC[2]], HostEntry { menu: Some(true), ..HostEntry::default() }, &[Field::Menu]));
    // What cannot be is said while it can be mended.
    assert_eq!(press(&mut m, "ename\n/\n"), []);
    assert!(m.said.bad && m.dialog.is_some(), "{}", m.said.text);
    press(&mut m, "\x1b");

    // A group that there is, one that is new, and none; for two machines there is no name to give.
    entry(&mut m, "group:room1", HostEntry::default());
    let grouped = HostEntry { group: Some("room1".parse().unwrap()), ..HostEntry::default() };
    let (done, said, _) = change(&press(&mut m, "egroup\nroo\n"));
    assert_eq!((done, said.as_str()), (hosts(&[PC[2]], grouped, &[]), "pc3 is in group 'room1' now"));
    press(&mut m, "  e");
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("Change what of 2 machines?") && !text.contains("  name"), "{text}");
    let (done, _, back) = change(&press(&mut m, "group\nroom2\n"));
    let Change::Hosts(done) = done else { panic!() };
    assert_eq!(done.keys().map(ToString::to_string).collect::<Vec<_>>(), ["group:room2", PC[1], PC[2]]);
    let Change::Hosts(back) = back else { panic!() };
    let forgotten: Vec<String> =
        back.changes.iter().filter(|c| c.forget).map(|c| c.key.to_string()).collect();
    assert_eq!(forgotten, [PC[1], "group:room2"], "the third has an entry: it only leaves the group");
    let (done, _, _) = change(&press(&mut m, "egroup\n(none\n"));
    assert_eq!(done, hosts(&[PC[1], PC[2]], HostEntry::default(), &[Field::Group]));
}

#[test]
fn images_are_edited() {
    let mut m = model();
    let exam = || "exam".parse().unwrap();
    let (done, said, back) = change(&press(&mut m, "r\x08\x08\x08\x08new\n"));
    let renamed = |to: &str| ImageChange { name: Some(to.parse().unwrap()), ..ImageChange::default() };
    assert_eq!((done, said.as_str()), (Change::Image(exam(), renamed("new")), "image 'exam' is 'new' now"));
    assert_eq!(back, Change::Image("new".parse().unwrap(), renamed("exam")));
    assert_eq!(press(&mut m, "r\n"), [], "as it is");
    let priority = |n: &str| ImageChange { priority: Some(n.parse().unwrap()), ..ImageChange::default() };
    let (done, _, back) = change(&press(&mut m, "eprio\n\x089\n"));
    assert_eq!((done, back), (Change::Image(exam(), priority("9")), Change::Image(exam(), priority("5"))));
    assert_eq!(press(&mut m, "eprio\n\x080\n"), []);
    assert!(m.said.text.contains("from 1 (least) to 9"), "{}", m.said.text);
    let (done, _, _) = change(&press(&mut m, "\x1bepara\n splash\n"));
    let append = ImageChange { append: Some("quiet splash".into()), ..ImageChange::default() };
    assert_eq!(done, Change::Image(exam(), append));
}

#[test]
fn a_file_is_found_and_added() {
    let mut m = model();
    let look = |path: &str| vec![Effect::Files(PathBuf::from(path))];
    let item = |key: &str| super::super::model::PickItem { key: key.into(), note: String::new() };
    assert_eq!(press(&mut m, "a"), look(""));
    let items = ["../", "images/", "lab.iso"].map(item).to_vec();
    let found = |asked: &str, found| Message::Files(asked.into(), found);
    update(&mut m, found("", Ok(Found::Folder("/srv".into(), items.clone()))));
    let text = screen(&m, 80, 24, RICH);
    assert!(text.contains("Add which file? /srv") && text.contains("> ../"), "{text}");
    assert_eq!(press(&mut m, "lab\n"), look("/srv/lab.iso"));
    // What was asked for before comes after, and counts no more.
    update(&mut m, found("", Ok(Found::Folder("/srv".into(), Vec::new()))));
    update(&mut m, found("/srv/lab.iso", Ok(Found::File("/srv/lab.iso".into()))));
    let added =
        |args: &[&str]| vec![Effect::Run(Errand::Add, args.iter().map(ToString::to_string).collect())];
    assert_eq!(press(&mut m, "\n"), added(&["image", "add", "--", "/srv/lab.iso"]));
    m.running = None;
    // The folder is remembered; a path is typed; a name is given.
    assert_eq!(press(&mut m, "a"), look("/srv"));
    assert_eq!(press(&mut m, "/mnt/-x.tar\n"), look("/mnt/-x.tar"));
    update(&mut m, found("/mnt/-x.tar", Ok(Found::File("/mnt/-x.tar".into()))));
    assert_eq!(press(&mut m, "room\n"), added(&["image", "add", "--name=room", "--", "/mnt/-x.tar"]));
    assert_eq!(press(&mut m, "a\x1b"), look("/srv"));
    update(&mut m, found("/srv", Ok(Found::Folder("/late".into(), items))));
    assert_eq!((m.dialog.is_none(), m.folder.display().to_string().as_str()), (true, "/srv"));
    // The folder itself.
    press(&mut m, "a");
    update(&mut m, found("/srv", Ok(Found::Folder("/srv/root".into(), vec![item("./")]))));
    press(&mut m, "\n");
    assert_eq!(m.dialog, Some(Dialog::Input { ask: Prompt::Add("/srv/root".into()), text: String::new() }));
    press(&mut m, "\x1ba");
    update(&mut m, found("/srv/root", Err("reading /x: Permission denied".into())));
    assert!(m.said.bad && m.dialog.is_none());
}
