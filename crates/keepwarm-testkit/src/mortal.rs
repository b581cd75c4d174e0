//! Child processes that end with the test that started them, even if the test was killed and ran no
//! destructor. Owns the way in which they are started.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns a command for a program to which the kernel sends `signal` (such as `TERM`) when the
/// thread that has started it ends. A test is a thread, and so is other code that waits for a child
/// of its own. When the whole process is killed, its threads end one by one, and the signal may
/// come more than once. Returns the plain program where there is no `setpriv` with this option
/// (util-linux 2.33 has it).
#[must_use]
pub fn command(program: impl AsRef<OsStr>, signal: &str) -> Command {
    static CAN: OnceLock<bool> = OnceLock::new();
    let wrapped = |program: &OsStr| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", signal]).arg(program);
        command
    };
    let can = *CAN.get_or_init(|| {
        let mut tried = wrapped(OsStr::new("true"));
        let status = tried.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    });
    if can { wrapped(program.as_ref()) } else { Command::new(program) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::skipped;

    /// The test starts itself again, lets that process start a child, and kills the process.
    #[test]
    fn child_ends_with_its_killed_test() {
        const INSIDE: &str = "KEEPWARM_TEST_MORTAL";
        if std::env::var_os(INSIDE).is_some() {
            let mut child = command("sh", "KILL");
            let child = child.args(["-c", "echo started; exec sleep 120"]).spawn();
            child.expect("sh starts").wait().expect("a child to wait for");
            return;
        }
        if command("true", "KILL").get_program() != "setpriv" {
            skipped::because("no setpriv that sets a signal for the parent's death");
            return;
        }
        let name = "mortal::tests::child_ends_with_its_killed_test";
        let mut again = Command::new(std::env::current_exe().expect("a path"));
        again.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").stdout(Stdio::piped());
        let mut again = again.spawn().expect("it runs");
        let mut stdout = BufReader::new(again.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("started") {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("readable") > 0, "it ended at once");
        }
        again.kill().expect("killable");
        again.wait().expect("a child to wait for");
        // The child also holds the write side of the pipe. Reading ends when no process holds it.
        let killed = Instant::now();
        stdout.read_to_string(&mut line).expect("readable");
        assert!(killed.elapsed() < Duration::from_secs(60), "it slept on to its end");
    }
}
