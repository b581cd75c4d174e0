//! The course of a run: counts, limits, losses, a second coordinator, signals.

use keepwarm_record::load::{LoadRecord, Trust};
use keepwarm_testkit::http_server::HttpServer;

use crate::common::*;

#[test]
fn local_fleet_counts_as_the_server() {
    if !can_run() {
        return;
    }
    for nats_server in nats_servers() {
        let server = server();
        let path = scratch().join("run.json");
        let mut command = fleet();
        command.env("PATH", nats_server.parent().unwrap());
        command.args(["run", "--local", "3", "--format", "json", "--output"]).arg(&path);
        let output = command.args(["--", "-n", "1001", "-c", "8", &server.url()]).output().unwrap();
        let record: LoadRecord =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert!(is_good(output.status.code(), &record), "{}", said(&output));
        assert_eq!(record.requests.completed, 1001);
        assert_eq!(record.latency_us.count, 1001);
        let merged = record.merged.as_ref().unwrap();
        let counts: Vec<u64> = merged.parts.iter().map(|part| part.completed).collect();
        assert_eq!(counts, [334, 334, 333], "the largest remainder");
        let names: Vec<_> = merged.parts.iter().filter_map(|part| part.worker.clone()).collect();
        assert_eq!(names, ["local-1", "local-2", "local-3"]);
        assert_eq!(record.connections.opened, 8);
        assert_eq!(server.finish().requests, 1001);
        assert_eq!(read_record(&path).requests, record.requests);
    }
}

#[test]
fn assertions_judge_the_merged_record() {
    if !can_run() {
        return;
    }
    let server = server();
    let path = scratch().join("run.json");
    let mut command = fleet();
    command.args(["run", "--local", "2", "--output"]).arg(&path);
    let load = ["--", "-n", "400", "-c", "4", "--assert", "requests.completed>=400", "--assert"];
    // Each part alone has 200.
    let output =
        command.args(load).args(["requests.completed>400", &server.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", said(&output));
}

#[test]
fn worker_refuses_targets_outside_its_list() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let _worker = nats.worker("w1", &["--allow-target", "10.0.0.0/8:*"]);
    let output = nats.run(&["--", "-n", "10", "-c", "1", &server.url()]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("w1") && said.contains("127.0.0.1"), "{said}");
    assert_eq!(server.finish().requests, 0);
}

#[test]
fn worker_refuses_more_than_its_limits() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let limits = ["--allow-target", "127.0.0.0/8:*", "--max-rate", "100", "--max-connections", "5"];
    let _worker = nats.worker("w1", &limits);
    let url = server.url();
    for (load, limit) in [
        (["--rate", "1000", "-z", "1s", "-c", "2", &url].as_slice(), "--max-rate"),
        (&["-n", "100", "-c", "50", &url], "--max-connections"),
    ] {
        let output = nats.run(&["--"]).args(load).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(limit), "{said}");
    }
    assert_eq!(server.finish().requests, 0);
}

#[test]
fn killed_worker_makes_the_run_invalid() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let allowed = ["--allow-target", "127.0.0.0/8:*"];
    let (_kept, mut killed) = (nats.worker("w1", &allowed), nats.worker("w2", &allowed));
    let mut command = nats.run(&["--workers", "2", "--", "--rate", "50", "-z", "20s", "-c", "4"]);
    let mut run = Watched::start(command.arg(server.url()));
    run.until("all workers are running");
    killed.child.0.kill().unwrap();
    let (code, said) = run.end();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("w2") && said.contains("lost"), "{said}");
    let record = nats.record();
    assert!(record.requests.completed > 0, "what the other counted is kept");
}

/// The stopped worker's result comes after all, and the run stays invalid: the others were stopped.
#[test]
fn stopped_worker_makes_the_run_invalid() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let allowed = ["--allow-target", "127.0.0.0/8:*"];
    let (_kept, frozen) = (nats.worker("w1", &allowed), nats.worker("w2", &allowed));
    let load = ["--workers", "2", "--", "--rate", "50", "-z", "12s", "-c", "4"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    frozen.child.signal("-STOP");
    run.until("lost at");
    frozen.child.signal("-CONT");
    let (code, said) = run.end();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("INVALID: worker w2 lost"), "{said}");
}

#[test]
fn second_coordinator_is_refused() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let allowed = ["--allow-target", "127.0.0.0/8:*"];
    let (_one, _two) = (nats.worker("w1", &allowed), nats.worker("w2", &allowed));
    let load = ["--run", "same", "--", "-z", "6s", "-c", "2"];
    let mut first = Watched::start(nats.run(&load).arg(server.url()));
    first.until("workers joined");
    let output = nats.run(&load).arg(server.url()).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("has a coordinator already"), "{told}");
    let (code, told) = first.end();
    assert!(is_good(code, &nats.record()), "{told}");
}

