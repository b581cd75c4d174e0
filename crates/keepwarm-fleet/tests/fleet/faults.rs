//! Faults while a load runs: of the server, of a disk, of the order of messages. Nothing is lost.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt;

use crate::common::*;

/// Killed in the middle of the load, and started again when all loads are over.
#[test]
fn results_come_after_the_server_is_back() {
    if !can_run() {
        return;
    }
    for program in nats_servers() {
        let (mut nats, server) = (Nats::of(&program), server());
        let patient = [&LOOPBACK[..], &["--orphan", "60s"]].concat();
        let _workers = [nats.worker("w1", &patient), nats.worker("w2", &patient)];
        let load = ["--run", "r", "--workers", "2", "--", "-z", "3s", "-c", "4"];
        let mut run = Watched::start(nats.run(&load).arg(server.url()));
        run.until("all workers are running");
        nats.kill();
        let records = ["r-w1.json", "r-w2.json"].map(|name| nats.directory.join(name));
        wait_for("records of both loads", || records.iter().all(|one| one.exists()).then_some(()));
        nats.restart();
        let (code, said) = run.end();
        let record = nats.record();
        assert!(is_good(code, &record), "{code:?} {said}");
        assert_eq!(record.merged.as_ref().unwrap().parts.len(), 2, "{said}");
        assert!(record.elapsed_s >= 3.0, "the load went on: {}", record.elapsed_s);
        assert_eq!(record.requests.completed, server.finish().requests);
    }
}

/// A server that is stopped passes on no frame; that is no silence of the workers.
#[test]
fn frozen_server_loses_no_worker() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let patient = [&LOOPBACK[..], &["--orphan", "60s"]].concat();
    let _workers = [nats.worker("w1", &patient), nats.worker("w2", &patient)];
    let load = ["--workers", "2", "--", "-z", "14s", "-c", "2"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    nats.signal("-STOP");
    // Silence itself is the subject: longer than that which loses a worker.
    std::thread::sleep(Duration::from_secs(6));
    nats.signal("-CONT");
    let (code, said) = run.end();
    let record = nats.record();
    assert!(is_good(code, &record), "{code:?} {said}");
    assert_eq!(record.requests.completed, server.finish().requests);
}

/// Without a server a load goes on for --orphan, and its record stays.
#[test]
fn orphan_ends_and_keeps_its_record() {
    if !can_run() {
        return;
    }
    let (mut nats, server) = (Nats::start(), server());
    let mut worker = nats.worker("w1", &[&LOOPBACK[..], &["--orphan", "1s"]].concat());
    let load = ["--run", "r", "--", "-z", "120s", "-c", "2"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    nats.kill();
    wait_for("end of the load", || worker.said().contains("--orphan").then_some(()));
    let path = nats.directory.join("r-w1.json");
    wait_for("record", || path.exists().then_some(()));
    assert_eq!(read_record(&path).requests.completed, server.finish().requests);
    // The second signal ends a worker that still offers its result; two that come at once are one.
    let code = wait_for("end of the worker", || {
        worker.child.signal("-INT");
        worker.child.0.try_wait().unwrap()
    });
    let said = worker.said();
    assert!(said.contains("cannot be sent") && said.contains("r-w1.json"), "{code:?} {said}");
}

/// One result three times more, before another one that is late.
#[test]
fn repeated_results_count_once() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let (_quick, late) = (nats.worker("w1", &LOOPBACK), nats.worker("w2", &LOOPBACK));
    let load = ["--run", "r", "--workers", "2", "--", "-z", "2s", "-c", "4"];
    let (code, said) = with_client(&nats.url, async |client| {
        let mut results = client.subscribe("keepwarm.r.results.*").await.unwrap();
        client.flush().await.unwrap();
        let mut run = Watched::start(nats.run(&load).arg(server.url()));
        run.until("all workers are running");
        late.child.signal("-STOP");
        let first = tokio::time::timeout(PATIENCE, results.next()).await.unwrap().unwrap();
        assert!(first.subject.ends_with(".w1"));
        let jetstream = jetstream::new(client.clone());
        for _ in 0..3 {
            // Without the id, by which the server would drop them.
            let again = jetstream.publish(first.subject.clone(), first.payload.clone()).await;
            again.unwrap().await.unwrap();
        }
        late.child.signal("-CONT");
        run.end()
    });
    let record = nats.record();
    assert!(is_good(code, &record), "{code:?} {said}");
    assert_eq!(record.merged.as_ref().unwrap().parts.len(), 2);
    assert_eq!(record.requests.completed, server.finish().requests);
}

