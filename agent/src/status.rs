// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent status`: the booted system asks the agent that stayed.
//!
//! Over a Unix socket in /run/boottorrent, which outlives switch_root: whoever
//! connects gets the [`Heartbeat`] as JSON, then the end of the stream.

use crate::{
    args::StatusArgs,
    report::{Report, progress_line},
};
use anyhow::{Context, bail};
use bootspec::{
    Exit, Heartbeat,
    heartbeat::MAX_HEARTBEAT,
    units::{human_size, human_time},
};
use std::{
    fs::{self, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

const SOCKET: &str = "agent.sock";
/// Until the next call is taken when one could not be.
const AGAIN: Duration = Duration::from_millis(200);
/// How long somebody may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answer whoever asks, root or not: the server tells everybody the same.
pub fn listen(run_dir: &Path, report: &Report) -> anyhow::Result<()> {
    let path = run_dir.join(SOCKET);
    // An agent that has died has left it.
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o666))
        .with_context(|| format!("setting the mode of {}", path.display()))?;
    let (report, listener) = (report.clone(), Arc::new(listener));
    let accept = move || {
        let listener = listener.clone();
        async move { listener.accept().await.map(|a| a.0) }
    };
    tokio::spawn(answer(accept, report));
    Ok(())
}

/// Answer one after the other, for ever: a call that fails (no file descriptors are left) is not the last one, and whoever
/// does not read is not waited for.
async fn answer<F: Future<Output = io::Result<UnixStream>>>(mut accept: impl FnMut() -> F, report: Report) {
    loop {
        match accept().await {
            Ok(mut stream) => {
                let json = serde_json::to_vec(&report.heartbeat()).expect("a heartbeat is JSON");
                let _ = timeout(PATIENCE, stream.write_all(&json)).await;
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// The command.
pub fn run(args: &StatusArgs) -> Exit {
    match ask(&args.run_dir) {
        Ok(beat) if args.json => println!("{}", serde_json::to_string(&beat).expect("a heartbeat is JSON")),
        Ok(beat) => print!("{}", render(&beat)),
        Err(e) => {
            eprintln!("boottorrent-agent: {e:#}");
            return Exit::Swarm;
        }
    }
    Exit::Ok
}

fn ask(run_dir: &Path) -> anyhow::Result<Heartbeat> {
    let path = run_dir.join(SOCKET);
    let Ok(stream) = std::os::unix::net::UnixStream::connect(&path) else {
        bail!(
            "no agent answers at {}: this machine was not booted by BootTorrent, or boottorrent.seed= has ended it",
            path.display()
        );
    };
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut json = Vec::new();
    stream.take(MAX_HEARTBEAT as u64).read_to_end(&mut json).context("reading the agent's answer")?;
    serde_json::from_slice(&json).context("reading the agent's answer")
}

fn render(b: &Heartbeat) -> String {
    let p = &b.progress;
    let image = b.image.as_deref().unwrap_or("-");
    let mut out = format!("{}\n", progress_line(p, image));
    let mut row = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
    row("phase", b.phase.as_str().into());
    row("infohash", b.infohash.map(|h| h.to_string()).unwrap_or_default());
    row(
        "received",
        format!(
            "{} from the server, {} over HTTP, {} from other machines",
            human_size(p.from_server),
            human_size(p.from_http),
            human_size(p.from_peers)
        ),
    );
    row("sent", human_size(p.uploaded));
    row("running", human_time(Duration::from_secs_f64(b.uptime.max(0.0))));
    row("memory", format!("{} beyond the image", human_size(b.memory)));
    if let Some(error) = &b.error {
        row("error", error.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_is_what_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask(dir.path()).unwrap_err().to_string().starts_with("no agent answers"));
        let report = Report::new(None, None);
        report.note(|b| b.image = Some("lab".into()));
        listen(dir.path(), &report).unwrap();
        let path = dir.path().to_owned();
        let beat = tokio::task::spawn_blocking(move || ask(&path)).await.unwrap().unwrap();
        assert_eq!(beat.image.as_deref(), Some("lab"));
        assert!(render(&beat).starts_with("lab   0.0%"));
    }

    #[tokio::test]
    async fn a_call_that_fails_is_not_the_last() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut calls = vec![Ok(ours), Err(io::Error::from_raw_os_error(24)), Err(io::Error::other("gone"))];
        let accept = move || {
            let call = calls.pop();
            async move {
                match call {
                    Some(call) => call,
                    None => std::future::pending().await,
                }
            }
        };
        tokio::spawn(answer(accept, Report::new(None, None)));
        let mut json = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut json).await.unwrap();
        assert!(serde_json::from_slice::<Heartbeat>(&json).is_ok());
    }
}
