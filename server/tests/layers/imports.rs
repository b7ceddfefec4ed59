// SPDX-License-Identifier: GPL-3.0-or-later
//! Which files of a crate import which, read from their text. An item that a file only passes on (`pub use`) is imported
//! from the file that has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The files of a folder, and for each the files that it imports.
pub type Imports = BTreeMap<String, BTreeSet<String>>;

/// A module by its names from the root on, and where it is.
type Modules = BTreeMap<Vec<String>, Module>;

struct Module {
    file: String,
    /// The paths in its code.
    paths: Vec<String>,
    /// What it passes on: names, and their paths.
    exports: BTreeMap<String, String>,
}

/// Read the files of a program or library: of `folder`, which has its lib.rs or main.rs. Programs in its folder `bin` are
/// others.
pub fn imports(folder: &str) -> Imports {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut code = BTreeMap::new();
    read(&src, &src, &mut code);
    // Beside a library, main.rs is a user of it.
    let root = if code.contains_key("lib.rs") { "lib" } else { "main" };
    let modules: Modules =
        code.into_iter().map(|(file, text)| (names(&file, root), parse(file, &text))).collect();
    assert!(!modules.is_empty(), "{folder} has no code");
    let of = |(at, module): (&Vec<String>, &Module)| {
        let found = module.paths.iter().filter_map(|path| find(&modules, at, path));
        (module.file.clone(), found.filter(|file| *file != module.file).collect())
    };
    modules.iter().map(of).collect()
}

/// All code below `dir`, without its tests and comments.
fn read(src: &Path, dir: &Path, into: &mut BTreeMap<String, String>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "bin" {
                read(src, &path, into);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
            into.insert(name, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// `cli/mod.rs` is `cli`, and `root` is that of all.
fn names(file: &str, root: &str) -> Vec<String> {
    let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    let parts = match parts.as_slice() {
        [name] if *name == root => &[],
        [above @ .., "mod"] => above,
        all => all,
    };
    parts.iter().map(|part| part.to_string()).collect()
}

/// The paths in a code, those of `use` trees written out.
fn parse(file: String, code: &str) -> Module {
    let (mut paths, mut exports) = (Vec::new(), BTreeMap::new());
    for statement in code.split_inclusive(';') {
        let (before, tree) = match statement.rsplit_once("use ") {
            Some((before, tree)) if before.is_empty() || before.ends_with([' ', '\n']) => (before, tree),
            _ => (statement, ""),
        };
        let words = before.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
        paths.extend(words.filter(|w| w.contains("::")).map(str::to_owned));
        let mut used = Vec::new();
        expand("", tree.trim_end_matches(';'), &mut used);
        let passed_on = before.trim_end().ends_with("pub") || before.trim_end().ends_with("pub(crate)");
        for path in used {
            let (path, name) = path.split_once(" as ").unwrap_or((&path, path.rsplit("::").next().unwrap()));
            if passed_on {
                exports.insert(name.to_owned(), path.to_owned());
            }
            paths.push(path.to_owned());
        }
    }
    Module { file, paths, exports }
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(begin: &str, tree: &str, into: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        return into.push(format!("{begin}{}", tree.trim()));
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

/// The file that a path in the module `at` leads into.
fn find(modules: &Modules, at: &[String], path: &str) -> Option<String> {
    let mut parts = path.split("::").peekable();
    let mut to = at.to_vec();
    match *parts.peek()? {
        "crate" => to.clear(),
        "super" => drop(to.pop()),
        "self" => {}
        child => {
            to.push(child.to_owned());
            if !modules.contains_key(&to) {
                return None;
            }
        }
    }
    parts.next();
    for part in parts {
        match part {
            "super" => drop(to.pop()),
            part => to.push(part.to_owned()),
        }
    }
    // The last words are items, or `self`.
    let mut item = None;
    while !to.is_empty() && !modules.contains_key(&to) {
        item = to.pop();
    }
    let module = modules.get(&to)?;
    match item.and_then(|name| module.exports.get(&name)) {
        Some(path) => find(modules, &to, path).or_else(|| Some(module.file.clone())),
        None => Some(module.file.clone()),
    }
}
