// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::{
    InfoHash,
    trust::{Distrust, KeyId, Keys, Version},
};
use proptest::prelude::*;

const MAC: &str = "52:54:00:00:00:01";
const NOW: u64 = 1_800_000_000;

fn order() -> Order {
    Order {
        id: "0123456789abcdef".into(),
        machine: MAC.into(),
        action: Action::Switch,
        image: Some(OrderedImage { image: "exam@2".parse().unwrap(), infohash: InfoHash([7; 20]) }),
        made: Version(NOW - 60),
        at: Version(NOW + 600),
        expires: Version(NOW + 4200),
        wait_for_users: true,
        message: "The exam begins: save your work".into(),
    }
}

fn sent(order: &Order) -> SentOrder {
    SentOrder { order: order.to_string(), signature: String::new() }
}

fn machine<'a>(keys: Option<&'a Keys>, last: Option<Version>) -> Obeyed<'a> {
    Obeyed { machine: MAC, allows: &[Action::Switch], keys, booted: Version(NOW - 3600), last }
}

#[test]
fn what_it_looks_like() {
    let text = "\
boottorrent order 1
id: 0123456789abcdef
machine: 52:54:00:00:00:01
action: switch
image: exam@2
infohash: 0707070707070707070707070707070707070707
made: 2027-01-15T07:59:00Z
at: 2027-01-15T08:10:00Z
expires: 2027-01-15T09:10:00Z
users: wait
message: The exam begins: save your work
";
    assert_eq!(order().to_string(), text);
    assert_eq!(Order::parse(text), Ok(order()));
    let off = Order { action: Action::Poweroff, image: None, message: String::new(), ..order() };
    assert_eq!(Order::parse(&off.to_string()), Ok(off));
}

