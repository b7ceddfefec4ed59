// SPDX-License-Identifier: GPL-3.0-or-later
//! Requests as the kernel writes them, for tests.

/// A request as the kernel writes it.
pub fn ask(opcode: u32, unique: u64, body: &[u8]) -> Vec<u8> {
    let mut out = words(&[(40 + body.len()) as u32, opcode]);
    out.extend(unique.to_ne_bytes());
    out.resize(40, 0);
    out.extend(body);
    out
}

pub fn read(unique: u64, offset: u64, size: u32) -> Vec<u8> {
    let body = [&0u64.to_ne_bytes()[..], &offset.to_ne_bytes(), &words(&[size, 0, 0, 0, 0, 0])].concat();
    ask(15, unique, &body)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}
