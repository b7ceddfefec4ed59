// SPDX-License-Identifier: GPL-3.0-or-later
//! What is to be made ready, and who may be asked about it meanwhile.

use crate::{
    args::BootArgs,
    locate::{MetainfoSource, payload_url},
};
use bootspec::Params;
use swarm::{HttpSource, Metainfo};
use url::Url;

/// What a payload is made ready for.
pub struct Order<'a> {
    /// Paths.
    pub args: &'a BootArgs,
    /// Targets and overlay.
    pub params: &'a Params,
    /// What will be fetched.
    pub metainfo: &'a Metainfo,
    /// What it is called.
    pub image: &'a str,
    /// Whether its SHA-256 will be asked for.
    pub signed: bool,
    /// Where the server has the image's sums.
    pub sums: Option<SumsSource<'a>>,
}

/// Where sums are.
#[derive(Clone, Copy)]
pub struct SumsSource<'a> {
    /// Asks.
    pub client: &'a reqwest::Client,
    /// The .torrent: they are beside it.
    pub torrent: &'a Url,
}

impl<'a> SumsSource<'a> {
    /// Beside a .torrent that the server has.
    pub fn beside(torrent: &'a MetainfoSource, client: &'a reqwest::Client) -> Option<Self> {
        match torrent {
            MetainfoSource::Url(torrent) => Some(Self { client, torrent }),
            MetainfoSource::File(_) | MetainfoSource::Magnet(_) => None,
        }
    }
}

/// What is asked of the server while an image on a disk is made ready.
#[derive(Clone, Default)]
pub struct Online<'a> {
    /// SumsSource of its blocks.
    pub sums: Option<SumsSource<'a>>,
    /// Whether it has the image.
    pub source: Option<HttpSource>,
}

impl<'a> Order<'a> {
    /// What may be asked of the server.
    pub(super) fn online(&self) -> Online<'a> {
        let Order { params, metainfo, sums, .. } = *self;
        let may = sums.filter(|_| params.fallback && metainfo.is_whole());
        let source = may.and_then(|s| Some(HttpSource::new(s.client.clone(), payload_url(s.torrent)?)));
        Online { sums, source }
    }
}
