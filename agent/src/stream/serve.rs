// SPDX-License-Identifier: GPL-3.0-or-later
//! A file that is read while it comes: reads of what is verified are answered at once, others wait for their pieces.

use super::{
    reads::Table,
    wire::{self, MAX_READ, Request},
};
use nix::errno::Errno;
use std::{
    fs::File,
    io::{self, IoSlice, Read, Write},
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use swarm::Demand;

/// A request begins with its length.
const LENGTH: usize = 4;

/// What of a payload is here.
pub trait Pieces: Send + Sync {
    /// Whether these bytes are verified.
    fn has(&self, bytes: &Range<u64>) -> bool;
    /// Somebody waits for them.
    fn want(&self, bytes: &Range<u64>);
}

impl Pieces for Demand {
    fn has(&self, bytes: &Range<u64>) -> bool {
        Demand::has(self, bytes)
    }

    fn want(&self, bytes: &Range<u64>) {
        Demand::want(self, bytes);
    }
}

/// A READ that waits.
struct Wait {
    unique: u64,
    bytes: Range<u64>,
    since: Instant,
    /// Where it is remembered.
    entry: usize,
}

struct Waiting {
    reads: Vec<Wait>,
    /// Entries of the table.
    free: Vec<usize>,
    /// Why nothing more will come.
    end: Option<String>,
}

/// See the module's text.
pub struct Serve {
    /// /dev/fuse, connected.
    device: File,
    /// The payload's file.
    plain: File,
    size: u64,
    pieces: Box<dyn Pieces>,
    table: Table,
    waiting: Mutex<Waiting>,
    /// An entry of the table is free again.
    room: Condvar,
}

impl Serve {
    /// `plain`: as long as the payload. `table`: what an earlier process has left in it is waited for.
    pub fn new(device: File, plain: File, table: Table, pieces: impl Pieces + 'static) -> io::Result<Self> {
        let size = plain.metadata()?.len();
        let since = Instant::now();
        let left = table.taken().into_iter();
        let reads = left.map(|(entry, unique, bytes)| Wait { unique, bytes, since, entry }).collect();
        let waiting = Mutex::new(Waiting { reads, free: table.free(), end: None });
        Ok(Self { device, plain, size, pieces: Box::new(pieces), table, waiting, room: Condvar::new() })
    }

    /// The kernel's side, for others to hold.
    pub fn device(&self) -> io::Result<File> {
        self.device.try_clone()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answer requests, first those that an earlier process has left, until the file is used no longer.
    pub fn run(&self, slot: &mut [u8]) -> io::Result<()> {
        self.waiting().reads.iter().for_each(|w| self.pieces.want(&w.bytes));
        self.look();
        if let Some(left) = wire::first(slot) {
            self.heed(left);
        }
        loop {
            // Until there is another, there is none to be left.
            slot[..LENGTH].fill(0);
            match (&self.device).read(slot) {
                Ok(0) => return Ok(()),
                Ok(n) => self.heed(&slot[..n]),
                Err(e) => match Errno::from_raw(e.raw_os_error().unwrap_or_default()) {
                    // ENOENT: it was taken back while we read it.
                    Errno::EINTR | Errno::EAGAIN | Errno::ENOENT => {}
                    Errno::ENODEV => return Ok(()),
                    _ => return Err(e),
                },
            }
        }
    }

    fn heed(&self, bytes: &[u8]) {
        let Some((unique, request)) = wire::request(bytes) else { return };
        match request {
            Request::Init { version, readahead, flags } => match wire::init(version, readahead, flags) {
                Some(out) => self.answer(unique, &out),
                None => self.refuse(unique, Errno::EPROTO),
            },
            Request::Attributes => self.answer(unique, &wire::attributes(self.size)),
            Request::Open => self.answer(unique, &wire::opened()),
            Request::Space => self.answer(unique, &wire::space(self.size)),
            Request::Fine => self.answer(unique, &[]),
            Request::Read { offset, size } if size <= MAX_READ => {
                let end = offset.saturating_add(size.into()).min(self.size);
                self.read(unique, offset.min(end)..end);
            }
            Request::Read { .. } => self.refuse(unique, Errno::EINVAL),
            Request::Interrupt(whom) => {
                self.end_waits(|w| w.unique == whom, |w| self.refuse(w.unique, Errno::EINTR));
            }
            Request::Silent => {}
            Request::Unknown => self.refuse(unique, Errno::ENOSYS),
        }
    }

    fn read(&self, unique: u64, bytes: Range<u64>) {
        let waiting = self.waiting();
        // Whoever gives one back needs the lock.
        let full = |w: &mut Waiting| w.free.is_empty() && w.end.is_none();
        let mut waiting = self.room.wait_while(waiting, full).unwrap_or_else(PoisonError::into_inner);
        if bytes.is_empty() || self.pieces.has(&bytes) {
            drop(waiting);
            return self.give(unique, &bytes);
        }
        // An earlier process may have left it in both places.
        if waiting.reads.iter().any(|w| w.unique == unique) {
            return;
        }
        let entry = if waiting.end.is_none() { waiting.free.pop() } else { None };
        let Some(entry) = entry else { return self.refuse(unique, Errno::EIO) };
        self.table.take(entry, unique, &bytes);
        // What comes from now on looks for it here.
        waiting.reads.push(Wait { unique, bytes: bytes.clone(), since: Instant::now(), entry });
        drop(waiting);
        self.pieces.want(&bytes);
    }

    /// Pieces have come: answer those who wait for them.
    pub fn look(&self) {
        self.end_waits(|w| self.pieces.has(&w.bytes), |w| self.give(w.unique, &w.bytes));
    }

    /// Answer those, and only then forget them.
    fn end_waits(&self, which: impl Fn(&Wait) -> bool, answer: impl Fn(&Wait)) {
        let those: Vec<Wait> = self.waiting().reads.extract_if(.., |w| which(w)).collect();
        for wait in those {
            answer(&wait);
            self.table.give_back(wait.entry);
            self.waiting().free.push(wait.entry);
            self.room.notify_one();
        }
    }

    /// How long somebody has waited.
    pub fn waited(&self) -> Option<Duration> {
        self.waiting().reads.iter().map(|w| w.since.elapsed()).max()
    }

    /// Nothing more will come: whoever waits, and whoever will, hears of an I/O error.
    pub fn give_up(&self, why: String) {
        self.waiting().end.get_or_insert(why);
        self.end_waits(|_| true, |w| self.refuse(w.unique, Errno::EIO));
    }

    /// Why nothing more will come.
    pub fn end(&self) -> Option<String> {
        self.waiting().end.clone()
    }

    fn give(&self, unique: u64, bytes: &Range<u64>) {
        let mut out = vec![0; (bytes.end - bytes.start) as usize];
        match self.plain.read_exact_at(&mut out, bytes.start) {
            Ok(()) => self.answer(unique, &out),
            Err(_) => self.refuse(unique, Errno::EIO),
        }
    }

    fn answer(&self, unique: u64, bytes: &[u8]) {
        self.send(&wire::header(unique, 0, bytes.len()), bytes);
    }

    fn refuse(&self, unique: u64, error: Errno) {
        self.send(&wire::header(unique, error as i32, 0), &[]);
    }

    /// In one write, as the kernel wants it. It fails when nobody waits for the answer any more.
    fn send(&self, header: &[u8], bytes: &[u8]) {
        let parts = [IoSlice::new(header), IoSlice::new(bytes)];
        let _ = (&self.device).write_vectored(if bytes.is_empty() { &parts[..1] } else { &parts });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{asked_tests as asked, reads::Kept},
        *,
    };
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    /// So many bytes from the beginning are here.
    #[derive(Clone, Default)]
    struct Here(Arc<AtomicU64>, Arc<Mutex<Vec<Range<u64>>>>);

    impl Pieces for Here {
        fn has(&self, bytes: &Range<u64>) -> bool {
            bytes.end <= self.0.load(Ordering::Relaxed)
        }

        fn want(&self, bytes: &Range<u64>) {
            self.1.lock().unwrap().push(bytes.clone());
        }
    }

    /// Both ends of the device: ours, and the kernel's.
    fn device() -> (File, File) {
        let pair =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (pair.0.into(), pair.1.into())
    }

    /// A file of 300,000 bytes.
    fn serve(here: &Here, device: File, kept: Kept) -> Arc<Serve> {
        let plain = tempfile::tempfile().unwrap();
        plain.write_all_at(&(0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>(), 0).unwrap();
        let serve = Arc::new(Serve::new(device, plain, kept.table, here.clone()).unwrap());
        let this = serve.clone();
        std::thread::spawn(move || this.run(kept.slot));
        serve
    }

    /// The same, and the kernel's end of the device.
    fn served(here: &Here) -> (Arc<Serve>, File) {
        let ((ours, kernel), dir) = (device(), tempfile::tempdir().unwrap());
        (serve(here, ours, Kept::new(&dir.path().join("reads")).unwrap()), kernel)
    }

    /// An answer: whose, the error, and its bytes.
    fn answer(kernel: &mut File) -> (u64, i32, Vec<u8>) {
        let mut out = vec![0; 1 << 20];
        let n = kernel.read(&mut out).unwrap();
        let word = |at: usize| i32::from_ne_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!(word(0) as usize, n);
        (u64::from_ne_bytes(out[8..16].try_into().unwrap()), word(4), out[16..n].to_vec())
    }

    #[test]
    fn what_is_here_is_read_and_the_rest_waits() {
        let here = Here::default();
        here.0.store(100_000, Ordering::Relaxed);
        let (serve, mut kernel) = served(&here);
        kernel.write_all(&asked::read(1, 99_000, 1000)).unwrap();
        let (unique, error, bytes) = answer(&mut kernel);
        assert_eq!((unique, error, bytes.len(), bytes[0]), (1, 0, 1000, (99_000 % 251) as u8));
        kernel.write_all(&asked::read(2, 200_000, 4096)).unwrap();
        kernel.write_all(&asked::read(3, 296_000, 131_072)).unwrap();
        kernel.write_all(&asked::read(4, 0, 512)).unwrap();
        assert_eq!(answer(&mut kernel).0, 4, "it does not wait for the others");
        assert_eq!(*here.1.lock().unwrap(), [200_000..204_096, 296_000..300_000]);
        assert!(serve.waited().is_some());
        here.0.store(250_000, Ordering::Relaxed);
        serve.look();
        assert_eq!(answer(&mut kernel).0, 2);
        kernel.write_all(&asked::ask(36, 9, &3u64.to_ne_bytes())).unwrap();
        assert_eq!(answer(&mut kernel), (3, -(Errno::EINTR as i32), vec![]), "who asked is gone");
        assert_eq!(serve.waited(), None);
        kernel.write_all(&asked::read(5, 400_000, 512)).unwrap();
        assert_eq!(answer(&mut kernel), (5, 0, vec![]), "behind the end");
        kernel.write_all(&asked::read(6, 0, MAX_READ + 1)).unwrap();
        assert_eq!(answer(&mut kernel).1, -(Errno::EINVAL as i32));
    }

    /// A process that dies takes none of them with it: neither those that wait, nor the one that it was just about to heed.
    #[test]
    fn what_one_process_has_left_the_next_one_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reads");
        let first = Kept::new(&path).unwrap();
        first.table.take(3, 41, &(1000..2000));
        first.table.take(9, 42, &(290_000..300_000));
        let unheeded = asked::read(43, 5000, 512);
        first.slot[..unheeded.len()].copy_from_slice(&unheeded);
        let here = Here::default();
        here.0.store(150_000, Ordering::Relaxed);
        let (ours, mut kernel) = device();
        let serve = serve(&here, ours, Kept::left(&path).unwrap());
        let (a, b) = (answer(&mut kernel), answer(&mut kernel));
        assert_eq!((a.0, a.1, a.2.len(), b.0, b.1, b.2.len()), (41, 0, 1000, 43, 0, 512));
        assert!(serve.waited().is_some());
        assert!(here.1.lock().unwrap().contains(&(290_000..300_000)));
        here.0.store(300_000, Ordering::Relaxed);
        serve.look();
        assert_eq!(answer(&mut kernel).0, 42);
        while !Kept::left(&path).unwrap().table.taken().is_empty() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn when_nothing_more_comes_nobody_waits() {
        let here = Here::default();
        let (serve, mut kernel) = served(&here);
        kernel.write_all(&asked::read(1, 0, 512)).unwrap();
        while serve.waited().is_none() {
            std::thread::yield_now();
        }
        serve.give_up("no peers".into());
        assert_eq!(answer(&mut kernel), (1, -(Errno::EIO as i32), vec![]));
        kernel.write_all(&asked::read(2, 0, 512)).unwrap();
        assert_eq!(answer(&mut kernel).1, -(Errno::EIO as i32));
        assert_eq!(serve.end().as_deref(), Some("no peers"));
    }

    #[test]
    fn what_else_is_asked_is_answered() {
        let (_serve, mut kernel) = served(&Here::default());
        for (opcode, error, len) in
            [(3, 0, 104), (14, 0, 16), (17, 0, 80), (18, 0, 0), (25, 0, 0), (16, 38, 0)]
        {
            kernel.write_all(&asked::ask(opcode, 5, &[0; 64])).unwrap();
            let (unique, e, bytes) = answer(&mut kernel);
            assert_eq!((unique, e, bytes.len()), (5, -error, len), "{opcode}");
        }
        kernel.write_all(b"nonsense").unwrap();
        kernel.write_all(&asked::ask(2, 0, &[0; 8])).unwrap();
        kernel.write_all(&asked::ask(3, 6, &[])).unwrap();
        assert_eq!(answer(&mut kernel).0, 6, "nothing was said to the others");
    }
}
