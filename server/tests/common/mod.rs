// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tests share: a fake root, the real program, a running server, a small HTTP client.
#![allow(dead_code, missing_docs)]

pub mod site;

use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub const KERNEL: &str = "6.1.0-9-amd64";

/// What the program said and how it ended.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(o: Output) -> Said {
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        Said { code: o.status.code(), out: text(o.stdout), err: text(o.stderr) }
    }
}

impl Said {
    /// It did what it should.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// It refused, with exactly this sentence.
    #[track_caller]
    pub fn refused(self, sentence: &str) {
        assert_eq!(
            (self.err.as_str(), self.out.as_str()),
            (format!("boottorrent: {sentence}\n").as_str(), "")
        );
        assert_eq!(self.code, Some(1));
    }
}

/// A temporary folder with a catalogue and sources.
pub struct World {
    pub dir: TempDir,
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

impl World {
    pub fn new() -> World {
        World { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path as the program shows it.
    pub fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The program, with this world's catalogue.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boottorrent"));
        // Never the settings and sources of the machine on which the tests run.
        if !self.path("server.toml").exists() {
            let folders = [self.shown("usr/sources.d"), self.shown("etc/sources.d")];
            let keys = self.shown("keys");
            self.write(
                "server.toml",
                format!("[catalogue]\nsources = {folders:?}\n[keys]\ndir = {keys:?}\n"),
            );
        }
        command.arg("--config").arg(self.path("server.toml")).arg("--dir").arg(self.path("cat")).args(args);
        command.current_dir(self.dir.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command at the end (`"$@"`) of a script that makes networks, in a namespace of its own. `given` is what
    /// the script takes off its arguments first. Needs root.
    pub fn run_in_network(&self, script: &str, given: &[&str], args: &[&str]) -> Said {
        let command = self.command(args);
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "sh", "-c", script, "sh"]).args(given);
        unshare.arg(command.get_program()).args(command.get_args());
        unshare.current_dir(self.dir.path()).stdin(Stdio::null()).output().unwrap().into()
    }

    /// A root directory with a kernel, an initrd, and what is hard to keep.
    pub fn root(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        self.write(&format!("{name}/boot/vmlinuz-{KERNEL}"), format!("the kernel of {name}"));
        self.write(
            &format!("{name}/boot/initrd.img-{KERNEL}"),
            initrd(&["scripts/boottorrent", "usr/bin/boottorrent-agent"]),
        );
        self.write(&format!("{name}/blob"), noise(700_000));
        self.write(&format!("{name}/etc/secret"), "s");
        fs::set_permissions(root.join("etc/secret"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::hard_link(root.join("etc/secret"), root.join("etc/twin")).unwrap();
        symlink(format!("boot/vmlinuz-{KERNEL}"), root.join("vmlinuz")).unwrap();
        root
    }

    /// A squashfs of such a root.
    pub fn squashfs(&self, name: &str) -> PathBuf {
        let (root, image) = (self.root(&format!("{name}-root")), self.path(&format!("{name}.squashfs")));
        tool("mksquashfs", &[root.to_str().unwrap(), image.to_str().unwrap(), "-quiet", "-no-progress"]);
        image
    }

    /// Every file of the catalogue with its content, mode and inode.
    pub fn catalogue(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, u64)> {
        let (mut todo, mut out) = (vec![self.path("cat")], BTreeMap::new());
        while let Some(path) = todo.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let bytes = if meta.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            // The lock and the folders that hold everything may come with the first try.
            let lock = path.ends_with(".lock") || path.ends_with(".hosts.lock");
            let holder = lock || path == self.path("cat") || path == self.path("cat/images");
            if !holder {
                out.insert(path, (bytes, meta.mode(), meta.ino()));
            }
        }
        out
    }
}

/// Run another program that must succeed.
#[track_caller]
pub fn tool(program: &str, args: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let out = Command::new(program)
        .args(args)
        .env("PATH", path)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// An initrd with these files.
pub fn initrd(files: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in files.iter().chain(&["TRAILER!!!"]) {
        let text: &[u8] = if *name == "TRAILER!!!" { b"" } else { b"text" };
        let fields = [1, 0o100755, 0, 0, 1, 0, text.len(), 0, 0, 0, 0, name.len() + 1, 0];
        write!(out, "070701{}{name}\0", fields.map(|f| format!("{f:08X}")).concat()).unwrap();
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(text);
    }
    out
}

/// Bytes that do not compress, always the same.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Wait until something holds.
#[track_caller]
pub fn until<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A connection from this address of ours.
pub fn connect_from(from: std::net::IpAddr, to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// A running `boottorrent serve`. Killed when dropped.
pub struct Server {
    pub child: Child,
    pub http: SocketAddr,
}

impl Server {
    /// Start it on free ports of 127.0.0.1.
    pub fn start(world: &World, args: &[&str]) -> Server {
        Server::start_on(world, "127.0.0.1:0", args)
    }

    /// The same on another address.
    pub fn start_on(world: &World, listen: &str, args: &[&str]) -> Server {
        let mut command = world.command(&["serve", "--listen", listen, "--peer-port", "0"]);
        command.args(args);
        Server::spawned(command)
    }

    /// Start it by this command.
    pub fn spawned(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let http = loop {
            let Some(line) = lines.next() else { panic!("it ended without listening: {said:?}") };
            let line = line.unwrap();
            said.push(line.clone());
            if let Some((_, rest)) = line.split_once("listening on http://") {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, http }
    }

    /// The same; its log can be read.
    pub fn logged(world: &World) -> (Server, Arc<Mutex<Vec<String>>>) {
        let mut command =
            world.command(&["serve", "--listen", "127.0.0.1:0", "--peer-port", "0", "--no-seed"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let to = log.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line))
        });
        let http = until("an address", || {
            let log = log.lock().unwrap();
            let line = log.iter().find_map(|l: &String| l.split_once("listening on http://"))?;
            line.1.split(',').next()?.parse().ok()
        });
        (Server { child, http }, log)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let length = body.len();
        let host = self.http;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::read(&bytes)
    }

    /// The secret of a boot of this machine, as its boot loader gets it.
    pub fn secret(&self, mac: &str) -> Option<String> {
        let script = self.get(&format!("/boot.ipxe?mac={mac}")).text();
        let (_, rest) = script.split_once("boottorrent.secret=")?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    /// A heartbeat as it is.
    pub fn heartbeat(&self, body: &str) -> Answer {
        let json = [("content-type", "application/json")];
        self.ask("POST", "/api/v1/heartbeat", &json, body.as_bytes())
    }

    /// A heartbeat of a machine that has booted from here.
    pub fn beat(&self, mut body: serde_json::Value) -> Answer {
        let id = body["id"].as_str().unwrap().to_owned();
        body["secret"] = self.secret(&id).into();
        self.heartbeat(&body.to_string())
    }

    /// Send SIGTERM and wait.
    pub fn stop(mut self) -> Option<i32> {
        signal(&self.child, Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(child: &Child, name: Signal) {
    nix::sys::signal::kill(Pid::from_raw(child.id() as i32), name).unwrap();
}

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
        Answer { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v)
    }
}

/// A request over the local socket: status and body.
pub fn local(w: &World, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(w.path("cat/api.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A port that nobody uses: none of those that the kernel gives away by itself meanwhile (ip_local_port_range), and not
/// the one that another test of this program was given.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::repeat_with(|| GIVEN.fetch_add(1, Ordering::Relaxed))
        .map(|n| 20_000 + (std::process::id().wrapping_mul(37).wrapping_add(n) % 10_000) as u16);
    ports.find(|p| TcpListener::bind(("::", *p)).is_ok()).expect("there is always one")
}
