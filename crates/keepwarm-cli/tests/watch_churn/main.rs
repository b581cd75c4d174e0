//! `keepwarm watch` as an unprivileged user (uid 65534) and as root, of thousands of connections
//! that were opened and closed in every way: each is classified correctly, and the sums equal the
//! kernel's own counters. Root also sees the owner of each connection, and why it was reset.
//!
//! `loopback` has both sockets in one network namespace, where each helps to judge the other;
//! `wire` has them in two, as between hosts, where each is judged alone.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod counters;
mod loopback;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keepwarm_testkit::churn::{Truth, Way};
use keepwarm_testkit::namespace::Namespace;
use serde_json::Value;

use crate::common::{end_watch, keepwarm, start_watch};

const NOBODY: &str = "65534";

/// Makes tests take turns. A trace is of the whole host: two tests at once would have the events of
/// both in their buffers, and on a busy machine those would overflow.
static TURN: Mutex<()> = Mutex::new(());

fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sides of a connection, in the order of the equations.
const SIDES: [&str; 2] = ["client", "server"];

/// A copy of the program that an unprivileged user may read; removed with the test.
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

/// Two watches of everything in one namespace: one unprivileged, one as root.
struct Watches([Child; 2]);

impl Watches {
    /// Returns when both windows have begun.
    fn start(namespace: &Namespace, program: &Copy) -> Watches {
        let start = |command| namespace.inside(|| Ok(watch(command))).unwrap();
        Watches([start(as_nobody(program)), start(keepwarm())])
    }

    /// Returns the record of each: at level L1, and at L2.
    fn finish(self) -> [Value; 2] {
        let documents = self.0.map(end_watch);
        let [nobody, root] = &documents;
        assert_eq!(nobody["level"], "L1");
        assert!(nobody["level_refused"].is_string(), "it says why it is not L2: {nobody:#}");
        // The first watch also saw the self-test of the second; a trace names every abort.
        assert!(root["level"] == "L1" || root["unattributed_aborts"] == 0, "{root:#}");
        documents
    }
}

fn watch(mut command: Command) -> Child {
    start_watch(command.args(["watch", "--format", "json"]))
}

/// Finds the row of a service from one side; `None` where nothing was seen of it.
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

/// Closes from one side, by the keys of the JSON, without those that are 0.
type ConnectionCloses = BTreeMap<&'static str, u64>;

/// Returns the closes that a report has to have from one side, where both sockets are seen.
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

/// A service, the closes that were played on it, and the report that is expected.
#[derive(Default)]
struct Played {
    what: String,
    port: u16,
    opened: u64,
    ends: [ConnectionCloses; 2],
    /// Kinds that level L1 may confuse, by side: the true one and the reported one.
    alike: Vec<(&'static str, [&'static str; 2])>,
}

impl Played {
    /// Returns the closes that a row reports, each once: `crossed_fin` is a part of `local_fin`.
    fn told<'a>(&self, end: &'a Value) -> BTreeMap<&'a str, u64> {
        let all = end["closed"].as_object().unwrap().iter();
        let counts = all.map(|(kind, count)| (kind.as_str(), count.as_u64().unwrap()));
        counts.filter(|(kind, count)| *count > 0 && *kind != "crossed_fin").collect()
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

/// Checks that no event and no trace was lost, and that the self-test passed.
#[track_caller]
fn check_whole(document: &Value) {
    assert_eq!(document["lost_events"], 0);
    let lost_traces = document["lost_trace_events"].as_u64().unwrap_or(0);
    assert_eq!(lost_traces, 0, "the machine is too busy to read every trace");
    assert_eq!(document["broken_rules"], Value::Array(Vec::new()));
}
