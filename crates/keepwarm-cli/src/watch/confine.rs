//! Confinement of a watch that names no owners: Landlock (landlock(7)).
//!
//! Owns what such a watch may still do. Landlock forbids a process to look into `/proc/PID/fd` of others,
//! by which owners are found; so a watch that names owners cannot be confined, and keeps capabilities
//! instead (see `privileges`).
//!
//! Left are: to read beneath `/proc` and `/sys`, and what was open before. Every other file, writing,
//! running programs, TCP connections and listening, and signals to other processes are refused, as far as
//! this kernel knows how (Linux 5.13 files, 6.7 TCP, 6.12 signals).

use landlock::{
    ABI, Access, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// The newest interface that is used; an older kernel refuses less.
const NEWEST: ABI = ABI::V6;
/// Folders that may be read.
const READABLE: [&str; 2] = ["/proc", "/sys"];

/// Confines the calling thread and those that it starts. Returns why it is not confined, where it is
/// not.
pub(super) fn confine() -> Option<String> {
    match restrict() {
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, .. }) => {
            Some("this kernel has no Landlock, or it is switched off (lsm=)".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, AccessFs::from_read(NEWEST)))?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use keepwarm_testkit::skipped;

    use super::*;

    #[test]
    fn confined_thread_reads_the_kernel_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
        let confined = std::thread::spawn(move || {
            if let Some(why) = confine() {
                return skipped::because(&why);
            }
            let denied = |kind: Result<(), std::io::Error>| {
                kind.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            };
            assert!(fs::read_to_string("/proc/thread-self/net/snmp").is_ok());
            assert!(fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").is_ok());
            assert!(denied(fs::read_to_string("/etc/passwd").map(drop)));
            assert!(denied(fs::read_dir(format!("/proc/{parent}/fd")).and_then(|mut files| {
                files.try_for_each(|file| fs::read_link(file?.path()).map(drop))
            })));
            assert!(denied(fs::write(std::env::temp_dir().join("keepwarm-confined"), "")));
            // Since Linux 6.7.
            let connected = TcpStream::connect(address).map(drop);
            assert!(connected.is_ok() || denied(connected));
        });
        confined.join().unwrap();
        TcpStream::connect(address).expect("only that thread was confined");
    }
}
