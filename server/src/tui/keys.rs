// SPDX-License-Identifier: GPL-3.0-or-later
//! What a key means where. The bottom line and the help are made from the same table.

use super::model::{Model, ServerLink, VIEWS, View};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What can be asked for with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// To another view.
    To(View),
    /// To the next one.
    Next,
    /// To the one before.
    Previous,
    /// So many rows down, or up.
    Step(isize),
    /// A page down (1) or up (-1).
    Page(isize),
    /// To the first row.
    First,
    /// To the last one.
    Last,
    /// What is there to know about this row?
    Details,
    /// Type what the rows must have.
    Filter,
    /// Away with the filter.
    Clear,
    /// All keys.
    Help,
    /// Leave.
    Quit,
    /// A file becomes an image.
    Add,
    /// Fetch from the catalogue of sources.
    Fetch,
    /// Fetch from a URL.
    FetchUrl,
    /// Mark this row, or no longer.
    Mark,
    /// Mark all rows that are shown; if they are, none.
    MarkAll,
    /// Sort by something else.
    Sort,
    /// The last row first, or the first again.
    Reverse,
    /// Take back the last change.
    Undo,
    /// Change something of machines.
    EditMachine,
    /// Change something of this image.
    EditImage,
    /// Let machines boot this image when nobody says otherwise.
    Default,
    /// Give this image another name.
    Rename,
    /// Remove this image, or cancel this fetch.
    Remove,
    /// Fetch again what has failed.
    Retry,
    /// The same, although nothing says that it is genuine.
    Unverified,
    /// Say which image this machine boots.
    Assign,
    /// Say which image this machine boots the next time, and only then.
    Once,
    /// Say which image its group boots.
    AssignGroup,
    /// It boots again what its group or the default says.
    Unassign,
    /// Switch this machine on.
    Wake,
    /// Choose the network to serve.
    Interface,
    /// Who gives the addresses?
    Mode,
    /// Write what is shown.
    Write,
    /// Look again.
    Again,
}

/// A key: where it is good (everywhere if not given), what it does, and what is said of it.
pub struct Binding {
    place: Option<View>,
    code: KeyCode,
    action: KeyAction,
    /// In the bottom line; empty: it is not there.
    hint: &'static str,
    /// In the help; empty: another key does the same, and has it.
    help: &'static str,
}

use KeyAction::*;
use View::{Images, Machines, Setup};

