//! The machine that a run ran on: enough to know later whether two runs can be compared.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Of this tool.
    pub(crate) version: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
    /// The kernel's release; `None` where it does not say.
    pub(crate) kernel: Option<String>,
    pub(crate) processor: Option<String>,
    /// Cores that this process may use.
    pub(crate) cores: Option<u64>,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cores = std::thread::available_parallelism().ok();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
            processor: read("/proc/cpuinfo").and_then(|info| model(&info)),
            cores: cores.map(|cores| cores.get() as u64),
        }
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn model(info: &str) -> Option<String> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
