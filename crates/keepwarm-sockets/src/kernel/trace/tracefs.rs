//! A private instance of tracefs: created, set up, read, and removed on drop.
//!
//! Owns the files below `/sys/kernel/tracing/instances/keepwarm-<pid>-<n>`. Touches no other
//! tracing of the host: an instance has its own events, filters and rings. Decodes nothing.
//!
//! A process that is killed outright leaves its instance behind; the next trace that starts removes
//! it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::LayoutTexts;
use crate::error::{Error, Operation};
use crate::kernel::sys::open_nonblocking;

/// Start of an instance's name, before the process id.
const PREFIX: &str = "keepwarm-";
/// Memory of all rings together, then the least and the most of one ring: 4 MB hold some 50,000
/// events.
const RINGS_KB: usize = 64 << 10;
const RING_KB: (usize, usize) = (256, 4 << 10);
/// Maximum number of CPUs whose rings are read.
const MAX_CPUS: usize = 1 << 12;
/// Largest page of a ring, which is a page of the machine.
const MAX_PAGE: usize = 64 << 10;
/// Largest text that is read; `saved_tgids` of a busy host is the longest.
const MAX_TEXT: usize = 4 << 20;
/// Maximum number of names tried for an instance.
const MAX_NAMES: u32 = 64;
/// Attempts to remove an instance that another process has still open, and the pause between them.
const REMOVALS: u32 = 10;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

const SET_STATE: &str = "events/sock/inet_sock_set_state";
const SEND_RESET: &str = "events/tcp/tcp_send_reset";
const RECEIVE_RESET: &str = "events/tcp/tcp_receive_reset";
/// Filter of state changes: TCP sockets that enter ESTABLISHED, SYN_SENT, FIN_WAIT1, CLOSE or
/// LAST_ACK.
const STATES: &str = "protocol == 6 && (newstate == 1 || newstate == 2 || newstate == 4 || \
                      newstate == 7 || newstate == 9)";

/// Number of the next instance of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Instance of tracefs. Dropping it removes its directory.
#[derive(Debug)]
pub(super) struct Instance {
    tracefs: PathBuf,
    path: PathBuf,
    rings: Vec<File>,
    /// Number of pages in one ring.
    pages: usize,
    buffer: Vec<u8>,
}

impl Instance {
    /// Creates an instance and enables the events of `port`, or of every port.
    pub(super) fn create(port: Option<u16>) -> Result<(Instance, LayoutTexts), Error> {
        let failed = |error: io::Error| Error::io(Operation::Trace, &error);
        let tracefs = tracefs().ok_or_else(|| {
            let why = "tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)";
            Error::unsupported(Operation::Trace, why)
        })?;
        reap(&tracefs.join("instances"));
        let path = create_directory(&tracefs.join("instances")).map_err(failed)?;
        let (rings, buffer) = (Vec::new(), vec![0; MAX_PAGE]);
        // From here on, dropping the instance removes the directory.
        let mut instance = Instance { tracefs, path, rings, pages: 0, buffer };
        let texts = instance.set_up(port).map_err(failed)?;
        Ok((instance, texts))
    }

    fn set_up(&mut self, port: Option<u16>) -> io::Result<LayoutTexts> {
        let rings: Vec<PathBuf> = fs::read_dir(self.path.join("per_cpu"))?
            .flatten()
            .map(|cpu| cpu.path().join("trace_pipe_raw"))
            .take(MAX_CPUS)
            .collect();
        let size_kb = (RINGS_KB / rings.len().max(1)).clamp(RING_KB.0, RING_KB.1);
        // A page of the kernel has 4 kB or more.
        self.pages = size_kb / 4;
        self.write("trace_clock", "mono")?;
        self.write("buffer_size_kb", &size_kb.to_string())?;
        // Keeps the processes of threads that end before they are looked up.
        let _ = self.write("options/record-tgid", "1");
        let texts = LayoutTexts {
            page: self.read_text("events/header_page")?,
            state: self.read_text(&format!("{SET_STATE}/format"))?,
            sent: self.read_text(&format!("{SEND_RESET}/format")).unwrap_or_default(),
            received: self.read_text(&format!("{RECEIVE_RESET}/format")).unwrap_or_default(),
        };
        // A CPU that is offline has no ring to open.
        self.rings = rings.iter().filter_map(|path| open_nonblocking(path).ok()).collect();
        let of_port = |port: u16| format!("(sport == {port} || dport == {port})");
        let states =
            port.map_or(STATES.to_owned(), |port| format!("{STATES} && {}", of_port(port)));
        self.write(&format!("{SET_STATE}/filter"), &states)?;
        if let Some(port) = port {
            let _ = self.write(&format!("{RECEIVE_RESET}/filter"), &of_port(port));
        }
        self.write(&format!("{SET_STATE}/enable"), "1")?;
        // A refusal costs only the reasons of resets.
        let _ = self.write(&format!("{SEND_RESET}/enable"), "1");
        let _ = self.write(&format!("{RECEIVE_RESET}/enable"), "1");
        Ok(texts)
    }