/// All of them. Those without a word are not in the bottom line.
pub const BINDINGS: &[Binding] = &[
    bind(Some(Images), KeyCode::Char('f'), Fetch, "fetch", "fetch from the catalogue: image fetch NAME"),
    bind(
        Some(Images),
        KeyCode::Char('u'),
        FetchUrl,
        "URL",
        "fetch a URL, magnet or .torrent: image fetch URL",
    ),
    bind(Some(Images), KeyCode::Char('a'), Add, "add", "make one of a file on this server: image add"),
    bind(Some(Images), KeyCode::Char('d'), Default, "default", "the default: image set NAME --default"),
    bind(Some(Images), KeyCode::Char('e'), EditImage, "edit", "name, priority, kernel parameters: image set"),
    bind(Some(Images), KeyCode::Char('r'), Rename, "", "another name: image set NAME --rename"),
    bind(Some(Images), KeyCode::Char('x'), Remove, "remove", "remove it, cancel a fetch: image remove"),
    bind(Some(Images), KeyCode::Delete, Remove, "", ""),
    bind(Some(Images), KeyCode::Char('t'), Retry, "", "try a fetch again that has failed"),
    bind(Some(Images), KeyCode::Char('T'), Unverified, "", "the same, unverified: image fetch --no-verify"),
    bind(
        Some(Machines),
        KeyCode::Char('a'),
        Assign,
        "assign",
        "which image it boots: host set MAC --image NAME",
    ),
    bind(Some(Machines), KeyCode::Char('o'), Once, "", "which image it boots once: host set MAC --once NAME"),
    bind(
        Some(Machines),
        KeyCode::Char('A'),
        AssignGroup,
        "",
        "which image its group boots: host set group:…",
    ),
    bind(Some(Machines), KeyCode::Char('x'), Unassign, "", "it boots what its group or the default says"),
    bind(
        Some(Machines),
        KeyCode::Char('e'),
        EditMachine,
        "edit",
        "name, group, kernel parameters, menu: host set",
    ),
    bind(Some(Machines), KeyCode::Char('w'), Wake, "wake", "switch it on: host wake"),
    bind(
        Some(Machines),
        KeyCode::Char(' '),
        Mark,
        "mark",
        "mark it: what is done counts for all that are marked",
    ),
    bind(Some(Machines), KeyCode::Char('*'), MarkAll, "", "mark all that are shown, or none"),
    bind(Some(Machines), KeyCode::Enter, Details, "details", "all about this machine"),
    bind(Some(Images), KeyCode::Enter, Details, "", "all about this image"),
    bind(Some(Images), KeyCode::Char('s'), Sort, "", "sort: by name, size, machines, bytes sent"),
    bind(Some(Machines), KeyCode::Char('s'), Sort, "", "sort: by need, name, image, group, progress, rate"),
    bind(Some(Images), KeyCode::Char('S'), Reverse, "", "the last row first"),
    bind(Some(Machines), KeyCode::Char('S'), Reverse, "", "the last row first"),
    bind(Some(Images), KeyCode::Char('z'), Undo, "", "take back the last change"),
    bind(Some(Machines), KeyCode::Char('z'), Undo, "", "take back the last change"),
    bind(Some(Setup), KeyCode::Char('i'), Interface, "interface", "the network to serve: setup --interface"),
    bind(Some(Setup), KeyCode::Char('m'), Mode, "proxy/authoritative", "who gives addresses: setup --mode"),
    bind(Some(Setup), KeyCode::Char('w'), Write, "write", "write it: setup --write"),
    bind(Some(Setup), KeyCode::Char('r'), Again, "look again", "look again: doctor"),
    bind(Some(Images), KeyCode::Char('/'), Filter, "filter", "only rows that have what you type"),
    bind(Some(Machines), KeyCode::Char('/'), Filter, "filter", "only rows that have what you type"),
    bind(None, KeyCode::Char('?'), Help, "help", "this help"),
    bind(None, KeyCode::Char('q'), Quit, "quit", "leave (also ^C); the server goes on"),
    bind(None, KeyCode::Char('1'), To(Images), "", "images"),
    bind(None, KeyCode::Char('2'), To(Machines), "", "machines"),
    bind(None, KeyCode::Char('3'), To(View::Transfers), "", "transfers"),
    bind(None, KeyCode::Char('4'), To(Setup), "", "setup"),
    bind(None, KeyCode::Tab, Next, "", "the next view"),
    bind(None, KeyCode::Right, Next, "", ""),
    bind(None, KeyCode::BackTab, Previous, "", "the view before"),
    bind(None, KeyCode::Left, Previous, "", ""),
    bind(None, KeyCode::Down, Step(1), "", "down"),
    bind(None, KeyCode::Char('j'), Step(1), "", ""),
    bind(None, KeyCode::Up, Step(-1), "", "up"),
    bind(None, KeyCode::Char('k'), Step(-1), "", ""),
    bind(None, KeyCode::PageDown, Page(1), "", "a page down"),
    bind(None, KeyCode::PageUp, Page(-1), "", "a page up"),
    bind(None, KeyCode::Home, First, "", "the first row"),
    bind(None, KeyCode::Char('g'), First, "", ""),
    bind(None, KeyCode::End, Last, "", "the last row"),
    bind(None, KeyCode::Char('G'), Last, "", ""),
    bind(None, KeyCode::Esc, Clear, "", "all rows again; then no marks"),
];

const fn bind(
    place: Option<View>,
    code: KeyCode,
    action: KeyAction,
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding { place, code, action, hint, help }
}

/// How a key is written.
fn label(code: KeyCode) -> String {
    match code {
        KeyCode::Char(' ') => "Space".into(),
        KeyCode::Char(c) => c.to_string(),
        KeyCode::Delete => "Del".into(),
        KeyCode::BackTab => "Shift-Tab".into(),
        KeyCode::PageDown => "PgDn".into(),
        KeyCode::PageUp => "PgUp".into(),
        code => format!("{code:?}"),
    }
}

