// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether an image can be used before it is complete (`boottorrent.target=stream`). Where it cannot, a sentence says why,
//! and it is waited for as with `ram`.

use crate::{
    args::BootArgs,
    disk,
    fail::Failure,
    report::Report,
    root,
    store::Payload,
    stream::{Stream, Streaming, Watch},
};
use bootspec::{
    Exit, Params, Target,
    manifest::{Format, Kind},
    params::KindParam,
};
use std::{path::Path, sync::Arc, time::Duration};
use swarm::Torrent;

/// Whether the command line asks for it.
pub fn asked(params: &Params) -> bool {
    params.target.contains(&Target::Stream)
}

/// What it takes.
pub struct Early<'a> {
    /// Paths.
    pub args: &'a BootArgs,
    /// What kind of image it is said to be.
    pub params: &'a Params,
    /// What comes.
    pub torrent: &'a Arc<Torrent>,
    /// The image's name.
    pub image: &'a str,
    /// Whether somebody's signature stands for all of it.
    pub signed: bool,
    /// How long nothing may come.
    pub patience: Option<Duration>,
    /// Hears of it.
    pub report: &'a Report,
}

impl Early<'_> {
    /// Serve the payload, which is read at its new path then. None: it is to be waited for.
    pub fn begin(&self, payload: &mut Payload) -> Result<Option<Streaming>, Failure> {
        let ram = |why: &str| {
            self.report.warn(&format!("boottorrent.target=stream is ram here: {why}"));
            Ok(None)
        };
        if self.signed {
            return ram("a signature is checked over all of an image, and nothing is mounted before that");
        }
        if self.args.medium || self.params.kind == KindParam::Ltsp {
            return ram("other scripts than ours mount this image, as a file that is complete");
        }
        let demand = self.torrent.demand();
        let stream = match Stream::open(&self.args.run_dir, &payload.path, demand) {
            Ok(stream) => stream,
            Err(e) => return ram(&format!("{e:#}")),
        };
        let watch = Watch {
            torrent: self.torrent.clone(),
            patience: self.patience,
            image: self.image.to_owned(),
            report: self.report.clone(),
        };
        let streaming = watch.over(stream, None);
        let why = match self.needs_all(streaming.stream.path()) {
            Ok(None) => {
                payload.path = streaming.stream.path().to_owned();
                return Ok(Some(streaming));
            }
            Ok(Some(why)) => why,
            // Unless nobody sends it, whoever mounts it finds the same, and says it better.
            Err(e) => match streaming.stream.end() {
                Some(why) => return Err(Failure::new(Exit::Swarm, why)),
                None => format!("{e:#}"),
            },
        };
        streaming.close();
        ram(&why)
    }

    /// Why an image must be complete, by its content: waits for what it reads.
    fn needs_all(&self, payload: &Path) -> anyhow::Result<Option<String>> {
        let ext4 = match root::kind(self.params.kind, payload)? {
            Kind::Iso => false,
            Kind::Filesystem => root::recognise(payload)? == Format::Ext4,
            Kind::Disk => disk::formats(payload)?.contains(&Format::Ext4),
            Kind::Ltsp => return Ok(Some("LTSP's own scripts mount this image".into())),
        };
        Ok(ext4.then(|| "ext4 does not live on when the file below it changes; squashfs and erofs do".into()))
    }
}