/// A command that runs with a full disk of 64 KiB at `place`.
fn on_full_disk(place: &std::path::Path) -> Command {
    std::fs::create_dir_all(place).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=64k small \"$0\" && \
                  { head -c 60000 /dev/zero >\"$0/full\"; head -c 9000 /dev/zero >>\"$0/full\" 2>/dev/null; \
                  exec \"$@\"; }";
    command.args(["--mount", "sh", "-c", script]).arg(place).arg(program());
    command.process_group(0);
    command
}

#[test]
fn full_disk_of_a_worker_loses_nothing() {
    if !can_run() || !is_root() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let place = nats.directory.join("small");
    let directory = place.display().to_string();
    let more = [&LOOPBACK[..], &["--once", "--directory", &directory]].concat();
    let worker = nats.worker_by(on_full_disk(&place), "w1", &more);
    let _other = nats.worker("w2", &LOOPBACK);
    let load = ["--workers", "2", "--", "-n", "300", "-c", "4"];
    let output = nats.run(&load).arg(server.url()).output().unwrap();
    let record = nats.record();
    let told = said(&output);
    assert!(is_good(output.status.code(), &record), "{told}");
    assert_eq!(record.requests.completed, 300, "{told}");
    assert_eq!(server.finish().requests, 300);
    assert!(told.contains("worker w1") && told.contains("No space left"), "{told}");
    let (code, told) = worker.end();
    assert_eq!(code, Some(9), "{told}");
    assert!(told.contains("No space left"), "{told}");
}

#[test]
fn full_disk_of_the_coordinator_loses_nothing() {
    if !can_run() || !is_root() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let _worker = nats.worker("w1", &LOOPBACK);
    let place = nats.directory.join("small");
    let mut command = on_full_disk(&place);
    command.args(["run", "--nats", &nats.url, "--run", "r", "--output"]);
    command.arg(place.join("run.json")).env("TMPDIR", &nats.directory);
    let output = command.args(["--", "-n", "200", "-c", "2", &server.url()]).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(9), "{told}");
    let kept = nats.directory.join("run-r.json");
    assert!(told.contains("No space left"), "{told}");
    assert!(told.contains(&kept.display().to_string()), "{told}");
    assert_eq!(read_record(&kept).requests.completed, 200);
}

/// A record that is too large for a message goes through the store of objects.
#[test]
fn large_record_goes_through_the_store() {
    if !can_run() {
        return;
    }
    for program in nats_servers() {
        let (nats, server) = (Nats::of(&program), server());
        // Text that does not pack well, as the place that a redirect names.
        let mut text = String::new();
        let mut state = 1_u64;
        while text.len() < 1_500_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text += &format!("{:x}", state >> 16);
        }
        let large = nats.directory.join("large");
        std::fs::write(&large, &text).unwrap();
        let script = r#""$real" "$@"; code=$?
            case "$*" in *--live-lines*) { printf '{"location":"'; cat "$LARGE"; printf '",'; tail -c +2 "$RECORD"; } >"$RECORD.new"
                mv "$RECORD.new" "$RECORD";; esac
            exit $code"#;
        let mut command = Command::new(other_keepwarm(script));
        command.env("LARGE", &large).env("RECORD", nats.directory.join("r-w1.json"));
        let _worker = nats.worker_by(command, "w1", &LOOPBACK);
        let load = ["--run", "r", "--", "-n", "100", "-c", "2"];
        let output = nats.run(&load).arg(server.url()).output().unwrap();
        let record = nats.record();
        assert!(is_good(output.status.code(), &record), "{}", said(&output));
        assert_eq!(record.location.as_ref().map(String::len), Some(text.len()));
        assert_eq!(record.requests.completed, 100);
    }
}
