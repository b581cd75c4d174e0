//! Real Go: the program in `go/`, built when it is first needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::clients::{Failure, Target};
use crate::closing::load::{Load, Outcome};
use crate::measure::Cost;
use crate::scenario::Scenario;

/// Builds the program beside this one. The error says why it is not available here.
pub(crate) fn build() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    let output = Command::new(find()?)
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        // The standard library only: nothing is to be fetched.
        .envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")])
        .output()
        .map_err(|error| format!("go build: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("go build failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Measures with the program that `build` built.
pub(crate) fn run(target: &Target, scenario: Scenario, percent: usize) -> Result<Cost, Failure> {
    let output = Command::new(program()?)
        .arg(&target.url)
        .arg(scenario.shape.concurrency.to_string())
        .arg(scenario.warm_up_per_task(percent).to_string())
        .arg(scenario.requests_per_task(percent).to_string())
        .arg(scenario.shape.body_bytes.to_string())
        .arg(target.authority_pem.as_deref().unwrap_or_default())
        .arg(if target.http2.is_some() { "h2" } else { "" })
        .env("GOMAXPROCS", scenario.threads.to_string())
        // Its end is the program's end: it does not outlive this process.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(finish)
        .map_err(|error| format!("the Go program: {error}"))?;
    Ok(serde_json::from_slice(&output)?)
}

/// The load of `bench-client closing`, by the same program. It is given up after `limit`.
pub(crate) fn closing(origin: &str, load: Load, limit: Duration) -> Result<Outcome, Failure> {
    let mut child = Command::new(program()?)
        .args(["closing", origin])
        .args(load.numbers().map(|number| number.to_string()))
        .env("GOMAXPROCS", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let timed_out =
            end.recv_timeout(limit).is_err_and(|error| error == RecvTimeoutError::Timeout);
        // The end of its input is its end.
        drop(stdin);
        timed_out
    });
    let output = child.wait_with_output();
    drop(ended);
    if watch.join().unwrap_or(false) {
        return Err(format!("given up after {limit:?}").into());
    }
    let output = output?;
    if !output.status.success() {
        return Err(format!("the Go program: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Keeps the child's standard input open until it has ended by itself.
fn finish(mut child: std::process::Child) -> std::io::Result<Vec<u8>> {
    let stdin = child.stdin.take();
    let output = child.wait_with_output()?;
    drop(stdin);
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(std::io::Error::other(output.status.to_string()))
    }
}

fn program() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("bench-client-go"))
}

/// `$GO`, or the environment that `just bench-go` makes, or the search path.
fn find() -> Result<PathBuf, String> {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/go");
    let candidates = std::env::var_os("GO").map(PathBuf::from).into_iter();
    candidates
        .chain([local, PathBuf::from("go")])
        .find(|go| {
            let version = Command::new(go).arg("version").stdout(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        })
        .ok_or_else(|| {
            "no Go toolchain at $GO, in bench/client/.venv or in PATH; `just bench-go` gets one"
                .to_owned()
        })
}
