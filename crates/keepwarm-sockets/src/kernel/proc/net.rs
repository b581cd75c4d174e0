//! Files of `/proc/net`, read in the network namespace of the calling thread.
//!
//! Owns the path to them. `/proc/net` itself shows the namespace of the process's first thread; the
//! calling thread may be in another one, so `/proc/thread-self/net` is tried first. A kernel
//! without `/proc/thread-self` (before 3.17) is read through `/proc/net`.

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

/// Reads all of `/proc/net/<name>`. Meant for files that do not grow with the number of sockets.
pub(crate) fn read(name: &str) -> io::Result<String> {
    let mut text = String::new();
    open(name)?.read_to_string(&mut text)?;
    Ok(text)
}
