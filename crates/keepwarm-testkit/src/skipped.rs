//! Reports tests that cannot run on this machine, where a reader of a passing run sees it.

use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::thread;

/// Environment variable with the path of a file to which each line is appended, so that a test
/// script can print all skipped tests at its end.
pub const FILE: &str = "KEEPWARM_SKIPPED";

/// Reports that the calling test, or the caller's part of it, was skipped, and why. Test runners
/// hide the captured output of a passing test, so this writes to standard error directly.
#[track_caller]
pub fn because(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // A single line in a single write, because tests of other threads and processes write too.
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

    /// Runs a test as a runner does, with the output of a passing test hidden.
    #[test]
    fn skipped_test_is_reported_although_passing() {
        const INSIDE: &str = "KEEPWARM_TEST_SKIPS";
        if std::env::var_os(INSIDE).is_some() {
            return because("no\nreason");
        }
        let told = std::env::temp_dir().join(format!("keepwarm-skipped-{}", std::process::id()));
        let name = "skipped::tests::skipped_test_is_reported_although_passing";
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
