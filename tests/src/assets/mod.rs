// SPDX-License-Identifier: GPL-3.0-or-later
//! Real Debian images, made once and shared by every test, the demo and the
//! benchmarks: see [`image()`] and [`catalogue()`].

mod apt;
mod arm64;
mod built;
mod cache;
mod catalogue;
mod common;
mod desktop;
mod disk;
mod dracut;
mod formats;
mod image;
mod initrd;
mod keys;
pub mod live;
pub mod livebuild;
mod ltsp;
pub mod managed;
mod netboot;
mod package;
mod root;
mod suite;
mod switch;
mod tiny;

pub use apt::mirror_host;
pub use arm64::{ARM64, arm64_agent, arm64_catalogue, arm64_loaders};
pub use built::{BUILT_PASSWORD, Builder};
pub use cache::{cached, key_of};
pub use catalogue::{
    bare_catalogue, catalogue, copy_catalogue, disk_catalogue, own_initrd_catalogue, random,
};
pub use common::{APPEND, IMAGE};
pub use desktop::desktop;
pub use disk::{ROOT_PARTITION, disk};
pub use formats::small_roots;
pub use image::{Image, clean, dracut_image, image};
pub use initrd::initrd_with;
pub use keys::{baked, baked_by_dracut};
pub use ltsp::{LTSP_IMAGE, LTSP_SERVER, LtspRoot, NFS, ltsp, shell};
pub use netboot::{PhaseOne, phase_one};
pub use package::package;
pub use root::bootstrap;
pub use suite::Suite;
pub use switch::{lessons, small_lessons};
pub use tiny::{TINY, tiny, tiny_with};
