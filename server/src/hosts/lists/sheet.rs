// SPDX-License-Identifier: GPL-3.0-or-later
//! A table (RFC 4180), as spreadsheets write it: commas, semicolons or tabs, with the byte order mark or without.

use super::listed::Listed;
use crate::hosts::{
    entry::{HostEntry, Hosts},
    key::EntryKey,
};
use csv::{ReaderBuilder, StringRecord, WriterBuilder};

/// The columns that are written.
const COLUMNS: [&str; 9] = ["who", "name", "group", "image", "once", "menu", "params", "prefix", "subnet"];
/// Other words for the first one.
const WHO: [&str; 4] = ["who", "mac", "hwaddr", "key"];

fn delimiter(head: &str) -> u8 {
    let count = |c: char| head.matches(c).count();
    [';', '\t'].into_iter().find(|c| count(*c) > count(',')).unwrap_or(',') as u8
}

/// Whether a line names columns.
pub fn is_head(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').to_ascii_lowercase();
    let first = line.split([',', ';', '\t']).map(|w| w.trim().trim_matches('"'));
    first.clone().any(|w| WHO.contains(&w)) && first.count() > 1
}

/// Read a table. Cells that are empty say nothing.
pub fn read(text: &str) -> Result<Listed, String> {
    let text = text.trim_start_matches('\u{feff}');
    let head = text.lines().next().unwrap_or_default();
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter(head))
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let names = reader.headers().map_err(|e| sentence(&e))?.clone();
    let names: Vec<String> = names.iter().map(str::to_ascii_lowercase).collect();
    let known = |name: &&String| COLUMNS.contains(&name.as_str()) || WHO.contains(&name.as_str());
    if let Some(odd) = names.iter().find(|n| !known(n)) {
        let odd = bootspec::text::printable(odd, 80);
        return Err(format!("line 1: there is no column '{odd}': use {}", COLUMNS.join(", ")));
    }
    if !names.iter().any(|n| WHO.contains(&n.as_str())) {
        return Err(format!("line 1: there is no column who: use {}", COLUMNS.join(", ")));
    }
    let mut listed = Listed::default();
    for record in reader.records() {
        let record = record.map_err(|e| sentence(&e))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = row(&names, &record).map_err(|why| format!("line {line}: {why}"))?;
        listed.entries.push(row);
    }
    Ok(listed)
}

fn row(names: &[String], record: &StringRecord) -> Result<(EntryKey, HostEntry), String> {
    let (mut key, mut entry) = (None, HostEntry::default());
    let words = |cell: &str| cell.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (name, cell) in names.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        match name.as_str() {
            "name" => entry.name = Some(cell.parse()?),
            "group" => entry.group = Some(cell.parse()?),
            "image" => entry.image = Some(cell.parse()?),
            "once" => entry.once = Some(cell.parse()?),
            "menu" => entry.menu = Some(yes(cell)?),
            "params" => entry.params = words(cell),
            "prefix" => entry.prefix = words(cell),
            "subnet" => entry.subnet = words(cell).iter().map(|w| w.parse()).collect::<Result<_, _>>()?,
            _ => key = Some(cell.parse()?),
        }
    }
    let key = key.ok_or("nobody is named in the column who")?;
    Ok((key, entry))
}

fn yes(cell: &str) -> Result<bool, String> {
    match cell.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err(format!(
            "'{}' is not a valid value for menu: use yes or no",
            bootspec::text::printable(cell, 80)
        )),
    }
}

fn sentence(e: &csv::Error) -> String {
    let line = e.position().map_or(0, csv::Position::line);
    match e.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: it has {len} cells, and the first line has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => format!("line {line}: it is not UTF-8"),
        _ => format!("line {line}: {e}"),
    }
}

/// Everything that was said.
pub fn write(hosts: &Hosts) -> String {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    let text = |w: Option<String>| w.unwrap_or_default();
    let rows = hosts.entries.iter().map(|(key, e)| {
        [
            key.to_string(),
            text(e.name.as_ref().map(ToString::to_string)),
            text(e.group.as_ref().map(ToString::to_string)),
            text(e.image.as_ref().map(ToString::to_string)),
            text(e.once.as_ref().map(ToString::to_string)),
            text(e.menu.map(|m| if m { "yes" } else { "no" }.to_owned())),
            e.params.join(" "),
            e.prefix.join(" "),
            e.subnet.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        ]
    });
    for row in [COLUMNS.map(str::to_owned)].into_iter().chain(rows) {
        writer.write_record(row).expect("a Vec takes everything");
    }
    String::from_utf8(writer.into_inner().expect("a Vec takes everything")).expect("cells are text")
}
