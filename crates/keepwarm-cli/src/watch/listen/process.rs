//! The processor time and the memory of the tool itself, under the names that every exporter uses.
//!
//! Owns the reading of /proc/self.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Resources of this process; a field that the system does not tell is `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu_s: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) started_at_s: Option<f64>,
}

impl Usage {
    /// Reads the usage until now of a process that started at `started_at`.
    pub(super) fn now(started_at: SystemTime) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let started_at = started_at.duration_since(UNIX_EPOCH).ok();
        Self {
            cpu_s: Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
            resident_bytes: resident(),
            started_at_s: started_at.map(|since| since.as_secs_f64()),
        }
    }
}

/// Reads `VmRSS` of /proc/self/status, in kB there.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}
