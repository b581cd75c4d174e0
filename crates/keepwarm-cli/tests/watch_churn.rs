//! `keepwarm watch` as user nobody and as root, in a network namespace of its own, before
//! connections that were opened and closed in every way, by the thousand: each is told for what it
//! was, from both ends, and the kernel's own counters come to the same. Root is also told whose
//! each was, and why it was reset.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use keepwarm_sockets::Counters;
use keepwarm_testkit::churn::{Family, Truth, Upstream, Way};
use keepwarm_testkit::skipped;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::common::{finish, keepwarm, kill};

/// Connections of each way over each family.
const N: u64 = 150;
const NOBODY: &str = "65534";

/// A process that keeps a namespace alive.
struct Namespace(Child);

impl Namespace {
    /// Makes one and moves this thread, and all that it starts, into it.
    fn enter() -> Namespace {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let read = BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line);
        let namespace = Namespace(keeper);
        read.unwrap();
        assert_eq!(line, "up\n");
        let file = File::open(format!("/proc/{}/ns/net", namespace.0.id())).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program where nobody may read it; removed with the test.
struct Copy(PathBuf);

impl Copy {
    fn make() -> Copy {
        let to = std::env::temp_dir().join(format!("keepwarm-nobody-{}", std::process::id()));
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
        .arg(&program.0);
    command
}

fn watch(mut command: Command, port: u16) -> Child {
    let mut child = command
        .args(["watch", &format!(":{port}"), "--format", "json"])
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

fn count(destination: &Value, kind: &str) -> u64 {
    destination["closed"][kind].as_u64().unwrap()
}

#[test]
fn nobody_and_root_are_told_of_every_way_of_closing_by_the_thousand() {
    if std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap()
        != 0
    {
        skipped::because("making a network namespace takes root");
        return;
    }
    let program = Copy::make();
    let _namespace = Namespace::enter();
    for family in Family::ALL {
        let mut upstream = Upstream::listen(family).unwrap();
        let nobody = watch(as_nobody(&program), upstream.port());
        let root = watch(keepwarm(), upstream.port());
        let before = Counters::read().unwrap();
        let mut truth = Truth::default();
        for way in Way::ALL {
            truth += upstream.play(way, N, 1).unwrap();
        }
        let after = Counters::read().unwrap().since(&before);
        // Nobody else is in this namespace: its counters are these connections.
        assert_eq!(
            (after.active_opens, after.passive_opens),
            (Some(truth.opened), Some(truth.opened))
        );
        let (nobody, root) = (document(nobody), document(root));
        assert_eq!(nobody["level"], "L1");
        assert!(nobody["refused"].as_str().unwrap().contains("root"), "{nobody:#}");
        // The first one did not see how the second tried the classifier's rules out.
        for document in [&nobody, &root] {
            assert_eq!(document["unattributed_aborts"], 0);
        }
        for document in [&nobody, &root] {
            check_closes(document, &truth, family);
        }
        if let Some(refused) = root["refused"].as_str() {
            skipped::because(&format!("L2: {refused}"));
        } else {
            check_traces(&root, &truth);
        }
    }
}

fn end<'a>(document: &'a Value, side: &str) -> &'a Value {
    let all = document["destinations"].as_array().unwrap().iter();
    let ends: Vec<&Value> = all.filter(|one| one["side"] == side).collect();
    let [end] = ends[..] else { panic!("{document:#}") };
    end
}

fn check_closes(document: &Value, truth: &Truth, family: Family) {
    assert_eq!(document["lost_events"], 0);
    for side in ["client", "server"] {
        let end = end(document, side);
        let (fin, rst) = match side {
            "client" => {
                ((truth.client_fin, truth.server_fin), (truth.client_rst, truth.server_rst))
            }
            _ => ((truth.server_fin, truth.client_fin), (truth.server_rst, truth.client_rst)),
        };
        let context = format!("{family:?} {truth:?} {end:#}");
        assert_eq!(end["opened"], truth.opened, "{context}");
        assert_eq!(count(end, "local_fin"), fin.0 + truth.crossed_fin, "{context}");
        assert_eq!(count(end, "remote_fin"), fin.1, "{context}");
        assert_eq!(count(end, "undrained"), N, "{context}");
        assert_eq!(count(end, "local_rst"), rst.0 - N, "{context}");
        assert_eq!(count(end, "remote_rst"), rst.1, "{context}");
        assert_eq!(count(end, "unclassified"), 0, "{context}");
    }
}

/// Every client's end is traced to this process; one way of closing of each end leaves data unread.
fn check_traces(document: &Value, truth: &Truth) {
    assert_eq!((&document["level"], &document["lost_trace_events"]), (&"L2".into(), &0.into()));
    let client = end(document, "client");
    let owner = &client["owners"][0];
    assert_eq!((&owner["pid"], &owner["share"]), (&std::process::id().into(), &1.0.into()));
    assert_eq!(owner["how"], "tracepoint", "{client:#}");
    for side in ["client", "server"] {
        let end = end(document, side);
        let reasons = end["resets"]["reasons"].as_object().unwrap();
        let named: u64 = reasons.values().map(|count| count.as_u64().unwrap()).sum();
        assert!(named >= truth.client_rst + truth.server_rst, "{end:#}");
        assert!(reasons["TCP_ABORT_ON_CLOSE"].as_u64().unwrap() >= 2 * N, "{end:#}");
        assert!(end["lifetime_ms"]["max"].as_u64().is_some(), "{end:#}");
    }
    assert_eq!(client["resets"]["after_fin"], N, "{client:#}");
}