/// The load goes on, and record, report, page and comparison say that a worker is missing.
#[test]
fn tolerated_loss_is_marked_everywhere() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let (_kept, mut killed) = (nats.worker("w1", &LOOPBACK), nats.worker("w2", &LOOPBACK));
    let load = ["--workers", "2", "--tolerate-loss", "1", "--", "-z", "9s", "-c", "4"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    killed.child.0.kill().unwrap();
    let (code, said) = run.end();
    let record = nats.record();
    assert!(is_good(code, &record), "{code:?} {said}");
    let fleet = record.merged.as_ref().and_then(|merged| merged.fleet.as_ref()).unwrap();
    assert_eq!((fleet.workers, fleet.tolerated), (2, 1));
    assert_eq!(fleet.lost.len(), 1, "{fleet:?}");
    assert_eq!(fleet.lost[0].worker, "w2");
    let marks: Vec<u64> = record.timeline.slices.iter().map(|slice| slice.lost_workers).collect();
    let lost_at = fleet.lost[0].at_s as usize;
    assert_eq!(marks[0], 0, "{marks:?}");
    assert!(marks[lost_at..].iter().all(|lost| *lost == 1), "lost at {lost_at} s: {marks:?}");
    assert_ne!(record.verdict.trust, Trust::Trustworthy);

    let path = nats.directory.join("run.json");
    for format in ["text", "html", "json", "csv", "openmetrics"] {
        let mut command = std::process::Command::new(keepwarm());
        let output = command.arg("report").arg(&path).args(["--format", format]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("w2") || !["text", "html", "json"].contains(&format), "{text}");
    }
    let mut command = std::process::Command::new(keepwarm());
    let output = command.arg("compare").arg(&path).arg(&path).output().unwrap();
    assert!(!output.stdout.is_empty(), "{}", crate::common::said(&output));
}

/// Workers that lost their coordinator end by the plan, and keep their records.
#[test]
fn killed_coordinator_loses_no_record() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let mut once = LOOPBACK.to_vec();
    once.push("--once");
    let workers = [nats.worker("w1", &once), nats.worker("w2", &once)];
    let load = ["--run", "r", "--workers", "2", "--", "-z", "3s", "-c", "4"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    run.child.0.kill().unwrap();
    for worker in workers {
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
    }
    let records = ["r-w1.json", "r-w2.json"].map(|name| nats.directory.join(name));
    let mut command = std::process::Command::new(keepwarm());
    let output = command.arg("merge").args(&records).args(["--format", "json"]).output().unwrap();
    let record: LoadRecord = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record.requests.completed, server.finish().requests);
}

#[test]
fn first_interrupt_drains_all_workers() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let _workers = [nats.worker("w1", &LOOPBACK), nats.worker("w2", &LOOPBACK)];
    let load = ["--workers", "2", "--", "-z", "60s", "-c", "4"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    run.child.signal("-INT");
    let (code, said) = run.end();
    assert_eq!(code, Some(130), "{said}");
    let record = nats.record();
    assert_eq!(record.merged.unwrap().parts.len(), 2, "{said}");
    assert_eq!(record.requests.completed, server.finish().requests, "drained");
    assert!(record.elapsed_s < 50.0, "{}", record.elapsed_s);
}

#[test]
fn second_interrupt_ends_at_once() {
    if !can_run() {
        return;
    }
    let nats = Nats::start();
    // Never answers, so that a drain would wait for the time limit.
    let silent = HttpServer::start(|conn| while conn.read_request() {});
    let worker = nats.worker("w1", &["--allow-target", "127.0.0.0/8:*", "--once"]);
    let load = ["--run", "r", "--", "-z", "600s", "--timeout", "600s", "-c", "2"];
    let mut run = Watched::start(nats.run(&load).arg(silent.url()));
    run.until("all workers are running");
    run.child.signal("-INT");
    run.until("once more ends at once");
    run.child.signal("-INT");
    let (code, said) = run.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("interrupted twice"), "{said}");
    drop(worker);
}

/// Before the start there is nothing to drain: the run ends, and with it what it started.
#[test]
fn interrupt_before_the_start_ends_all() {
    if !can_run() {
        return;
    }
    let nats = Nats::start();
    let run =
        Watched::start(&mut nats.run(&["--wait", "60s", "--", "-n", "1", "http://127.0.0.1:9/"]));
    std::thread::sleep(std::time::Duration::from_millis(500));
    run.child.signal("-INT");
    let (code, said) = run.end();
    assert_eq!(code, Some(130), "{said}");
}

/// A warm-up comes before the common start, and is not counted.
#[test]
fn warm_up_comes_before_the_start() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let _workers = [nats.worker("w1", &LOOPBACK), nats.worker("w2", &LOOPBACK)];
    let load = ["--workers", "2", "--", "--warm-up", "1s", "-n", "100", "-c", "4"];
    let output = nats.run(&load).arg(server.url()).output().unwrap();
    let record = nats.record();
    assert!(is_good(output.status.code(), &record), "{}", said(&output));
    assert_eq!(record.requests.completed, 100);
    assert!(server.finish().requests > 100, "the warm-up's requests");
    let merged = record.merged.unwrap();
    assert!(merged.parts.iter().all(|part| part.began_us.is_some()), "{merged:?}");
}
