//! Files that another user may have put where they are.
//!
//! Owns the way to open one. Reads none.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens a file for reading; `None` unless it is a regular one. Opening a pipe would wait for its writer.
pub(super) fn open(path: impl AsRef<Path>) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path.as_ref(), flags, Mode::empty()).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}
