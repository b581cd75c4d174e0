//! Reads the fields of this machine that records keep.

use std::io::Read;

use keepwarm_record::machine::Machine;

/// Describes the machine and the network namespace of the calling thread.
pub(crate) fn this() -> Machine {
    let cores = std::thread::available_parallelism().ok();
    Machine {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        os: std::env::consts::OS.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        kernel: read("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
        processor: first_bytes("/proc/cpuinfo").and_then(|info| model(&info)),
        cores: cores.map(|cores| cores.get() as u64),
        boot_id: keepwarm_sockets::boot_id(),
        // The namespace of this thread: a watch enters another namespace with one thread alone.
        network_namespace: keepwarm_sockets::network_namespace(),
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Reads the start of a file: /proc/cpuinfo has a page of text for each core, and the kernel writes
/// no more of it than is read.
fn first_bytes(path: &str) -> Option<String> {
    let mut bytes = vec![0; 4096];
    let length = std::fs::File::open(path).and_then(|mut file| file.read(&mut bytes)).ok()?;
    bytes.truncate(length);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn model(info: &str) -> Option<String> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
