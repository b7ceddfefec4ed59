// SPDX-License-Identifier: GPL-3.0-or-later
//! How words of the command line become values of the server's types, which know no command line.

use crate::{config::SeederKind, hosts::Field, import::request::Compress, power::PowerAction};
use clap::{ValueEnum, builder::PossibleValue};

impl ValueEnum for SeederKind {
    fn value_variants<'a>() -> &'a [SeederKind] {
        &[SeederKind::Dealing, SeederKind::Librqbit]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            SeederKind::Dealing => PossibleValue::new("dealing").help(
                "Shows each piece to one machine first, so that the server's link carries every piece about once",
            ),
            SeederKind::Librqbit => PossibleValue::new("librqbit").help("Shows everything to everybody"),
        })
    }
}

impl ValueEnum for Compress {
    fn value_variants<'a>() -> &'a [Compress] {
        &[Compress::Squashfs, Compress::Erofs]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Compress::Squashfs => PossibleValue::new("squashfs").help("squashfs with zstd: the smallest"),
            Compress::Erofs => {
                PossibleValue::new("erofs").help("erofs with lz4hc: larger, and faster to read")
            }
        })
    }
}

impl ValueEnum for PowerAction {
    fn value_variants<'a>() -> &'a [PowerAction] {
        &[PowerAction::On, PowerAction::Off, PowerAction::Cycle, PowerAction::Status]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            PowerAction::On => PossibleValue::new("on").help("Switch on, or send a wake-on-LAN packet"),
            PowerAction::Off => PossibleValue::new("off").help("Switch off at once"),
            PowerAction::Cycle => PossibleValue::new("cycle").help("Switch off and on again"),
            PowerAction::Status => PossibleValue::new("status").help("Print whether it is on"),
        })
    }
}

impl ValueEnum for Field {
    fn value_variants<'a>() -> &'a [Field] {
        &Field::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Field::Name => "name",
            Field::Group => "group",
            Field::Image => "image",
            Field::Once => "once",
            Field::Menu => "menu",
            Field::Params => "params",
            Field::Files => "files",
            Field::Private => "private",
            Field::Fingerprint => "fingerprint",
            Field::Prefix => "prefix",
            Field::Subnet => "subnet",
        }))
    }
}
