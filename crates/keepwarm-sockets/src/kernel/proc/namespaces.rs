//! The network namespaces of this host: those that processes are in, and those with a name of
//! `ip netns`.
//!
//! Owns the search for them. Enters none. A namespace that only a descriptor keeps alive is not found.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::process;

/// Where `ip netns` keeps names (ip-netns(8)).
const NAMED: &str = "/run/netns";
/// Names that are read.
const MAX_NAMES: usize = 1 << 12;
/// Searches in which a process is read after its start: a runtime moves a process soon, if at all.
const YOUNG: u32 = 3;
/// An older process is read in one search of 16.
const SELDOM: u32 = 16;

/// A namespace, and a file by which it can be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) name: Option<String>,
}

/// Searches again and again, and remembers where processes are.
#[derive(Debug, Default)]
pub(crate) struct NamespaceSearch {
    /// The namespace of each process, and how often it was read.
    processes: HashMap<u32, (u64, u32)>,
    searches: u32,
    /// Processes and names as of the last listing, and what the kernel said of births and deaths before it.
    pids: Vec<u32>,
    names: Vec<(u64, String, PathBuf)>,
    listed_at: Option<Births>,
    /// Processes of the last search whose namespace may not be read.
    pub(crate) unreadable: u64,
}

impl NamespaceSearch {
    /// Returns the namespaces by inode.
    pub(crate) fn find(&mut self) -> HashMap<u64, Place> {
        self.searches = self.searches.wrapping_add(1);
        self.unreadable = 0;
        self.list();
        let pids = std::mem::take(&mut self.pids);
        let mut places = HashMap::new();
        let mut processes = HashMap::with_capacity(pids.len());
        for &pid in &pids {
            let known = self.processes.get(&pid).copied();
            let is_settled = |(_, read): &(u64, u32)| {
                *read >= YOUNG && !self.searches.wrapping_add(pid).is_multiple_of(SELDOM)
            };
            let found = match known.filter(is_settled) {
                Some(known) => Some(known),
                None => self.read(pid).map(|inode| (inode, known.map_or(1, |(_, read)| read + 1))),
            };
            let Some((inode, read)) = found else { continue };
            processes.insert(pid, (inode, read));
            places.entry(inode).or_insert_with(|| Place { path: path(pid), name: None });
        }
        (self.processes, self.pids) = (processes, pids);
        for (inode, name, path) in &self.names {
            let place = Place { path: path.clone(), name: Some(name.clone()) };
            places.insert(*inode, place);
        }
        places
    }

    /// Lists processes and names anew, unless no process was born and none has died since: a listing
    /// costs more than everything else here, and a name is given by a process that is started for it.
    fn list(&mut self) {
        let births = Births::read();
        if births.is_some() && births == self.listed_at && !self.searches.is_multiple_of(SELDOM) {
            return;
        }
        self.listed_at = births;
        (self.pids, self.names) = (process::pids(), named(Path::new(NAMED)));
    }

    fn read(&mut self, pid: u32) -> Option<u64> {
        match fs::read_link(path(pid)) {
            Ok(link) => inode(link.to_str()?),
            Err(error) => {
                let is_denied = error.kind() == std::io::ErrorKind::PermissionDenied;
                self.unreadable += u64::from(is_denied);
                None
            }
        }
    }
}

/// Number of threads on the host, and the id given last: if both stay, no thread was born and none died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Births {
    threads: u64,
    last: u64,
}

impl Births {
    fn read() -> Option<Births> {
        Births::parse(&fs::read_to_string("/proc/loadavg").ok()?)
    }

    /// Parses `0.20 0.18 0.12 1/80 11206` (proc_loadavg(5)).
    fn parse(text: &str) -> Option<Births> {
        let mut fields = text.split_whitespace().skip(3);
        let threads = fields.next()?.split_once('/')?.1.parse().ok()?;
        Some(Births { threads, last: fields.next()?.parse().ok()? })
    }
}

fn path(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

/// Reads `net:[4026531840]`.
pub(crate) fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Returns the namespaces that have a name in a folder: inode, name and path.
fn named(folder: &Path) -> Vec<(u64, String, PathBuf)> {
    let Ok(own) = fs::metadata("/proc/self/ns/net") else { return Vec::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().take(MAX_NAMES).flatten();
    let is_namespace = |path: &PathBuf| {
        // A name that was left behind is an empty file on another file system.
        let metadata = fs::metadata(path).ok()?;
        (metadata.dev() == own.dev()).then(|| metadata.ino())
    };
    let found = entries.filter_map(|entry| {
        let (path, name) = (entry.path(), entry.file_name().into_string().ok()?);
        Some((is_namespace(&path)?, name, path))
    });
    found.collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use keepwarm_testkit::namespace::Namespace;
    use keepwarm_testkit::skipped;

    use super::*;
    use crate::kernel::proc::identity::network_namespace;

    #[test]
    fn namespaces_come_and_go() {
        let own = network_namespace().expect("procfs");
        let mut search = NamespaceSearch::default();
        assert!(search.find().contains_key(&own));
        let namespace = match Namespace::make() {
            Ok(namespace) => namespace,
            Err(error) => return skipped::because(&error.to_string()),
        };
        let inside = || Ok(network_namespace().expect("procfs"));
        let other = namespace.inside(inside).expect("entered");
        assert!(search.find().contains_key(&other));
        // A descriptor keeps the inode, which another namespace would get, and no place to find.
        let _held =
            namespace.inside(|| fs::File::open("/proc/thread-self/ns/net")).expect("procfs");
        drop(namespace);
        for _ in 0..2 * SELDOM {
            assert!(search.find().contains_key(&own), "an old process is remembered");
        }
        assert!(!search.find().contains_key(&other), "its process has ended");
    }

    #[test]
    fn birth_and_death_are_told() {
        let read = |text| Births::parse(text);
        let before = read("0.20 0.18 0.12 1/80 11206\n");
        assert_eq!(before, Some(Births { threads: 80, last: 11_206 }));
        assert_eq!(before, read("1.20 0.18 0.12 3/80 11206"), "load is neither");
        assert_ne!(before, read("0.20 0.18 0.12 1/79 11206"), "a death");
        assert_ne!(before, read("0.20 0.18 0.12 1/80 11207"), "a birth and a death");
        for garbled in ["", "0.20 0.18 0.12", "0.20 0.18 0.12 80 11206", "a b c 1/x 3"] {
            assert_eq!(read(garbled), None, "{garbled}");
        }
        assert!(Births::read().is_some());
    }

    #[test]
    fn only_namespaces_have_names() {
        let folder = std::env::temp_dir().join(format!("keepwarm-names-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("left-behind"), "").expect("a file");
        assert_eq!(named(&folder), Vec::new());
        assert_eq!(named(Path::new("/nowhere")), Vec::new());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
