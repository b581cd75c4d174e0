//! The drawing of `keepwarm watch` on a terminal.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::common::run;

/// The start of a report: it clears the screen from there.
const CLEAR: &str = "\x1b[J";

/// Runs a watch on a terminal of this size for five seconds, and returns its output.
fn on_a_terminal(columns: u32, rows: u32, arguments: &str) -> Option<String> {
    let script = Command::new("script").arg("--version").stdout(Stdio::null()).status();
    if !script.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: script is not installed, so there is no terminal to write to");
        return None;
    }
    let tool = env!("CARGO_BIN_EXE_keepwarm");
    let line = format!(
        "stty cols {columns} rows {rows}; exec timeout --foreground -s INT 5 {tool} watch {arguments}"
    );
    let mut command = Command::new("script");
    command.args(["-qc", &line, "/dev/null"]).env("NO_COLOR", "1").env("TERM", "xterm");
    Some(run(&mut command).stdout.replace('\r', ""))
}

/// Starts more services than a low screen has lines, each with a connection.
fn services(address: &str) -> Vec<(TcpListener, TcpStream)> {
    let service = |_| {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, client)
    };
    (0..20).map(service).collect()
}

#[test]
fn low_terminal_redraws_then_prints_all() {
    let _services = services("127.66.3.1");
    let Some(seen) = on_a_terminal(80, 12, "src 127.66.3.1 --level l1") else { return };
    let frames: Vec<&str> = seen.split(CLEAR).collect();
    assert!(frames.len() >= 3, "it is refreshed each second: {seen:?}");
    let (last, others) = frames.split_last().unwrap();
    let rows = |frame: &str| frame.lines().filter(|line| line.starts_with("127.66.3.1:")).count();
    for frame in &others[1..] {
        // The next frame begins with the move up.
        let lines: Vec<&str> = frame.lines().filter(|line| !line.starts_with('\x1b')).collect();
        assert!((3..12).contains(&lines.len()), "{frame:?}");
        assert!((3..=8).contains(&rows(frame)), "{frame:?}");
    }
    assert_eq!(rows(last), 15, "{last:?}");
    assert!(last.contains("\nand 5 more, quieter ones"), "{last:?}");
    assert!(last.contains("no verdict: too little was seen of 20 destinations\n"), "{last:?}");
    let head = last.lines().find(|line| line.starts_with("destination")).unwrap();
    assert!(head.ends_with("owner") && head.contains("open/s"), "{head:?}");
    for line in last.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn report_fits_wide_and_narrow_terminals() {
    let _services = services("127.66.3.2");
    let Some(wide) = on_a_terminal(200, 50, "src 127.66.3.2 --for 200ms --level l1") else {
        return;
    };
    assert!(wide.contains("  rtt  estab  t-wait  ports  cliff"), "{wide:?}");
    let narrow = on_a_terminal(60, 50, "src 127.66.3.2 --once").unwrap();
    assert!(narrow.contains("127.66.3.2:"), "{narrow:?}");
    for line in narrow.lines() {
        assert!(line.chars().count() <= 60, "{line:?}");
    }
}
