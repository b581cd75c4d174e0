//! The tool under small limits, and with standard streams that are closed or full: no panic, an exit
//! code of docs/exit-codes.md, and words.

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Output, Service, keepwarm, run};
use keepwarm_testkit::skipped;

/// A user without processes: the limit on processes counts all of a user's.
const USER: &str = "64321";

/// The tool where any user may run it, and the command that runs it with limits.
struct Limited {
    folder: PathBuf,
}

impl Limited {
    /// Returns `None` where prlimit(1) or, as root, setpriv(1) is missing.
    fn new(name: &str) -> Option<Self> {
        let there = |program: &str| {
            let mut command = Command::new(program);
            command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !there("prlimit") || !there("setpriv") {
            skipped::because("prlimit or setpriv (util-linux) is missing, so no limit can be set");
            return None;
        }
        let name = format!("keepwarm-limits-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::copy(env!("CARGO_BIN_EXE_keepwarm"), folder.join("keepwarm")).expect("a copy");
        Some(Self { folder })
    }

    fn run(&self, limit: &str, arguments: &[&str]) -> Output {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
            // With it the kernel does not count processes.
            command.args(["--bounding-set=-all", "prlimit", limit]);
            command
        } else {
            let mut command = Command::new("prlimit");
            command.arg(limit);
            command
        };
        // A service that starts is ended by the end of its standard input.
        command.arg(self.folder.join("keepwarm")).args(arguments).stdin(Stdio::null());
        run(&mut command)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // A folder that cannot be removed stays among the temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Each command under each of `limits`: it works, or names the limit with the code for it.
fn each_command(name: &str, limits: &[String], codes: &[i32]) {
    let Some(limited) = Limited::new(name) else { return };
    let data = Service::start(&["data"]);
    let (url, port) = (data.url("/data"), data.address.port().to_string());
    let commands: [&[&str]; 7] = [
        &["load", "-n", "20", "-c", "5", &url],
        &["load", "-n", "20", "-c", "5", "--rate", "1000", "--watch", &port, &url],
        &["lab", "-n", "20", "-c", "5", "-p", "tuned"],
        &["serve", "data", "--listen", "127.0.0.1:0", "--stop-with-stdin"],
        &["serve", "front", "--listen", "127.0.0.1:0", "--stop-with-stdin"],
        // Of one port: the memory for a whole host is that of its traffic.
        &["watch", &port, "--for", "100ms"],
        &["watch", &port, "--for", "100ms", "--level", "l0"],
    ];
    let mut refused = 0;
    for limit in limits {
        for arguments in commands {
            let output = limited.run(limit, arguments);
            let said = format!("{limit} {arguments:?}: {:?} {}", output.status, output.stderr);
            assert!(!output.stderr.contains("panicked"), "{said}");
            let code = output.status.code().expect(&said);
            // The dynamic linker had no room for the libraries: the command itself did not begin.
            let unstarted = code == 127 && output.stderr.contains("loading shared libraries");
            if code == 0 || code == 4 || unstarted {
                continue;
            }
            refused += 1;
            assert!(codes.contains(&code), "{said}");
            assert!(output.stderr.contains("ulimit"), "{said}");
        }
    }
    assert!(refused > limits.len(), "limits as small as these refuse most commands");
}

#[test]
fn few_processes_cause_no_panic() {
    let limits: Vec<_> = (1..=8).map(|most| format!("--nproc={most}:{most}")).collect();
    each_command("nproc", &limits, &[1, 8]);
}

#[test]
fn few_descriptors_cause_no_panic() {
    let limits: Vec<_> =
        (6..=20).step_by(2).map(|most| format!("--nofile={most}:{most}")).collect();
    each_command("nofile", &limits, &[7]);
}

/// The smallest are about what the dynamic linker takes for a debug build.
#[test]
fn little_memory_causes_no_panic() {
    let limits = [34, 38, 42, 46, 50, 54, 58, 66, 74, 90];
    let limits = limits.map(|most| format!("--as={most}000000"));
    each_command("as", &limits, &[1, 8]);
}

#[test]
fn descriptors_of_threads_are_counted() {
    let data = Service::start(&["data"]);
    let script = format!(
        "ulimit -n 100; exec {} load -c 30 -t 20 {}",
        env!("CARGO_BIN_EXE_keepwarm"),
        data.url("/data")
    );
    // 30 connections, 20 threads with 3 each, and 64 besides.
    run(Command::new("sh").args(["-c", &script]))
        .exits_with(7)
        .says("154 descriptors are needed and 100 allowed");
}

fn by_shell(arguments: &str) -> Output {
    let script = format!("exec {} {arguments}", env!("CARGO_BIN_EXE_keepwarm"));
    run(Command::new("sh").args(["-c", &script]))
}

/// Rust's runtime opens /dev/null in place of a closed stream before the tool begins.
#[test]
fn closed_stdout_is_said() {
    let lost = "stdout is closed, or is /dev/null: what this command prints is lost";
    for arguments in ["version >&-", "--help >&-", "explain d2 >&-", "watch --once >&-"] {
        by_shell(arguments).exits_with(0).says(lost);
    }
    for arguments in ["version >/dev/null", "version 2>&1 | cat", "version"] {
        assert!(!by_shell(arguments).stderr.contains("closed"), "{arguments}");
    }
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    by_shell(&format!("load -n 10 {url} >&-")).exits_with(0).says(lost);
    by_shell(&format!("load -n 10 --assert errors==0 {url} 2>&-")).exits_with(0);
    by_shell(&format!("load -n 10 --assert errors==1 {url} >&- 2>&-")).exits_with(10);
    by_shell(&format!("load -n 10 {url} <&-")).exits_with(0);
    by_shell("report - <&-").exits_with(2).says("standard input");
}

#[test]
fn full_streams_have_their_codes() {
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let load = ["load", "-n", "10", "-c", "1", &url];
    for arguments in [
        &["version"][..],
        &["--help"],
        &["explain"],
        &["explain", "d2"],
        &load,
        &[&load[..], &["--format", "json"]].concat(),
        &[&load[..], &["-o", "-"]].concat(),
        &["watch", "--once"],
        &["watch", "--once", "--format", "json"],
        &["serve", "data", "--listen", "127.0.0.1:0"],
    ] {
        let output = keepwarm().args(arguments).stdin(Stdio::null()).stdout(full()).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(9), "{arguments:?}: {said}");
        assert!(said.contains("cannot write to stdout"), "{arguments:?}: {said}");
        if arguments[0] != "serve" {
            let silent = keepwarm().args(arguments).stdin(Stdio::null()).stderr(full()).output();
            assert_eq!(silent.expect("it runs").status.code(), Some(0), "{arguments:?}");
        }
    }
}
