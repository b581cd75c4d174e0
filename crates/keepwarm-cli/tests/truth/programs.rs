//! The programs that situations are played with: which of them this machine has, and the folder
//! that a situation's programs run in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use keepwarm_testkit::skipped;
use rcgen::{CertificateParams, KeyPair};

/// The programs, in the folder of a situation.
const PROGRAMS: &str = "programs";

/// Programs and files that all situations share.
pub(crate) struct Tools {
    python: String,
    /// The Go program.
    peer: Option<PathBuf>,
    /// The tool where user nobody may read it.
    pub(crate) keepwarm: PathBuf,
    folder: PathBuf,
}

impl Tools {
    /// Returns nothing, and reports it, if the situations cannot be played here at all.
    pub(crate) fn find() -> Option<Tools> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        for program in ["tcpdump", "setpriv", "ip", "sh"] {
            if !has(program) {
                skipped::because(&format!("no {program}"));
                return None;
            }
        }
        let pythons = std::env::var("KEEPWARM_PYTHON")
            .into_iter()
            .chain(["/usr/bin/python3", "python3"].map(str::to_owned));
        let Some(python) = pythons.into_iter().find(|one| runs(Command::new(one).arg("-V"))) else {
            skipped::because("no Python");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("keepwarm-truth-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let keepwarm = folder.join("keepwarm");
        std::fs::copy(env!("CARGO_BIN_EXE_keepwarm"), &keepwarm).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["service".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        Some(Tools { python, peer: build_peer(), keepwarm, folder })
    }

    /// Returns the first of these that is not here: a program, `go`, or `python:MODULE`.
    pub(crate) fn missing(&self, needs: &[&'static str]) -> Option<&'static str> {
        needs.iter().copied().find(|need| match need.split_once(':') {
            Some((_, module)) => {
                !runs(Command::new(&self.python).args(["-c", &format!("import {module}")]))
            }
            None if *need == "go" => self.peer.is_none(),
            None => !has(need),
        })
    }

    /// Makes the folder of a situation, open to all users, as some services take another. It has the
    /// programs, each changed by `edit`.
    pub(crate) fn folder(&self, situation: &str, edit: &dyn Fn(&str) -> String) -> PathBuf {
        let folder = self.folder.join(situation);
        let programs = folder.join(PROGRAMS);
        std::fs::create_dir_all(&programs).unwrap();
        let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/truth/programs");
        for file in std::fs::read_dir(ours).unwrap().flatten() {
            if let Ok(text) = std::fs::read_to_string(file.path()) {
                std::fs::write(programs.join(file.file_name()), edit(&text)).unwrap();
            }
        }
        for file in ["cert.pem", "key.pem"] {
            std::fs::copy(self.folder.join(file), folder.join(file)).unwrap();
        }
        let bundle = ["cert.pem", "key.pem"].map(|file| std::fs::read(folder.join(file)).unwrap());
        std::fs::write(folder.join("both.pem"), bundle.concat()).unwrap();
        let status = Command::new("chmod").args(["-R", "a+rwX"]).arg(&folder).status();
        assert!(status.unwrap().success());
        folder
    }

    /// Sets the variables that a situation's commands use.
    pub(crate) fn equip(&self, command: &mut Command, folder: &Path) {
        command
            .env("P", folder.join(PROGRAMS))
            .env("PY", &self.python)
            .env("PEER", self.peer.as_deref().unwrap_or("no-go".as_ref()))
            .env("KW", &self.keepwarm)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1");
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if std::env::var_os("KEEPWARM_TRUTH_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
            let _ = self.peer.as_ref().map(std::fs::remove_file);
        }
    }
}

fn build_peer() -> Option<PathBuf> {
    let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
    if !runs(Command::new(&go).arg("version")) {
        skipped::because("no Go (`go` in the PATH, or KEEPWARM_GO)");
        return None;
    }
    // The folder of the runtimes' test, so that Go's own packages are built once.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("watch-go");
    std::fs::create_dir_all(&folder).unwrap();
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/truth/programs/peer.go");
    // Each run has a file of its own, as an older run may still execute the last.
    let program = folder.join(format!("truth-peer-{}", std::process::id()));
    let built = Command::new(&go)
        .args(["build", "-o"])
        .arg(&program)
        .arg(source)
        .env("GOCACHE", folder.join("cache"))
        .env("GOPATH", folder.join("path"))
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "0")
        .status();
    assert!(built.unwrap().success(), "the Go program builds");
    Some(program)
}

fn has(program: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        || (program.starts_with('/') && std::path::Path::new(program).is_file())
}

fn runs(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
