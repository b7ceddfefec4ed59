// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands out of our documents, so that a test runs what a reader is told to type.

/// A block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The heading that it stands under.
    pub heading: String,
    /// The line of the document where it begins.
    pub line: usize,
    /// The commands.
    pub text: String,
}

/// The fenced blocks whose language is `sh`, in their order. What is to be read and not typed (output,
/// files) has another language or none.
pub fn commands(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut heading, mut open): (String, Option<Option<Block>>) = (String::new(), None);
    for (n, line) in markdown.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let block = Block { heading: heading.clone(), line: n + 2, text: String::new() };
                open = Some((language.trim() == "sh").then_some(block));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().flatten()),
            (Some(Some(block)), None) => block.text += &format!("{line}\n"),
            (Some(None), None) => {}
            (None, None) => {
                if line.starts_with('#') {
                    heading = line.trim_start_matches('#').trim().to_owned();
                }
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_to_be_typed() {
        let text = "# A\n```sh\none\n# not a heading\n```\n\n## B\n```\nread\n```\n```ini\nx=1\n```\n  ```sh\ntwo\n  ```\n";
        let found = commands(text);
        let block =
            |heading: &str, line, text: &str| Block { heading: heading.into(), line, text: text.into() };
        assert_eq!(found, [block("A", 3, "one\n# not a heading\n"), block("B", 15, "two\n")]);
    }
}
