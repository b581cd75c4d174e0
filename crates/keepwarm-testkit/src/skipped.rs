//! Tests that cannot be made on this machine, told where a passing run is read too.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::thread;

/// A file that each line is added to as well, for whoever runs the tests and wants to end with it.
pub const FILE: &str = "KEEPWARM_SKIPPED";

/// Says that this test, or the part of it that the caller is, was not made, and why. A test runner
/// shows what a test that passes has printed to nobody, so this goes past it to standard error.
#[track_caller]
pub fn because(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // One line and one write: tests of other threads and processes speak too.
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("SKIPPED {} {test}: {why}\n", Location::caller().file());
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(FILE) {
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{FILE}={}: {error}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// As a runner starts it: with what a passing test prints held back.
    #[test]
    fn who_runs_the_tests_reads_it_though_the_test_passes() {
        const INSIDE: &str = "KEEPWARM_TEST_SKIPS";
        if std::env::var_os(INSIDE).is_some() {
            return because("no\nreason");
        }
        let told = std::env::temp_dir().join(format!("keepwarm-skipped-{}", std::process::id()));
        let name = "skipped::tests::who_runs_the_tests_reads_it_though_the_test_passes";
        let mut again = Command::new(std::env::current_exe().expect("a path"));
        again.args(["--exact", name, "--test-threads=2"]).env(INSIDE, "1").env(FILE, &told);
        let output = again.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let line = format!("SKIPPED {} {name}: no reason\n", file!());
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
        assert_eq!(std::fs::read_to_string(&told).expect("written"), line);
        std::fs::remove_file(told).expect("there");
    }
}
