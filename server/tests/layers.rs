// SPDX-License-Identifier: GPL-3.0-or-later
//! The house has storeys: a file imports from its own or from those below, and no files import each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// From the ground up.
const STOREYS: [(&str, &str); 9] = [
    (
        "ground",
        "body cage config files firmware interrupt meter net notify owner socket table tls token tool",
    ),
    ("images", "addon catalogue command_line family fetch import keys library sources"),
    ("machines", "attempts clients hosts neighbours operations ticket tracker wake"),
    ("boot files", "grub ipxe"),
    ("what is told", "api watch"),
    ("daemon", "figures refresh seed state tftp"),
    ("http", "http"),
    ("serve", "serve"),
    ("admin", "cli doctor lib ltsp main manual setup status tui"),
];

/// The admin's programs stand beside the daemon: they ask it over its API, like everybody else.
const NOT_FOR_ADMINS: [&str; 2] = ["daemon", "http"];

#[test]
fn a_file_imports_from_its_own_storey_or_below() {
    for (file, imports) in imports() {
        let own = storey(&file);
        for (imported, at) in imports.iter().map(|i| (i, storey(i))) {
            let beside = STOREYS[own].0 == "admin" && NOT_FOR_ADMINS.contains(&STOREYS[at].0);
            assert!(
                at <= own && !beside,
                "{file} ({}) imports {imported} ({})",
                STOREYS[own].0,
                STOREYS[at].0
            );
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let all = imports();
    let imports = |a: &String, b: &String| all[a].contains(b);
    let mut left: BTreeSet<&String> = all.keys().collect();
    // What imports nothing that is left, or is imported by nothing that is left, is in no circle.
    let is_tied = |file: &String, left: &BTreeSet<&String>| {
        left.iter().any(|other| imports(file, other)) && left.iter().any(|other| imports(other, file))
    };
    while let Some(file) = left.iter().copied().find(|file| !is_tied(file, &left)) {
        left.remove(file);
    }
    assert!(left.is_empty(), "they import each other: {left:?}");
}

fn storey(file: &str) -> usize {
    let module = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let has = |(_, modules): &(&str, &str)| modules.split(' ').any(|m| m == module);
    STOREYS.iter().position(has).unwrap_or_else(|| panic!("{file} is on no storey: add it to the table"))
}

/// Every file of src, and the files that it imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut code = BTreeMap::new();
    read(&src, &src, &mut code);
    let files: BTreeMap<Vec<&str>, &String> = code.keys().map(|file| (module(file), file)).collect();
    let of = |(file, code): (&String, &String)| {
        let found = paths(code).into_iter().filter_map(|path| find(&files, &module(file), &path));
        (file.clone(), found.filter(|found| found != file).collect())
    };
    code.iter().map(of).collect()
}

/// All code below `dir`, without its tests and comments.
fn read(src: &Path, dir: &Path, into: &mut BTreeMap<String, String>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            read(src, &path, into);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
            into.insert(name, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// `cli/mod.rs` is `cli`, and lib.rs the root.
fn module(file: &str) -> Vec<&str> {
    let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    match parts.as_slice() {
        ["lib"] => Vec::new(),
        [above @ .., "mod"] => above.to_vec(),
        _ => parts,
    }
}

/// The paths in a code, those of `use` trees written out.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split_inclusive(';') {
        let (before, tree) = match statement.rsplit_once("use ") {
            Some((before, tree)) if before.is_empty() || before.ends_with([' ', '\n']) => (before, tree),
            _ => (statement, ""),
        };
        let words = before.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
        found.extend(words.filter(|w| w.contains("::")).map(str::to_owned));
        expand("", tree.trim_end_matches(';'), &mut found);
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(begin: &str, tree: &str, into: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return into.push(format!("{begin}{}", tree.split(" as ").next().unwrap_or_default().trim()));
    };
    let Some((body, _)) = rest.rsplit_once('}') else { return };
    let (body, mut depth, mut from) = (format!("{body},"), 0, 0);
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !body[from..at].trim().is_empty() {
                    expand(&format!("{begin}{}", head.trim()), &body[from..at], into);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// The file that a path in `module` leads into.
fn find(files: &BTreeMap<Vec<&str>, &String>, module: &[&str], path: &str) -> Option<String> {
    let mut parts = path.split("::").peekable();
    let mut at = module.to_vec();
    match *parts.peek()? {
        "crate" => at.clear(),
        "super" => drop(at.pop()),
        "self" => {}
        child if files.contains_key(&[module, &[child]].concat()) => at.push(child),
        _ => return None,
    }
    parts.next();
    for part in parts {
        match part {
            "super" => drop(at.pop()),
            part => at.push(part),
        }
    }
    // The last words are items, or `self`.
    while !at.is_empty() && !files.contains_key(&at) {
        at.pop();
    }
    files.get(&at).filter(|_| !at.is_empty()).map(|file| file.to_string())
}
