// SPDX-License-Identifier: GPL-3.0-or-later
//! `boottorrent-agent status`: the booted system asks the agent that stayed.
//!
//! Over a Unix socket in /run/boottorrent, which outlives switch_root: whoever
//! connects gets the [`Heartbeat`] as JSON, then the end of the stream.

use crate::{
    cli::StatusArgs,
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
    io::Read,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::UnixListener};

const SOCKET: &str = "agent.sock";

/// Answer whoever asks, root or not: the server tells everybody the same.
pub fn listen(run_dir: &Path, report: &Report) -> anyhow::Result<()> {
    let path = run_dir.join(SOCKET);
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o666))
        .with_context(|| format!("setting the mode of {}", path.display()))?;
    let report = report.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let json = serde_json::to_vec(&report.heartbeat()).expect("a heartbeat is JSON");
            let _ = stream.write_all(&json).await;
        }
    });
    Ok(())
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
    let Ok(stream) = UnixStream::connect(&path) else {
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
}
