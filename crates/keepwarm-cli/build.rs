//! Names the commit that the tool is built from: git's, or the one that `cargo package` kept, or
//! none.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = from_git().or_else(from_package).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=KEEPWARM_COMMIT={commit}");
}

/// Returns the commit, if this very file belongs to a git repository. A copy within another
/// repository has no commit of its own.
fn from_git() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    // It grows with each commit and each change of branch.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Reads `"sha1": "..."` of `.cargo_vcs_info.json`.
fn from_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let rest = text.split_once("\"sha1\"")?.1.split('"').nth(1)?;
    let is_commit = rest.len() >= 10 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| rest[..10].to_owned())
}
