// SPDX-License-Identifier: GPL-3.0-or-later
//! What a key means where. The bottom line and the help are made from the same table.

use super::model::{Model, ServerLink, View};
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

/// Where a key is good.
type Where = Option<View>;

/// A key: where, which, what it does, how it is written, and what is said of it.
pub type Binding = (Where, KeyCode, KeyAction, &'static str, &'static str);

use KeyAction::*;
use View::{Images, Machines, Setup};

/// All of them. Those without a word are not in the bottom line.
pub const BINDINGS: &[Binding] = &[
    (Some(Images), KeyCode::Char('f'), Fetch, "f", "fetch"),
    (Some(Images), KeyCode::Char('u'), FetchUrl, "u", "URL"),
    (Some(Images), KeyCode::Char('a'), Add, "a", "add"),
    (Some(Images), KeyCode::Char('d'), Default, "d", "default"),
    (Some(Images), KeyCode::Char('r'), Rename, "r", "rename"),
    (Some(Images), KeyCode::Char('x'), Remove, "x", "remove"),
    (Some(Images), KeyCode::Delete, Remove, "", ""),
    (Some(Images), KeyCode::Char('t'), Retry, "", ""),
    (Some(Images), KeyCode::Char('T'), Unverified, "", ""),
    (Some(Machines), KeyCode::Char('a'), Assign, "a", "assign image"),
    (Some(Machines), KeyCode::Char('A'), AssignGroup, "", ""),
    (Some(Machines), KeyCode::Char('o'), Once, "", ""),
    (Some(Machines), KeyCode::Char('x'), Unassign, "x", "unassign"),
    (Some(Machines), KeyCode::Char('w'), Wake, "w", "wake"),
    (Some(Machines), KeyCode::Enter, Details, "Enter", "details"),
    (Some(Images), KeyCode::Enter, Details, "", ""),
    (Some(Setup), KeyCode::Char('i'), Interface, "i", "interface"),
    (Some(Setup), KeyCode::Char('m'), Mode, "m", "proxy/authoritative"),
    (Some(Setup), KeyCode::Char('w'), Write, "w", "write"),
    (Some(Setup), KeyCode::Char('r'), Again, "r", "look again"),
    (Some(Images), KeyCode::Char('/'), Filter, "/", "filter"),
    (Some(Machines), KeyCode::Char('/'), Filter, "/", "filter"),
    (None, KeyCode::Char('?'), Help, "?", "help"),
    (None, KeyCode::Char('q'), Quit, "q", "quit"),
    (None, KeyCode::Char('1'), To(Images), "", ""),
    (None, KeyCode::Char('2'), To(Machines), "", ""),
    (None, KeyCode::Char('3'), To(View::Transfers), "", ""),
    (None, KeyCode::Char('4'), To(Setup), "", ""),
    (None, KeyCode::Tab, Next, "", ""),
    (None, KeyCode::Right, Next, "", ""),
    (None, KeyCode::BackTab, Previous, "", ""),
    (None, KeyCode::Left, Previous, "", ""),
    (None, KeyCode::Down, Step(1), "", ""),
    (None, KeyCode::Char('j'), Step(1), "", ""),
    (None, KeyCode::Up, Step(-1), "", ""),
    (None, KeyCode::Char('k'), Step(-1), "", ""),
    (None, KeyCode::PageDown, Page(1), "", ""),
    (None, KeyCode::Char(' '), Page(1), "", ""),
    (None, KeyCode::PageUp, Page(-1), "", ""),
    (None, KeyCode::Home, First, "", ""),
    (None, KeyCode::Char('g'), First, "", ""),
    (None, KeyCode::End, Last, "", ""),
    (None, KeyCode::Char('G'), Last, "", ""),
    (None, KeyCode::Esc, Clear, "", ""),
];

/// The help: keys and what they do, where the table's words are too short.
pub const HELP: &[(&str, &str)] = &[
    ("1 2 3 4, Tab", "Images, Machines, Transfers, Setup"),
    ("arrows, PgUp, Home…", "move (also k j g G, Space)"),
    ("/", "only rows that have what you type; Esc: all"),
    ("Enter", "all about an image or a machine"),
    ("q, ^C", "leave; the server goes on"),
    ("Images", ""),
    ("f", "fetch from the catalogue: image fetch NAME"),
    ("u", "fetch a URL, magnet or .torrent: image fetch URL"),
    ("a", "make one of a file on this server: image add"),
    ("d", "the default: image set NAME --default"),
    ("r", "another name: image set NAME --rename"),
    ("x, Del", "remove it, cancel a fetch: image remove"),
    ("t", "try a fetch again that has failed"),
    ("T", "the same, unverified: image fetch --no-verify"),
    ("Machines", ""),
    ("a", "which image it boots: host set MAC --image NAME"),
    ("A", "which image its group boots: host set group:…"),
    ("o", "which image it boots once: host set MAC --once NAME"),
    ("x", "it boots what its group or the default says"),
    ("w", "switch it on: host wake"),
    ("Setup", ""),
    ("i, m, w", "network, who gives addresses, write: setup"),
    ("r", "look again: doctor"),
];

/// What a key asks for in a view, when nothing lies over it.
pub fn command(view: View, key: KeyEvent) -> Option<KeyAction> {
    let binding = |(place, code, ..): &&Binding| place.is_none_or(|p| p == view) && *code == key.code;
    // Alt and Ctrl with a letter are other keys.
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    BINDINGS.iter().find(binding).map(|b| b.2)
}

/// Whether this is ^C, which always leaves.
pub fn is_interrupt(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'C'))
}

/// The bottom line: what can be done here, now.
pub fn hints(model: &Model) -> Vec<(&'static str, &'static str)> {
    let changes = [Fetch, FetchUrl, Default, Rename, Remove, Assign, Once, AssignGroup, Unassign, Wake];
    let able = |b: &&Binding| model.link == ServerLink::Full || !changes.contains(&b.2);
    let here = BINDINGS.iter().filter(|b| b.0.is_none_or(|v| v == model.view) && !b.3.is_empty());
    here.filter(able).map(|b| (b.3, b.4)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for (n, a) in BINDINGS.iter().enumerate() {
            for b in &BINDINGS[n + 1..] {
                let meet = a.0.is_none() || b.0.is_none() || a.0 == b.0;
                assert!(!(meet && a.1 == b.1), "{:?} is there twice", a.1);
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

    /// At 80 columns all that can be done here is in the bottom line.
    #[test]
    fn the_bottom_line_fits() {
        for view in [Images, Machines, View::Transfers, Setup] {
            let model = Model { view, link: ServerLink::Full, ..Model::default() };
            let width: usize = hints(&model).iter().map(|(k, w)| k.len() + w.len() + 3).sum();
            assert!(width <= 80, "{view:?}: {width}");
        }
        assert!(!hints(&Model::default()).iter().any(|h| h.1 == "remove"), "nobody is there to do it");
    }
}
