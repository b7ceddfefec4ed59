// SPDX-License-Identifier: GPL-3.0-or-later
//! The compressed parts of an initrd. Other archives may follow one, and only a decoder that stops exactly where its
//! input ends can find them. All decoders are written in Rust: the input is other people's.

use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, BufReader, Read, Seek};

/// Memory for one decoder; what the kernel can unpack needs less.
const MAX_MEMORY: u64 = 256 << 20;
/// An lz4 block of the legacy format holds this much at most (lz4_Frame_format.md, "Legacy frame").
const LZ4_BLOCK: usize = 8 << 20;
const LZ4_MAGIC: u32 = 0x184c_2102;

/// The compressions that the kernel knows (lib/decompress.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// The older .lzma format.
    Lzma,
    /// The legacy frames of `lz4 -l`.
    Lz4,
    /// bzip2.
    Bzip2,
    /// lzop.
    Lzo,
}

impl Compression {
    /// By the first bytes.
    pub fn recognise(magic: &[u8]) -> Option<Compression> {
        Some(match magic {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x5d, 0, 0, ..] => Compression::Lzma,
            [0x02, 0x21, 0x4c, 0x18, ..] => Compression::Lz4,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0x89, b'L', b'Z', b'O', ..] => Compression::Lzo,
            _ => return None,
        })
    }

    /// The program that unpacks it, and its Debian package.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Compression::Zstd => ("zstd", "zstd"),
            Compression::Gzip => ("gzip", "gzip"),
            Compression::Xz | Compression::Lzma => ("xz", "xz-utils"),
            Compression::Lz4 => ("lz4", "lz4"),
            Compression::Bzip2 => ("bzip2", "bzip2"),
            Compression::Lzo => ("lzop", "lzop"),
        }
    }

    /// Whether the agent can unpack it as well.
    pub fn is_usual(self) -> bool {
        matches!(self, Compression::Zstd | Compression::Gzip | Compression::Xz | Compression::Lz4)
    }

    /// A reader of what one compressed stream holds. Once it has ended, `from` stands behind the stream. `None`: only
    /// a [program](Compression::program) can read it, which does not report where the stream ended.
    pub fn decoder<'a, R: Read + Seek>(
        self,
        from: &'a mut BufReader<R>,
    ) -> io::Result<Option<Box<dyn Read + 'a>>> {
        Ok(Some(match self {
            Compression::Zstd => Box::new(
                StreamingDecoder::new_with_max_window_size(from, MAX_MEMORY).map_err(io::Error::other)?,
            ),
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(from)),
            Compression::Xz => Box::new(XzReader::new_mem_limit(from, false, (MAX_MEMORY >> 10) as u32)),
            Compression::Lz4 => Box::new(LegacyLz4 { from, started: false, block: Vec::new(), at: 0 }),
            #[cfg(feature = "bzip2")]
            Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(from)),
            #[cfg(not(feature = "bzip2"))]
            Compression::Bzip2 => return Ok(None),
            Compression::Lzma | Compression::Lzo => return Ok(None),
        }))
    }
}

/// Legacy lz4: a magic number, then blocks, each behind its compressed length. Nothing marks the end: it is where no
/// length of a block stands.
struct LegacyLz4<'a, R> {
    from: &'a mut BufReader<R>,
    started: bool,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read + Seek> LegacyLz4<'_, R> {
    /// The next number, if there are four bytes more.
    fn number(&mut self) -> io::Result<Option<u32>> {
        let mut bytes = Vec::new();
        self.from.by_ref().take(4).read_to_end(&mut bytes)?;
        let number = bytes.first_chunk().map(|b| u32::from_le_bytes(*b));
        if number.is_none() {
            self.from.seek_relative(-(bytes.len() as i64))?;
        }
        Ok(number)
    }

    /// Unpack one more block. `false`: there is none.
    fn next(&mut self) -> io::Result<bool> {
        let most = lz4_flex::block::get_maximum_output_size(LZ4_BLOCK);
        let size = loop {
            match self.number()? {
                Some(LZ4_MAGIC) => self.started = true,
                Some(size) if self.started && (1..=most).contains(&(size as usize)) => break size as usize,
                Some(_) => {
                    self.from.seek_relative(-4)?;
                    return Ok(false);
                }
                None => return Ok(false),
            }
        };
        let mut packed = vec![0; size];
        self.from.read_exact(&mut packed)?;
        self.block.resize(LZ4_BLOCK, 0);
        let unpacked =
            lz4_flex::block::decompress_into(&packed, &mut self.block).map_err(io::Error::other)?;
        self.block.truncate(unpacked);
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read + Seek> Read for LegacyLz4<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let n = (&self.block[self.at..]).read(to)?;
        self.at += n;
        Ok(n)
    }
}
