//! The files of /proc/net, of this thread's network namespace.
//!
//! Owns the way to them. /proc/net itself is the namespace of the process's first thread; this may
//! be another one's. A kernel without `/proc/thread-self` has no other namespace to confuse it with.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens `/proc/net/<name>`.
pub(crate) fn open(name: &str) -> io::Result<File> {
    match File::open(Path::new("/proc/thread-self/net").join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            File::open(Path::new("/proc/net").join(name))
        }
        opened => opened,
    }
}

/// All of `/proc/net/<name>`, for a file that does not grow with the number of sockets.
pub(crate) fn read(name: &str) -> io::Result<String> {
    let mut text = String::new();
    open(name)?.read_to_string(&mut text)?;
    Ok(text)
}