#[test]
fn other_ways_to_write_it_are_refused() {
    let good = order().to_string();
    for (from, to, why) in [
        ("order 1", "order 2", "it does not begin with 'boottorrent order 1'"),
        ("id: 0", "id: G", "'G123456789abcdef' is not the id of an order"),
        ("52:54", "5254", "'5254:00:00:00:01' is not the MAC address of a machine"),
        ("switch", "jump", "'jump' is not a valid action: use switch, reboot or poweroff"),
        ("switch", "reboot", "an order to reboot names no image"),
        ("users: wait", "users: ask", "'ask' is neither warn nor wait"),
        (
            "users: wait\n",
            "",
            "where its line 'users' should be, there is 'message: The exam begins: save your work'",
        ),
        ("07:59:00Z", "07:59:00.5Z", "it is not written as BootTorrent writes it"),
        ("work\n", "work\nmore: 1\n", "it is not written as BootTorrent writes it"),
        ("save", "save\x1b[2J", "its message must be one line of at most 400 bytes"),
        ("T09:10", "T08:10", "it must expire within 24 hours after its time"),
        ("2027-01-15T09:10", "2027-01-17T09:10", "it must expire within 24 hours after its time"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_eq!(Order::parse(&bad), Err(why.to_owned()), "{from} -> {to}");
    }
    let early = Order { made: Version(NOW - 8 * 24 * 3600), ..order() };
    assert_eq!(
        Order::parse(&early.to_string()),
        Err("its time is more than seven days after it was made".into())
    );
}

#[test]
fn who_obeys_what() {
    let now = Version(NOW);
    let judged = |of: &Obeyed, order: &Order| of.judge(&sent(order), now).map(drop);
    let plain = machine(None, None);
    assert_eq!(judged(&plain, &order()), Ok(()));
    let other = Order { machine: "52:54:00:00:00:02".into(), ..order() };
    assert_eq!(judged(&plain, &other), Err(Refusal::OtherMachine(other.machine.clone())));
    let off = Order { action: Action::Poweroff, image: None, ..order() };
    assert_eq!(judged(&plain, &off), Err(Refusal::NotAllowed(Action::Poweroff)));
    let old = Order { at: Version(NOW - 3700), made: Version(NOW - 3800), expires: Version(NOW), ..order() };
    assert_eq!(judged(&plain, &old), Err(Refusal::Expired(Version(NOW))));
    let before = Order { made: Version(NOW - 3601), ..order() };
    assert_eq!(judged(&plain, &before), Err(Refusal::BeforeBoot(before.made)));
    let replayed = machine(None, Some(order().made));
    assert_eq!(judged(&replayed, &order()), Err(Refusal::Replayed(order().made)));
    let newer = Order { made: Version(NOW - 59), ..order() };
    assert_eq!(judged(&replayed, &newer), Ok(()));
    let future = Order { made: Version(NOW + 301), ..order() };
    assert_eq!(judged(&plain, &future), Err(Refusal::Future(future.made)));
}

#[test]
fn with_keys_only_what_they_signed_is_obeyed() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let mut keys = Keys::default();
    let id = keys.add(pair.pk.to_box().unwrap().to_string().as_bytes()).unwrap();
    let text = order().to_string();
    let signed = |text: &str, pair: &minisign::KeyPair| {
        minisign::sign(Some(&pair.pk), &pair.sk, text.as_bytes(), None, None).unwrap().to_string()
    };
    let of = machine(Some(&keys), None);
    let judge = |order: &str, signature: String| {
        of.judge(&SentOrder { order: order.into(), signature }, Version(NOW)).map(drop)
    };
    assert_eq!(judge(&text, signed(&text, &pair)), Ok(()));
    assert_eq!(judge(&text, String::new()), Err(Refusal::Distrust(Distrust::Unsigned)));
    let other = text.replace("exam", "evil");
    assert_eq!(judge(&other, signed(&text, &pair)), Err(Refusal::Distrust(Distrust::Forged(id))));
    let stranger = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let theirs = signed(&text, &stranger);
    let their_id = KeyId::of(theirs.as_bytes()).unwrap();
    assert_eq!(judge(&text, theirs), Err(Refusal::Distrust(Distrust::Stranger(their_id))));
    // Signed, and for another machine: the signature does not help.
    let moved = Order { machine: "52:54:00:00:00:02".into(), ..order() }.to_string();
    assert!(matches!(judge(&moved, signed(&moved, &pair)), Err(Refusal::OtherMachine(_))));
    // Every refusal is a sentence.
    assert!(judge(&text, "x".into()).unwrap_err().to_string().contains("is damaged"));
}

#[test]
fn what_a_machine_reports_is_bounded() {
    let mut report = OrderReport::of(&order());
    assert_eq!(report.sentence(), "switch to exam@2: fetching, 0 %");
    (report.stage, report.by) = (Stage::Ready, Some(SwitchBy::SoftReboot));
    assert_eq!(report.sentence(), "switch to exam@2: ready (soft-reboot)");
    report.why = "a\x1b[2J".repeat(500);
    report.percent = 200;
    let mut remote = Remote { allows: vec![Action::Reboot; 5000], order: Some(report) };
    remote.clean();
    let order = remote.order.unwrap();
    assert!(order.why.len() <= 400 && !order.why.contains('\x1b') && order.percent == 100);
    assert_eq!(remote.allows, [Action::Reboot]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,300}", at in 0usize..300, byte: u8) {
        let _ = Order::parse(&text);
        // One byte of a good one: it is refused, or it means something else.
        let mut bytes = order().to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(changed) = String::from_utf8(bytes)
            && let Ok(read) = Order::parse(&changed)
        {
            prop_assert_eq!(read.to_string(), changed);
        }
    }

    #[test]
    fn what_is_written_is_read(made in NOW..NOW + 1000, wait: bool, late in 0u64..EARLIEST, message in "[ -~]{0,400}", n: u64) {
        let at = Version(made + late);
        let order = Order { id: format!("{n:016x}"), made: Version(made), at, expires: Version(at.0 + USUAL_WINDOW),
            wait_for_users: wait, message, ..order() };
        prop_assert_eq!(Order::parse(&order.to_string()), Ok(order));
    }
}
