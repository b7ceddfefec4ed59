// SPDX-License-Identifier: GPL-3.0-or-later
//! nginx and curl.

use super::stage::{Contestant, Done, Machine, Serving, Stage};
use crate::setup::Setup;
use anyhow::{Result, ensure};
use boottorrent_tests::{Cmd, Lab};
use std::time::{Duration, Instant};

/// A static file over HTTP.
pub struct Http;

impl Contestant for Http {
    fn id(&self) -> &'static str {
        "http"
    }

    fn label(&self) -> &'static str {
        "nginx + curl"
    }

    fn settings(&self) -> &'static str {
        "a static file on tmpfs; `worker_processes 2; sendfile on; tcp_nopush on; access_log off`; `curl -o FILE`, which \
         checks nothing"
    }

    fn races(&self, setup: &Setup, n: usize) -> bool {
        // Beyond 16 machines one race takes minutes, and time grows with N and nothing else.
        !setup.late && n <= 16
    }

    fn serve<'a>(&self, stage: &Stage<'a>) -> Result<Serving<'a>> {
        let dir = stage.folder("nginx")?;
        let (at, conf) = (dir.display(), dir.join("nginx.conf"));
        let root = stage.payload.file().with_file_name("");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {at}/{what};\n"))
            .collect();
        let text = format!(
            "user root;\nworker_processes 2;\ndaemon off;\npid {at}/pid;\nevents {{}}\n\
             http {{\nsendfile on;\ntcp_nopush on;\naccess_log off;\n{temporary}\
             server {{ listen {}:80; root {}; }}\n}}\n",
            Lab::SERVER,
            root.display()
        );
        std::fs::write(&conf, text)?;
        // A process namespace, because nginx's workers would survive it.
        let cmd = Cmd::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "nginx", "-e", "stderr", "-c"])
            .arg(&conf);
        let sender = stage.server().spawn("nginx", &cmd)?;
        let mut serving = Serving { tracker: None, sender: Some(sender), relays: Vec::new() };
        let start = Instant::now();
        let head = Cmd::new("curl").args(["-sfI", &url()]);
        while stage.server().run(&head).is_err() {
            serving.check()?;
            ensure!(start.elapsed() < Duration::from_secs(10), "nginx does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(serving)
    }

    fn machine(&self, stage: &Stage, i: usize) -> Result<Machine> {
        let file = stage.folder("machines")?.join(i.to_string());
        let cmd = Cmd::new("curl").args(["-sSf", "-o"]).arg(&file).arg(url());
        Ok(Machine { cmd, done: Done::End, file })
    }
}

fn url() -> String {
    format!("http://{}/payload", Lab::SERVER)
}
