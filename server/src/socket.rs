// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's local socket: who may write to it may change things, and nobody else.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, DirBuilder, Permissions},
    io::ErrorKind,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// An open socket.
pub struct Socket {
    /// Where connections come in.
    pub listener: UnixListener,
    /// Its file, which goes when this is dropped.
    pub file: SocketFile,
}

/// The file of a socket.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or somebody else's business.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listen on `path`. Errors: this user may not, or another server does.
pub fn open(path: &Path) -> Result<Socket> {
    let opening = || format!("opening the socket {}", path.display());
    // Known by connecting: what a killed server left behind answers nobody.
    if UnixStream::connect(path).is_ok() {
        bail!("another server listens on {}", path.display());
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists()) {
        DirBuilder::new().recursive(true).mode(0o755).create(folder).with_context(opening)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).with_context(opening)?,
        Ok(_) => bail!("{} is there, and is not a socket", path.display()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(opening),
    }
    let listener = UnixListener::bind(path).with_context(opening)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(0o660)).with_context(opening)?;
    Ok(Socket { listener, file })
}