    /// Returns the number of rings: one for each CPU.
    pub(super) fn rings(&self) -> usize {
        self.rings.len()
    }

    /// Returns the most pages of a ring that one reading takes. Those beyond two full rings were
    /// written during it, and the next one reads them.
    pub(super) fn most_pages(&self) -> usize {
        2 * self.pages
    }

    /// Hands at most `pages` available pages of one ring to `with`, without waiting. Returns how many
    /// there were.
    pub(super) fn drain(
        &mut self,
        ring: usize,
        pages: usize,
        mut with: impl FnMut(&[u8]),
    ) -> usize {
        let mut read = 0;
        while read < pages {
            match self.rings[ring].read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => {
                    read += 1;
                    with(&self.buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        read
    }

    /// Returns the number of events that the kernel has overwritten or dropped, by its own count.
    pub(super) fn lost(&self) -> u64 {
        let stats = |cpu: fs::DirEntry| fs::read_to_string(cpu.path().join("stats")).ok();
        let Ok(cpus) = fs::read_dir(self.path.join("per_cpu")) else { return 0 };
        cpus.flatten()
            .take(MAX_CPUS)
            .filter_map(stats)
            .map(|text| parse_lost(&text))
            .fold(0, u64::saturating_add)
    }

    /// Reads a file of tracefs that all instances share: names and processes of threads.
    pub(super) fn shared_text(&self, name: &str) -> String {
        read_whole(&self.tracefs.join(name)).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        // fs::write would create a missing file.
        io::Write::write_all(
            &mut File::options().write(true).open(self.path.join(name))?,
            text.as_bytes(),
        )
    }

    fn read_text(&self, name: &str) -> io::Result<String> {
        read_whole(&self.path.join(name))
    }
}

/// Reads a file of tracefs. `events/header_page` returns no more than its first read(2) requests,
/// and std requests few bytes of a file without a size.
fn read_whole(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; MAX_PAGE]);
    while bytes.len() < MAX_TEXT {
        match file.read(&mut chunk)? {
            0 => break,
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The kernel keeps an instance while a file of it is open.
        self.rings.clear();
        for _ in 0..REMOVALS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                    std::thread::sleep(REMOVAL_PAUSE);
                }
                _ => return,
            }
        }
    }
}

/// Creates a directory with a new name.
fn create_directory(instances: &Path) -> io::Result<PathBuf> {
    let mut tries = 0..MAX_NAMES;
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = instances.join(format!("{PREFIX}{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            // Left by an earlier process with our id; or in use, in another process namespace.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && tries.next().is_some() => {
                let _ = fs::remove_dir(&path);
            }
            created => return created.map(|()| path),
        }
    }
}

/// Finds the mount point of tracefs.
fn tracefs() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "tracefs").then(|| PathBuf::from(place))
    })
}

/// Removes the instances of processes that have ended.
fn reap(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(owner) else { continue };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            // An instance in use, of another process namespace, cannot be removed and stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Returns the process in the name of an instance of this program, `keepwarm-<pid>-<n>`.
fn owner(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok().and(pid.parse().ok())
}

/// Sums the losses in `per_cpu/cpu<n>/stats`.
fn parse_lost(stats: &str) -> u64 {
    let counts = ["overrun", "commit overrun", "dropped events"];
    let count = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        counts.contains(&name).then(|| value.trim().parse::<u64>().ok())?
    };
    stats.lines().filter_map(count).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    #[test]
    fn only_our_instances_name_an_owner() {
        assert_eq!(
            (owner("keepwarm-12-0"), owner("keepwarm-4194304-7")),
            (Some(12), Some(4_194_304))
        );
        for other in ["keepwarm-", "keepwarm-x-0", "keepwarm-12", "keepwarm-12-", "other-12-0", ""]
        {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn a_stale_name_is_reused_or_skipped() {
        let place = std::env::temp_dir().join(format!("keepwarm-names-{}", std::process::id()));
        let next = NUMBER.load(Ordering::Relaxed);
        for number in next..next + 4 {
            let stale = place.join(format!("{PREFIX}{}-{number}", std::process::id()));
            fs::create_dir_all(stale.join("in use")).unwrap();
        }
        let created = create_directory(&place).unwrap();
        assert_eq!(fs::read_dir(&created).unwrap().count(), 0, "{created:?}");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn three_counts_add_up_to_losses() {
        let stats = "entries: 9\noverrun: 40\ncommit overrun: 2\nbytes: 77\ndropped events: 1\nread events: 5\n";
        assert_eq!(parse_lost(stats), 43);
        assert_eq!(parse_lost("overrun: x\n\n: 3"), 0);
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let _ = parse_lost(&mutate::text(&mut dice, stats));
            let name = mutate::text(&mut dice, "keepwarm-4194304-7");
            assert!(owner(&name).is_none() || name.starts_with(PREFIX), "{name:?}");
        }
        assert_eq!(parse_lost(&format!("overrun: {0}\ndropped events: {0}\n", u64::MAX)), u64::MAX);
    }
}