/// The help: under the name of each view the keys that are good there, those that do the same in one line.
pub fn help() -> Vec<String> {
    let mut lines = Vec::new();
    let places = [None].into_iter().chain(VIEWS.iter().map(|(view, name)| Some((*view, *name))));
    for place in places {
        let view = place.map(|(view, _)| view);
        let here = || BINDINGS.iter().filter(move |b| b.place == view);
        lines.extend(place.filter(|_| here().next().is_some()).map(|(_, name)| format!("{name}:")));
        for binding in here().filter(|b| !b.help.is_empty()) {
            let keys: Vec<String> =
                here().filter(|b| b.action == binding.action).map(|b| label(b.code)).collect();
            lines.push(format!("  {:<16} {}", keys.join(" "), binding.help));
        }
    }
    lines.push("The mouse:".into());
    lines.push(format!("  {:<16} choose; again: details, or take it", "click"));
    lines.push(format!("  {:<16} mark this machine", "right click"));
    lines.push(format!("  {:<16} select text, as the terminal does without us", "Shift and drag"));
    lines
}

/// What a key asks for in a view, when nothing lies over it.
pub fn command(view: View, key: KeyEvent) -> Option<KeyAction> {
    let binding = |b: &&Binding| b.place.is_none_or(|p| p == view) && b.code == key.code;
    // Alt and Ctrl with a letter are other keys.
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    BINDINGS.iter().find(binding).map(|b| b.action)
}

/// Whether this is ^C, which always leaves.
pub fn is_interrupt(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'C'))
}

/// A key in the bottom line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The key.
    pub code: KeyCode,
    /// How it is written.
    pub label: String,
    /// What it does.
    pub word: &'static str,
}

/// The bottom line: what can be done here, now.
pub fn hints(model: &Model) -> Vec<Hint> {
    let changes = [Fetch, FetchUrl, Default, Remove, EditImage, EditMachine, Assign, Wake];
    let able = |b: &&Binding| model.link == ServerLink::Full || !changes.contains(&b.action);
    let here = BINDINGS.iter().filter(|b| b.place.is_none_or(|v| v == model.view) && !b.hint.is_empty());
    here.filter(able).map(|b| Hint { code: b.code, label: label(b.code), word: b.hint }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for (n, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[n + 1..] {
                let meet = a.place.is_none() || b.place.is_none() || a.place == b.place;
                assert!(!(meet && a.code == b.code), "{:?} is there twice", a.code);
            }
        }
    }

    #[test]
    fn keys_depend_on_the_view() {
        let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        for (view, letter, want) in [
            (Images, 'a', Some(Add)),
            (Machines, 'a', Some(Assign)),
            (View::Transfers, 'a', None),
            (Setup, 'w', Some(Write)),
            (Machines, 'w', Some(Wake)),
            (Images, 'q', Some(Quit)),
            (View::Transfers, '/', None),
        ] {
            assert_eq!(command(view, key(letter)), want, "{letter} in {view:?}");
        }
        assert_eq!(command(Images, KeyEvent::new(KeyCode::Char('a'), KeyModifiers::CONTROL)), None);
    }

    /// Every key is in the help, and every line of it fits.
    #[test]
    fn the_help_is_whole() {
        let lines = help();
        let first = |b: &Binding| {
            let same = BINDINGS.iter().find(|o| o.place == b.place && o.action == b.action);
            same.is_some_and(|o| !o.help.is_empty())
        };
        assert!(BINDINGS.iter().all(first));
        assert!(lines.contains(&"Images:".into()) && lines.iter().any(|l| l.starts_with("  x Del ")));
        assert!(lines.iter().all(|l| l.chars().count() <= 74), "{lines:#?}");
    }

    /// At 80 columns all that can be done here is in the bottom line.
    #[test]
    fn the_bottom_line_fits() {
        for view in [Images, Machines, View::Transfers, Setup] {
            let model = Model { view, link: ServerLink::Full, ..Model::default() };
            let width: usize = hints(&model).iter().map(|h| h.label.len() + h.word.len() + 3).sum();
            assert!(width <= 80, "{view:?}: {width}");
        }
        assert!(!hints(&Model::default()).iter().any(|h| h.word == "remove"), "nobody is there to do it");
    }
}
