//! `keepwarm watch` as user nobody and as root, before connections that were opened and closed in
//! every way, by the thousand: each is told for what it was, and the kernel's own counters come to
//! the same. Root is also told whose each was, and why it was reset.
//!
//! `loopback` has both ends in one network namespace, where both are seen and each helps to judge
//! the other; `wire` has them in two, as between hosts, where each is judged alone.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod counters;
mod loopback;
mod wire;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keepwarm_testkit::churn::{Truth, Way};
use keepwarm_testkit::namespace::Namespace;
use serde_json::Value;

use crate::common::{finish, keepwarm, kill};

const NOBODY: &str = "65534";

/// A trace is of the whole host: of two tests at once each would have what the other does in its
/// buffers as well, and on a busy machine they would not hold it.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ends of a connection, in the order of the equations.
const SIDES: [&str; 2] = ["client", "server"];

/// The program where nobody may read it; removed with the test.
struct Copy(PathBuf);

impl Copy {
    fn make() -> Copy {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("keepwarm-nobody-{}-{number}", std::process::id());
        let to = std::env::temp_dir().join(name);
        std::fs::copy(env!("CARGO_BIN_EXE_keepwarm"), &to).unwrap();
        Copy(to)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn as_nobody(program: &Copy) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set=-all"])
        .args(["--pdeathsig", "TERM"])
        .arg(&program.0);
    command
}

/// Both watches of one namespace, of everything in it.
struct Watches([Child; 2]);

impl Watches {
    /// Returns when both windows have begun.
    fn start(namespace: &Namespace, program: &Copy) -> Watches {
        let start = |command| namespace.inside(|| Ok(watch(command))).unwrap();
        Watches([start(as_nobody(program)), start(keepwarm())])
    }

    /// What each has seen: at level L1, and at L2.
    fn finish(self) -> [Value; 2] {
        let documents = self.0.map(document);
        let [nobody, root] = &documents;
        assert_eq!(nobody["level"], "L1");
        assert!(nobody["level_refused"].is_string(), "it says why it is not L2: {nobody:#}");
        // The first one also saw how the second tried the classifier's rules out; a trace names all.
        assert!(root["level"] == "L1" || root["unattributed_aborts"] == 0, "{root:#}");
        documents
    }
}

fn watch(mut command: Command) -> Child {
    let mut child = command
        .args(["watch", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    child.stderr = Some(stderr.into_inner());
    assert!(line.starts_with("watching"), "{line}");
    child
}

fn document(watch: Child) -> Value {
    kill(watch.id(), "INT");
    let output = finish(watch);
    output.exits_with(0);
    serde_json::from_str(&output.stdout).unwrap()
}

/// The end of a service's connections; none where nothing was seen of it.
fn end<'a>(document: &'a Value, port: u16, side: &str) -> Option<&'a Value> {
    let suffix = format!(":{port}");
    let all = document["destinations"].as_array().unwrap().iter();
    let mut ends = all.filter(|one| {
        one["side"] == side
            && one["remote"].as_str().is_some_and(|remote| remote.ends_with(&suffix))
    });
    let found = ends.next();
    assert!(ends.next().is_none(), "{document:#}");
    found
}

/// How an end's connections ended, by the names of the JSON; what is not there is 0.
type ConnectionCloses = BTreeMap<&'static str, u64>;

/// What an end of connections closed in `way` has to be told as, where both ends are seen.
fn expected(side: &str, way: Way, truth: &Truth) -> ConnectionCloses {
    let client = side == "client";
    let pick = |ours: u64, theirs: u64| if client { (ours, theirs) } else { (theirs, ours) };
    let fin = pick(truth.client_fin, truth.server_fin);
    let rst = pick(truth.client_rst, truth.server_rst);
    let unread = if client { Way::ClientUnread } else { Way::ServerUnread } == way;
    let (undrained, local_rst) = if unread { (rst.0, 0) } else { (0, rst.0) };
    closes(&[
        ("local_fin", fin.0 + truth.crossed_fin),
        ("remote_fin", fin.1),
        ("local_rst", local_rst),
        ("remote_rst", rst.1),
        ("undrained", undrained),
    ])
}

fn closes(counts: &[(&'static str, u64)]) -> ConnectionCloses {
    counts.iter().copied().filter(|(_, count)| *count > 0).collect()
}

/// One service, what was done to it, and what each end is to be told as.
#[derive(Default)]
struct Played {
    what: String,
    port: u16,
    opened: u64,
    ends: [ConnectionCloses; 2],
    /// At level L1, on that side, these may be told as those.
    alike: Vec<(&'static str, [&'static str; 2])>,
}

impl Played {
    /// What an end's closes were told as.
    fn told<'a>(&self, end: &'a Value) -> BTreeMap<&'a str, u64> {
        let all = end["closed"].as_object().unwrap().iter();
        let counts = all.map(|(kind, count)| (kind.as_str(), count.as_u64().unwrap()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    #[track_caller]
    fn check(&self, document: &Value, side: &str) {
        let index = SIDES.iter().position(|one| *one == side).unwrap();
        let (level, what) = (&document["level"], &self.what);
        let Some(end) = end(document, self.port, side) else {
            panic!("{what}: no {side} at {level}: {document:#}")
        };
        let mut told = self.told(end);
        for (of, [was, as_told]) in &self.alike {
            if *of == side && level == "L1" {
                let alike = told.remove(as_told);
                alike.into_iter().for_each(|count| *told.entry(was).or_default() += count);
            }
        }
        assert_eq!(told, self.ends[index], "{what}: {side} at {level}: {end:#}");
        assert_eq!(end["opened"], self.opened, "{what}: {side} at {level}: {end:#}");
    }
}

/// What holds of any window: nothing was lost, nothing is left to guess.
#[track_caller]
fn check_whole(document: &Value) {
    assert_eq!(document["lost_events"], 0);
    assert_eq!(document["broken_rules"], Value::Array(Vec::new()));
}
