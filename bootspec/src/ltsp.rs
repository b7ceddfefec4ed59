// SPDX-License-Identifier: GPL-3.0-or-later
//! What LTSP's own kernel command line says (ltsp.ipxe of LTSP writes it): with it,
//! `boot=boottorrent` alone is enough. No I/O.

use crate::{ImageName, Params, cmdline, params::KindParam};
use std::{
    net::Ipv4Addr,
    path::{Component, Path, PathBuf},
};

/// What `ltsp.image=` and `nfsroot=` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ltsp {
    /// Where LTSP's own scripts look for the image, under the root mount point: `images/NAME.img`.
    pub path: PathBuf,
    /// The server, where it is named by its address.
    pub server: Option<Ipv4Addr>,
}

impl Ltsp {
    /// Look whether this is a boot of LTSP, and take from it what `params` leave open: image, server, kind.
    pub fn adopt(params: &mut Params, line: &str) -> Result<Option<Ltsp>, String> {
        if !matches!(params.kind, KindParam::Auto | KindParam::Ltsp) {
            return Ok(None);
        }
        let last = |name: &str| {
            let words = cmdline::split(line).into_iter();
            // LTSP's own reader does not tell upper from lower case.
            words.rev().find(|(n, _)| n.eq_ignore_ascii_case(name)).and_then(|(_, v)| v)
        };
        let Some(image) = last("ltsp.image").filter(|i| !i.is_empty()) else {
            return match params.kind {
                KindParam::Ltsp => {
                    Err("boottorrent.kind=ltsp takes ltsp.image=images/NAME.img beside it on the \
                                        kernel command line: the menu of `ltsp ipxe` writes it"
                        .into())
                }
                _ => Ok(None),
            };
        };
        let (path, name) = image_of(&image)?;
        let host = last("nfsroot").and_then(|root| host(&root));
        params.kind = KindParam::Ltsp;
        params.image.get_or_insert(name);
        if params.server.is_none() {
            params.server.clone_from(&host);
        }
        Ok(Some(Ltsp { path, server: host.and_then(|h| h.parse().ok()) }))
    }
}

/// Of `ltsp.image=images/NAME.img[,OPTION…][,,NEXT…]`: where the first one is, and its name.
fn image_of(value: &str) -> Result<(PathBuf, ImageName), String> {
    let first = value.split(',').next().unwrap_or_default();
    let path = Path::new(first);
    let plain = !first.is_empty() && path.components().all(|c| matches!(c, Component::Normal(_)));
    let file = path.file_name().and_then(|f| f.to_str()).filter(|_| plain).ok_or_else(|| {
        format!(
            "ltsp.image='{first}' is not a path below LTSP's folder: only images/NAME.img comes over the swarm"
        )
    })?;
    let name = file.strip_suffix(".img").unwrap_or(file).parse().map_err(|e| format!("ltsp.image: {e}"))?;
    Ok((path.to_owned(), name))
}

/// Of `nfsroot=[HOST:]PATH[,OPTIONS]`: the host.
fn host(nfsroot: &str) -> Option<String> {
    let (host, _) = nfsroot.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    (!host.is_empty() && host.chars().all(plain)).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ltsp.ipxe of LTSP 23.02 makes.
    const STOCK: &str = "root=/dev/nfs nfsroot=10.77.0.1:/srv/ltsp ltsp.image=images/x86_64.img loop.max_part=9 \
                         BOOTIF=01-52-54-00-00-00-01";

    fn adopt(line: &str) -> Result<Option<(Params, Ltsp)>, String> {
        let (mut params, remarks) = Params::parse(line);
        assert_eq!(remarks, []);
        Ok(Ltsp::adopt(&mut params, line)?.map(|l| (params, l)))
    }

    #[test]
    fn the_stock_command_line_is_enough() {
        let (params, ltsp) = adopt(&format!("{STOCK} boot=boottorrent")).unwrap().unwrap();
        assert_eq!(
            ltsp,
            Ltsp { path: "images/x86_64.img".into(), server: Some(Ipv4Addr::new(10, 77, 0, 1)) }
        );
        assert_eq!(params.image.unwrap().as_str(), "x86_64");
        assert_eq!((params.server.as_deref(), params.kind), (Some("10.77.0.1"), KindParam::Ltsp));
    }

    #[test]
    fn what_is_said_counts_more() {
        let line = format!(
            "{STOCK} boottorrent.image=lab boottorrent.server=other:80 ltsp.image=images/b.img,ro,,c.img"
        );
        let (params, ltsp) = adopt(&line).unwrap().unwrap();
        assert_eq!((params.image.unwrap().as_str(), params.server.as_deref()), ("lab", Some("other:80")));
        assert_eq!(ltsp.path, Path::new("images/b.img"));
        assert_eq!(adopt(&format!("{STOCK} boottorrent.kind=filesystem")), Ok(None));
    }

    #[test]
    fn servers() {
        for (nfsroot, want) in [
            ("10.0.0.1:/srv/ltsp,vers=3", Some("10.0.0.1")),
            ("server:/srv/ltsp", Some("server")),
            ("/srv/ltsp", None),
            (":/srv/ltsp", None),
            ("a;b:/srv/ltsp", None),
        ] {
            assert_eq!(host(nfsroot).as_deref(), want, "{nfsroot}");
        }
        let (params, ltsp) = adopt("nfsroot=server:/srv/ltsp ltsp.IMAGE=images/a.img").unwrap().unwrap();
        assert_eq!((params.server.as_deref(), ltsp.server), (Some("server"), None));
    }

    #[test]
    fn other_boots_are_left_alone_and_odd_ones_are_refused() {
        assert_eq!(adopt("boot=boottorrent boottorrent.image=lab nfsroot=10.0.0.1:/x"), Ok(None));
        let why = |line: &str| adopt(line).unwrap_err();
        assert!(why("boottorrent.kind=ltsp").starts_with("boottorrent.kind=ltsp takes ltsp.image="));
        for odd in ["/etc/x.img", "../x.img", "images/../../x.img", ",ro"] {
            assert!(why(&format!("ltsp.image={odd}")).contains("is not a path below LTSP's folder"), "{odd}");
        }
        assert!(why("ltsp.image=images/a+b.img").contains("'a+b' is not a valid image name"));
    }
}
