//! Reads the fields of this machine that records keep.

use keepwarm_record::machine::Machine;

/// Describes the machine and the network namespace of the calling thread.
pub(crate) fn this() -> Machine {
    let cores = std::thread::available_parallelism().ok();
    Machine {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        os: std::env::consts::OS.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        kernel: read("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
        processor: read("/proc/cpuinfo").and_then(|info| model(&info)),
        cores: cores.map(|cores| cores.get() as u64),
        boot_id: keepwarm_sockets::boot_id(),
        // The namespace of this thread: a watch enters another namespace with one thread alone.
        network_namespace: keepwarm_sockets::network_namespace(),
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn model(info: &str) -> Option<String> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
