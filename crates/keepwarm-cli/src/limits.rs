//! The file table: each connection takes a descriptor, and 1024 is a common limit.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::{Exit, Failure};

/// Descriptors for all but connections: standard streams, netlink, epoll, libraries.
const BESIDES: u64 = 64;

/// Raises the soft limit as far as the hard one, which any process may do, and refuses to start if
/// `connections` at once still do not fit.
pub(crate) fn make_room(connections: u64, way_out: &str) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the soft limit as it was, and the check below uses that.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let needed = connections + BESIDES;
    match current {
        Some(current) if current < needed => Err(Failure::new(
            Exit::FileTable,
            format!(
                "the file table is too small: {needed} descriptors are needed and {current} \
                 allowed; raise the limit with `ulimit -n {needed}`, or {way_out}"
            ),
        )),
        _ => Ok(()),
    }
}

/// Returns true if an error number says that the process or the host has no descriptor left.
pub(crate) fn is_file_table_full(errno: i32) -> bool {
    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(errno))
}
