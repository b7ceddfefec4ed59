// SPDX-License-Identifier: GPL-3.0-or-later
//! The documentation as HTML, for the package: `cargo run -p bootspec --example html OUT`. A link that would lead
//! nowhere where it is installed fails the build.

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
};

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>BootTorrent: TITLE</title><style>\
:root { color-scheme: light dark } body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem; \
font: 1rem/1.5 system-ui, sans-serif } table { border-collapse: collapse; display: block; overflow-x: auto } \
th, td { border: 1px solid #8888; padding: .2rem .5rem; text-align: left; vertical-align: top } \
pre { overflow-x: auto; border: 1px solid #8888; padding: .5rem } img { max-width: 100% }</style></head>\n\
<body><nav><a href=\"README.html\">BootTorrent</a></nav>\n";

/// A page: its HTML, the anchors in it, where it links to, and what it shows.
#[derive(Default)]
struct Page {
    html: String,
    anchors: BTreeSet<String>,
    links: Vec<String>,
    pictures: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::args().nth(1).ok_or("give the folder that the pages go to")?);
    fs::create_dir_all(&out)?;
    let mut sources = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir("docs")? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "md") {
            sources.push(path);
        }
    }
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names: BTreeSet<String> = sources.iter().map(|p| name(p)).collect();
    let mut pages = BTreeMap::new();
    for source in &sources {
        pages.insert(name(source), page(&fs::read_to_string(source)?, &names));
    }
    for (name, page) in &pages {
        for link in &page.links {
            let (to, anchor) = link.split_once(".html").unwrap_or((name, link));
            let anchor = anchor.trim_start_matches('#');
            if !anchor.is_empty() && !pages[to].anchors.contains(anchor) {
                return Err(
                    format!("{name}.md links to {to}.md#{anchor}, and there is no such heading").into()
                );
            }
        }
        if let Some(missing) = page.pictures.iter().find(|p| !Path::new("docs").join(p).exists()) {
            return Err(format!("{name}.md shows docs/{missing}, which does not exist").into());
        }
        fs::write(out.join(format!("{name}.html")), &page.html)?;
    }
    Ok(())
}

/// `names`: the pages that there are. What links to anything else of ours is text only: it is not installed.
fn page(markdown: &str, names: &BTreeSet<String>) -> Page {
    let mut page = Page::default();
    let mut events: Vec<Event> =
        Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).collect();
    let (mut heading, mut text, mut dropped, mut title) = (None, String::new(), false, None);
    for at in 0..events.len() {
        match &mut events[at] {
            Event::Start(Tag::Heading { .. }) => (heading, text) = (Some(at), String::new()),
            Event::Text(words) | Event::Code(words) if heading.is_some() => text += words,
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&text);
                let first = page.anchors.insert(slug.clone());
                if let Some(Event::Start(Tag::Heading { id, .. })) =
                    heading.take().filter(|_| first).map(|at: usize| &mut events[at])
                {
                    *id = Some(slug.into());
                }
                title.get_or_insert_with(|| text.clone());
            }
            Event::Start(Tag::Link { dest_url, link_type, .. }) if *link_type != LinkType::Autolink => {
                match target(dest_url, names) {
                    Some(to) => {
                        if !to.contains("://") {
                            page.links.push(to.clone());
                        }
                        *dest_url = CowStr::from(to);
                    }
                    None => {
                        events[at] = Event::InlineHtml("".into());
                        dropped = true;
                    }
                }
            }
            Event::End(TagEnd::Link) if dropped => {
                events[at] = Event::InlineHtml("".into());
                dropped = false;
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                let picture = dest_url.trim_start_matches("docs/").to_owned();
                page.pictures.push(picture.clone());
                *dest_url = CowStr::from(format!("../{picture}"));
            }
            _ => {}
        }
    }
    page.html = HEAD.replace("TITLE", &title.unwrap_or_default());
    html::push_html(&mut page.html, events.into_iter());
    page.html += "</body></html>\n";
    page
}

/// Where a link leads from a page beside which all other pages are.
fn target(link: &str, names: &BTreeSet<String>) -> Option<String> {
    if link.contains("://") || link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (path, anchor) = link.split_once('#').map_or((link, String::new()), |(p, a)| (p, format!("#{a}")));
    let file = Path::new(path).file_name()?.to_str()?;
    let name = file.strip_suffix(".md").filter(|name| names.contains(*name))?;
    Some(format!("{name}.html{anchor}"))
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
