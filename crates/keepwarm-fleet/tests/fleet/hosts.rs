//! Four workers on hosts of their own: network namespaces with an address each, and clocks that time
//! namespaces shift by up to a day. nginx, the kernel and single samples say what is true.
//!
//! ```text
//!   w1 10.77.0.11 ─┐                    ┌─ hub 10.77.0.1: nats-server, coordinator
//!   w2 10.77.0.12 ─┤  bridge of the hub ┤
//!   w3 10.77.0.13 ─┤                    └─ target 10.77.0.10: nginx
//!   w4 10.77.0.14 ─┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hdrhistogram::Histogram;
use keepwarm_record::load::LoadRecord;
use keepwarm_testkit::skipped;

use crate::common::*;

/// Seconds by which the monotonic and the boot clock of each worker are shifted.
const SHIFTS: [(&str, &str); 4] = [("37", "1000"), ("86400", "3"), ("-5", "-2"), ("0", "500")];

/// A host: its process waits for a line, then becomes what the host runs.
pub(crate) struct Host(Ends);

impl Host {
    pub(crate) fn start(shift: Option<(&str, &str)>, run: &str, words: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--fork", "--kill-child"]);
        if let Some((monotonic, boottime)) = shift {
            command.args(["--time", "--monotonic", monotonic, "--boottime", boottime]);
        }
        command.args(["sh", "-c", &format!("read line && {run}"), "host"]).args(words);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let host = Self(Ends(child.spawn().unwrap()));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_for("namespace", || {
            let net = std::fs::read_link(format!("/proc/{}/ns/net", host.pid())).ok()?;
            (net != own).then_some(())
        });
        host
    }

    fn pid(&self) -> u32 {
        self.0.0.id()
    }

    /// Words that run a program on this host's network.
    pub(crate) fn prefix(&self) -> Vec<String> {
        ["nsenter", "--net", "--target", &self.pid().to_string()].map(str::to_owned).into()
    }

