//! The course of a run: counts, limits, losses, a second coordinator, signals.

use futures_util::StreamExt;
use keepwarm_record::load::{LoadRecord, Stopped, Trust};
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
        let port = server.address().port().to_string();
        command.args(["--", "-n", "1001", "-c", "8", "--watch", &port, &server.url()]);
        let output = command.output().unwrap();
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
        // Three loads watched the same sockets of one network namespace.
        let opened: Vec<u64> = record.hops.iter().map(|hop| hop.opened).collect();
        assert!(opened.len() == 1 && opened[0] <= 8, "counted once: {opened:?}");
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

/// The name does not matter: the addresses that it has do.
#[test]
fn addresses_are_checked_not_names() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let _worker = nats.worker("w1", &["--allow-target", "10.0.0.0/8:*"]);
    let url = format!("http://localhost:{}/", server.address().port());
    let output = nats.run(&["--", "-n", "10", "-c", "1", &url]).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let names_address = told.contains("127.0.0.1") || told.contains("[::1]");
    assert!(told.contains("w1") && names_address, "{told}");
    assert_eq!(server.finish().requests, 0);
}

/// Workers dial out, and so does the coordinator.
#[test]
fn no_process_of_a_run_listens() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let worker = nats.worker("w1", &LOOPBACK);
    let mut run = Watched::start(nats.run(&["--", "-z", "60s", "-c", "2"]).arg(server.url()));
    run.until("all workers are running");
    let pids = [run.child.0.id(), worker.child.0.id()];
    let loads = descendants(pids[1]);
    assert_eq!(loads.len(), 1, "the worker's load");
    let listening = listening_sockets();
    assert!(!listening.is_empty(), "the server of the test");
    for pid in pids.into_iter().chain(loads) {
        let own = sockets_of(pid);
        assert!(!own.is_empty(), "{pid} has a connection");
        assert!(own.is_disjoint(&listening), "{pid} listens");
    }
    run.child.signal("-INT");
    let (code, said) = run.end();
    assert_eq!(code, Some(130), "{said}");
}

#[test]
fn worker_refuses_more_than_its_limits() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let limits = ["--max-rate", "100", "--max-connections", "5", "--max-duration", "3s"];
    let _worker = nats.worker("w1", &[&LOOPBACK[..], &limits].concat());
    let url = server.url();
    for (load, limit) in [
        (["--rate", "1000", "-z", "1s", "-c", "2", &url].as_slice(), "--max-rate"),
        (&["-n", "100", "-c", "50", &url], "--max-connections"),
        (&["-z", "4s", "-c", "1", &url], "--max-duration"),
        (&["-z", "2s", "--warm-up", "2s", "-c", "1", &url], "--max-duration"),
    ] {
        let output = nats.run(&["--"]).args(load).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(limit), "{said}");
    }
    assert_eq!(server.finish().requests, 0);
}

/// A load that ends by -n alone is not refused for its length: it is ended.
#[test]
fn endless_load_ends_at_the_limit() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let worker = nats.worker("w1", &[&LOOPBACK[..], &["--max-duration", "2s"]].concat());
    let load = ["--", "-n", "1000000000", "-c", "1", &server.url()];
    let output = nats.run(&load).output().unwrap();
    let record = nats.record();
    assert_eq!(record.stopped, Stopped::Cancelled, "{}", said(&output));
    assert!(worker.said().contains("--max-duration"), "{}", worker.said());
    assert!(said(&output).contains("--max-duration"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert_eq!(record.requests.completed, server.finish().requests);
}

/// With arrivals by chance the instants that are due within a time are a matter of the seed alone.
#[test]
fn seeds_of_workers_are_derived() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let _workers = [nats.worker("w1", &LOOPBACK), nats.worker("w2", &LOOPBACK)];
    let due = |run: &str, seed: &str| {
        let load = ["--run", run, "--workers", "2", "--", "--rate", "400", "-z", "1s", "-t", "1"];
        let arrivals = ["-c", "16", "--arrivals", "poisson", "--seed", seed];
        let output = nats.run(&load).args(arrivals).arg(server.url()).output().unwrap();
        let part = |worker: &str| nats.directory.join(format!("{run}-{worker}.json"));
        let records = ["w1", "w2"].map(|worker| read_record(&part(worker)));
        assert!(records[0].requests.scheduled > 100, "{}", said(&output));
        records.map(|record| record.requests.scheduled)
    };
    let [one, other] = due("a", "7");
    assert_ne!(one, other, "each worker's is its own");
    assert_eq!(due("b", "7"), [one, other], "the same again");
    assert_ne!(due("c", "8"), [one, other]);
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

/// Two workers of one name hear one call. The one that is first in the bucket carries out the part.
#[test]
fn twins_carry_out_one_part() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let other = scratch();
    let other = [&LOOPBACK[..], &["--directory", other.to_str().unwrap()]].concat();
    let first = nats.worker("twin", &LOOPBACK);
    let log = scratch();
    let second = Nats::same(&nats, log).worker("twin", &other);
    let load = ["--run", "r", "--", "-n", "100", "-c", "2", &server.url()];
    let output = nats.run(&load).output().unwrap();
    let record = nats.record();
    assert!(is_good(output.status.code(), &record), "{}", said(&output));
    assert_eq!((record.requests.completed, server.finish().requests), (100, 100));
    wait_for("word of the other twin", || {
        let told = first.said() + &second.said();
        told.contains("knows a worker twin already").then_some(())
    });
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
    let mut command = nats.run(&["--wait", "60s", "--", "-n", "1", "http://127.0.0.1:9/"]);
    let (code, said) = with_client(&nats.url, async |client| {
        let mut looks = client.subscribe("keepwarm.look").await.unwrap();
        client.flush().await.unwrap();
        let run = Watched::start(&mut command);
        tokio::time::timeout(PATIENCE, looks.next()).await.unwrap().unwrap();
        run.child.signal("-INT");
        run.end()
    });
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

/// A local fleet is gone with its coordinator, however that ends, and the loads leave their records. The
/// target never answers, so that no load ends in order.
#[test]
fn killed_local_coordinator_leaves_no_process() {
    if !can_run() {
        return;
    }
    let silent = HttpServer::start(|conn| while conn.read_request() {});
    let directory = scratch();
    let mut command = fleet();
    command.env("TMPDIR", &directory).args(["run", "--local", "2", "--run", "r", "--output"]);
    command.arg(directory.join("run.json"));
    command.args(["--", "-z", "600s", "--timeout", "600s", "-c", "2", &silent.url()]);
    let mut run = Watched::start(&mut command);
    run.until("all workers are running");
    let own = run.child.0.id();
    let children = descendants(own);
    assert_eq!(children.len(), 5, "a server, two workers and their loads");
    run.child.0.kill().unwrap();
    let files = directory.join(format!("keepwarm-fleet-{own}"));
    for worker in ["local-1", "local-2"] {
        let path = files.join(format!("r-{worker}.json"));
        wait_for("record of a load", || std::fs::read(&path).ok().filter(|text| !text.is_empty()));
    }
    wait_for("end of every process", || children.iter().all(|pid| is_over(*pid)).then_some(()));
    assert_eq!(read_record(&files.join("r-local-1.json")).stopped, Stopped::Cancelled);
}
