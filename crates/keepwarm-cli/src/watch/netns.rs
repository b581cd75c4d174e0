//! Another network namespace, for the length of a command.
//!
//! Owns the way in: from a name to a path, and a thread that moves there.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::privileges;
use crate::exit::{Exit, Failure};

/// Runs `work` in the namespace that `name` stands for: a process's id, a name of `ip netns`, or a
/// path. A new thread moves there; threads that it starts are there too.
/// If the watch stays, the calling thread, which waits, drops every capability.
pub(crate) fn within(
    name: &str,
    stays: bool,
    work: impl FnOnce() -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    let path = path_of(name);
    let failed = |exit, why: &str| {
        Failure::new(exit, format!("cannot enter the network namespace {}: {why}", path.display()))
    };
    let file = File::open(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => failed(Exit::Usage, missing(name)),
        ErrorKind::PermissionDenied => failed(Exit::Denied, "that takes root, for CAP_SYS_PTRACE"),
        _ => failed(Exit::Usage, &error.to_string()),
    })?;
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
                |errno| match errno {
                    Errno::INVAL => failed(Exit::Usage, "it is not a network namespace"),
                    Errno::PERM => failed(Exit::Denied, "that takes root, for CAP_SYS_ADMIN"),
                    errno => failed(Exit::Failed, &errno.to_string()),
                },
            )?;
            work()
        });
        if stays {
            privileges::keep_none()?;
        }
        inside.join().unwrap_or_else(|_| Err(Failure::new(Exit::Failed, "the watch broke off")))
    })
}

fn path_of(name: &str) -> PathBuf {
    if is_process(name) {
        format!("/proc/{name}/ns/net").into()
    } else if name.contains('/') {
        name.into()
    } else {
        format!("/run/netns/{name}").into()
    }
}

fn is_process(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns why there is nothing at the path of this name.
fn missing(name: &str) -> &'static str {
    if is_process(name) {
        "there is no such process"
    } else if name.contains('/') {
        "there is no such file"
    } else {
        "there is none of this name (see `ip netns list`)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_and_path_differ() {
        assert_eq!(path_of("4711"), PathBuf::from("/proc/4711/ns/net"));
        assert_eq!(path_of("blue"), PathBuf::from("/run/netns/blue"));
        assert_eq!(path_of("/run/docker/netns/1-x"), PathBuf::from("/run/docker/netns/1-x"));
    }
}