    pub(crate) fn output(&self, words: &[&str]) -> String {
        let output = prefixed(&self.prefix(), Path::new(words[0])).args(&words[1..]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Lets the host's own process go on.
    pub(crate) fn go(&mut self) {
        self.0.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
}

/// Returns false, after a loud word, without veth pairs, bridges, time namespaces or nginx.
pub(crate) fn can_have_hosts() -> bool {
    if !can_run() || !is_root() {
        return false;
    }
    let script = "ip link add br0 type bridge && ip link add v10 type veth peer name e10";
    let works = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let can = works(&["unshare", "--net", "sh", "-c", script])
        && works(&["unshare", "--time", "--fork", "--monotonic", "37", "true"])
        && works(&["nginx", "-v"]);
    if !can {
        skipped::because("no hosts: veth, bridge, time namespaces and nginx are needed");
    }
    can
}

/// Joins a host to the bridge of the hub.
fn join(hub: &Host, host: &Host, number: u32) {
    let (near, far) = (format!("v{number}"), format!("e{number}"));
    let pid = host.pid().to_string();
    hub.output(&["ip", "link", "add", &near, "type", "veth", "peer", "name", &far]);
    hub.output(&["ip", "link", "set", &near, "master", "br0", "up"]);
    hub.output(&["ip", "link", "set", &far, "netns", &pid]);
    host.output(&["ip", "addr", "add", &format!("10.77.0.{number}/24"), "dev", &far]);
    host.output(&["ip", "link", "set", &far, "up"]);
    host.output(&["ip", "link", "set", "lo", "up"]);
}

/// nginx on a host, with a line in its log for each request. One process: a worker would outlive a
/// master that is killed, and hold the test's output open.
pub(crate) fn nginx_at(target: &Host, directory: &Path, listen: &str) -> Ends {
    let path = directory.join("nginx.conf");
    let place = directory.display();
    let config = format!(
        "daemon off; master_process off; user root;
         pid {place}/nginx.pid; error_log {place}/nginx-error.log;
         events {{ worker_connections 1024; }}
         http {{
           log_format one '$remote_addr $request_uri $status $connection';
           access_log {place}/access.log one;
           keepalive_requests 1000000;
           server {{ listen {listen}; location / {{ return 200 ok; }} }}
         }}"
    );
    std::fs::write(&path, config).unwrap();
    let mut command = prefixed(&target.prefix(), Path::new("nginx"));
    let command = command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let child: Child = command.spawn().unwrap();
    let server = Ends(child);
    wait_for("listening nginx", || target.output(&["ss", "-Hltn"]).contains(listen).then_some(()));
    server
}

/// Connections that the target's kernel has accepted.
fn accepted(target: &Host) -> u64 {
    let text = target.output(&["cat", "/proc/net/snmp"]);
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "PassiveOpens").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

/// A request in the log of nginx.
struct Logged {
    address: String,
    number: u64,
    connection: u64,
}

fn log(path: &Path) -> Vec<Logged> {
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        assert_eq!(fields[2], "200", "{line}");
        Logged {
            address: fields[0].to_owned(),
            number: fields[1].trim_start_matches('/').parse().unwrap(),
            connection: fields[3].parse().unwrap(),
        }
    };
    text.lines().map(line).collect()
}

/// Starts the four workers. The last one begins its load late when the file `late` is there.
fn workers(hub: &Host, nats: &Nats) -> Vec<Host> {
    let late = nats.directory.join("late");
    let script = format!(
        "case \"$*\" in *--live-lines*) [ -e {} ] && sleep 3;; esac\nexec \"$real\" \"$@\"",
        late.display()
    );
    let slow = other_keepwarm(&script);
    let mut hosts = Vec::new();
    for (number, shift) in (11..).zip(SHIFTS) {
        let program: PathBuf = if number == 14 { slow.clone() } else { program().to_owned() };
        let name = format!("w{}", number - 10);
        let log = nats.directory.join(format!("{name}.log"));
        let run = format!("exec \"$@\" 2>{}", log.display());
        let directory = nats.directory.display().to_string();
        let mut words = vec![program.to_str().unwrap(), "worker", "--nats", &nats.url];
        words.extend(["--name", &name, "--allow-target", "10.77.0.0/24:80"]);
        words.extend(["--directory", &directory]);
        let mut host = Host::start(Some(shift), &run, &words);
        join(hub, &host, number);
        host.go();
        wait_for("waiting worker", || {
            std::fs::read_to_string(&log).ok().filter(|text| text.contains("waits at"))
        });
        hosts.push(host);
    }
    hosts
}

/// Returns the milliseconds from the first load's start to the last one's, by the one wall clock that
/// the loads of this machine share.
fn true_spread_ms(parts: &[LoadRecord]) -> u64 {
    let starts = || parts.iter().map(|part| part.started_unix_ms);
    starts().max().unwrap() - starts().min().unwrap()
}

fn parts(nats: &Nats, run: &str) -> Vec<LoadRecord> {
    let path = |number: u32| nats.directory.join(format!("{run}-w{number}.json"));
    (1..=4).map(|number| read_record(&path(number))).collect()
}

/// One histogram that is given the samples of all parts.
fn quantiles_of_all(parts: &[LoadRecord]) -> Vec<u64> {
    let mut all = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).unwrap();
    for (value, count) in parts.iter().flat_map(|part| &part.latency_us.buckets) {
        all.record_n(*value, *count).unwrap();
    }
    [0.5, 0.75, 0.9, 0.95, 0.99].map(|quantile| all.value_at_quantile(quantile)).into()
}

#[test]
fn four_hosts_count_as_nginx_and_the_kernel() {
    if !can_have_hosts() {
        return;
    }
    let mut hub = Host::start(None, "sleep 600", &[]);
    hub.output(&["ip", "link", "set", "lo", "up"]);
    hub.output(&["ip", "link", "add", "br0", "type", "bridge"]);
    hub.output(&["ip", "addr", "add", "10.77.0.1/24", "dev", "br0"]);
    hub.output(&["ip", "link", "set", "br0", "up"]);
    hub.go();
    let target = Host::start(None, "sleep 600", &[]);
    join(&hub, &target, 10);
    let directory = scratch();
    let store = directory.join("js").display().to_string();
    let arguments = ["--jetstream", "--store_dir", &store];
    let program = nats_servers().pop().unwrap();
    let nats = Nats::at(&program, directory, &arguments, &hub.prefix(), "10.77.0.1");
    let _nginx = nginx_at(&target, &nats.directory, "10.77.0.10:80");
    let _hosts = workers(&hub, &nats);

    // A closed loop, all on time.
    let before = accepted(&target);
    let load = ["--run", "a", "--workers", "4", "--", "-n", "4003", "-c", "18", "-t", "1"];
    let output = nats
        .run(&load)
        .args(["--watch", "80", "--template", "http://10.77.0.10/{n}"])
        .output()
        .unwrap();
    let record = nats.record();
    assert!(is_good(output.status.code(), &record), "{}", said(&output));
    let log_path = nats.directory.join("access.log");
    let lines = log(&log_path);
    assert_eq!(record.requests.completed, 4003);
    assert_eq!(lines.len(), 4003);
    let numbers: BTreeSet<u64> = lines.iter().map(|line| line.number).collect();
    assert!(numbers.iter().copied().eq(0..4003), "each number of the whole load once");
    let connections: BTreeSet<u64> = lines.iter().map(|line| line.connection).collect();
    assert_eq!(record.connections.opened, connections.len() as u64);
    assert_eq!(record.connections.opened, accepted(&target) - before, "the kernel's count");
    let merged = record.merged.as_ref().unwrap();
    let mut by_address: BTreeMap<&str, u64> = BTreeMap::new();
    lines.iter().for_each(|line| *by_address.entry(&line.address).or_default() += 1);
    for (index, part) in merged.parts.iter().enumerate() {
        let address = format!("10.77.0.{}", 11 + index);
        assert_eq!(by_address[address.as_str()], part.completed, "{address}");
    }
    let parts_a = parts(&nats, "a");
    let shares: Vec<u64> = parts_a.iter().map(|part| part.settings.concurrency).collect();
    assert_eq!(shares, [5, 5, 4, 4], "the largest remainder");
    let times = &record.latency_us;
    let merged_quantiles = [times.p50, times.p75, times.p90, times.p95, times.p99];
    let merged_quantiles: Vec<u64> = merged_quantiles.into_iter().flatten().collect();
    let limit = times.max.unwrap();
    let all: Vec<u64> = quantiles_of_all(&parts_a).into_iter().map(|one| one.min(limit)).collect();
    assert_eq!(merged_quantiles, all, "one loader that was given all samples");
    assert_eq!(record.hops.len(), 4, "a hop for each host");
    let opened: u64 = record.hops.iter().map(|hop| hop.opened).sum();
    // The machine may be too busy for a kernel's events to come before a watch has to end: it says so.
    let is_complete = record.hops.iter().all(|hop| hop.settled && hop.lost_events == 0);
    let told: Vec<_> = record.hops.iter().map(|hop| (hop.opened, hop.settled)).collect();
    assert!(opened == record.connections.opened || !is_complete, "the workers' kernels: {told:?}");
    check_spread(&record, &parts_a);

    // An open loop whose last worker is a second late.
    std::fs::write(nats.directory.join("late"), "").unwrap();
    std::fs::write(&log_path, "").unwrap();
    let load = ["--run", "b", "--workers", "4", "--", "-n", "400", "-r", "400", "-c", "16"];
    let output = nats.run(&load).args(["--template", "http://10.77.0.10/{n}"]).output().unwrap();
    let record = nats.record();
    let lines = log(&log_path);
    assert_eq!(record.requests.completed, 400, "{}", said(&output));
    assert_eq!(lines.len(), 400);
    let first = lines.iter().map(|line| line.number).min().unwrap();
    for line in &lines {
        let worker: u64 = line.address.rsplit('.').next().unwrap().parse().unwrap();
        assert_eq!((line.number - first) % 4, worker - 11, "request k belongs to worker k mod 4");
    }
    let parts_b = parts(&nats, "b");
    assert!(true_spread_ms(&parts_b) >= 900, "the last one was late");
    check_spread(&record, &parts_b);
}

/// The start spread that is reported is that of the loads.
fn check_spread(record: &LoadRecord, parts: &[LoadRecord]) {
    let fleet = record.merged.as_ref().and_then(|merged| merged.fleet.as_ref()).unwrap();
    let (reported, truth) = (fleet.start_spread_us.unwrap() / 1000, true_spread_ms(parts));
    // The load's two clocks are read one after the other, on a busy machine some time apart.
    let may_differ = 200 + 2 * fleet.clock_error_us / 1000;
    assert!(reported.abs_diff(truth) <= may_differ, "{reported} ms, not {truth} ms");
}
