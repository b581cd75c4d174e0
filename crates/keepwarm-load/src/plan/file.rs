//! Reads files that become parts of a plan: bodies, requests, certificates. Owns the limit on their
//! size in memory; `body` owns files that are read while they are sent, and the caller owns their names and their meaning.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::limits::{MAX_FILE, MAX_STREAM};

/// Reads a file that becomes a part of a plan, such as a body.
///
/// At most [`MAX_FILE`] bytes, and of a pipe or a device, which may have no end (`/dev/zero`), at
/// most [`MAX_STREAM`]. Memory is asked for as it is needed; a refusal is an error, not an abort.
///
/// # Errors
///
/// The file cannot be opened or read, is larger than the limit, or does not fit into memory; the
/// error says so in words.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    read_opened(file, &metadata)
}

/// Opens a file that has content. A directory has none.
pub(super) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok((file, metadata))
}

/// Reads a file that is open into memory, within the limits of [`read_file`].
pub(super) fn read_opened(file: File, metadata: &Metadata) -> io::Result<Vec<u8>> {
    let (limit, too_large) = if metadata.is_file() {
        (MAX_FILE, "it is larger than 4 GiB")
    } else {
        (MAX_STREAM, "it has no end within 256 MiB, which is the limit for what is no regular file")
    };
    read_up_to(file, metadata.len(), limit, too_large)
}

fn read_up_to(from: impl Read, expected: u64, limit: u64, too_large: &str) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::new(ErrorKind::FileTooLarge, too_large);
    let no_memory = || io::Error::new(ErrorKind::OutOfMemory, "it does not fit into memory");
    if expected > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let expected = usize::try_from(expected).map_err(|_| no_memory())?;
    bytes.try_reserve_exact(expected).map_err(|_| no_memory())?;
    match from.take(limit + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > limit => Err(too_large()),
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(no_memory()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(path: &str) -> String {
        read_file(Path::new(path)).expect_err(path).to_string()
    }

    #[test]
    fn endless_files_are_refused() {
        assert!(refused("/dev/zero").contains("no end within 256 MiB"));
        assert!(refused("/").contains("directory"));
        assert_eq!(read_file(Path::new("/dev/null")).unwrap(), b"");
        assert!(!read_file(Path::new("/proc/self/status")).unwrap().is_empty());
    }

    #[test]
    fn files_beyond_the_limit_are_refused() {
        let read = |bytes: &[u8], expected| read_up_to(bytes, expected, 3, "large");
        assert_eq!(read(b"abc", 0).unwrap(), b"abc");
        assert_eq!(read(b"abcd", 0).unwrap_err().to_string(), "large");
        assert_eq!(read(b"", 4).unwrap_err().to_string(), "large");
    }

    #[test]
    fn missing_memory_is_an_error() {
        let error = read_up_to(&b""[..], u64::MAX / 2, u64::MAX - 1, "large").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }
}
