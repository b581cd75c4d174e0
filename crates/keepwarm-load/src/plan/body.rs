//! Bodies of requests: bytes in memory, or a regular file that is read while it is sent. Owns the
//! choice between the two and the reading of the file; the request owns the length that is
//! announced.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::file;
use crate::limits::MIN_STREAMED;

/// The body of a request, shared by every connection that sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Content);

/// The place of the bytes of a body.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Memory(Arc<Vec<u8>>),
    File(Arc<BodyFile>),
}

impl PartialEq for Content {
    /// Compares bytes in memory. A file is equal to itself only: its content may change.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory(ours), Self::Memory(theirs)) => ours == theirs,
            (Self::File(ours), Self::File(theirs)) => Arc::ptr_eq(ours, theirs),
            (Self::Memory(_), Self::File(_)) | (Self::File(_), Self::Memory(_)) => false,
        }
    }
}

impl Eq for Content {}

impl Body {
    /// Opens the file of a body. A regular file of more than [`MIN_STREAMED`] bytes is read while
    /// it is sent, and has no other limit than a file's own: each thread holds 64 KiB of it, and
    /// the file stays open. Every request announces the length that the file has now. A request
    /// fails ([`ErrorClass::Body`](crate::ErrorClass::Body)) if the file has become shorter by the
    /// time it is sent. All else is read into memory, as by [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read, or what is no regular file has no end within
    /// [`MAX_STREAM`](crate::limits::MAX_STREAM).
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, metadata) = file::open(path)?;
        if metadata.is_file() && metadata.len() > MIN_STREAMED {
            return Ok(Self(Content::File(Arc::new(BodyFile::new(file, &metadata)?))));
        }
        file::read_opened(file, &metadata).map(Self::from)
    }

    /// Reads the file of a body into memory, as [`read_file`](crate::read_file) does. Templates
    /// need that: any byte of the body may belong to a field.
    ///
    /// # Errors
    ///
    /// As for [`read_file`](crate::read_file).
    pub fn read(path: &Path) -> io::Result<Self> {
        file::read_file(path).map(Self::from)
    }

    /// Returns the length in bytes; of a file, the length it had when it was opened.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(file) => file.length as u64,
        }
    }

    /// Returns true for a body of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes, if they are in memory.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Content::Memory(bytes) => Some(bytes),
            Content::File(_) => None,
        }
    }

    pub(crate) fn content(&self) -> &Content {
        &self.0
    }
}

impl Default for Body {
    /// Makes the body of no bytes.
    fn default() -> Self {
        Self(Content::Memory(Arc::default()))
    }
}

impl<T: Into<Vec<u8>>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self(Content::Memory(Arc::new(bytes.into())))
    }
}

/// A file that is read while it is sent. Every connection reads at an offset of its own, so that
/// they share one descriptor.
#[derive(Debug)]
pub(crate) struct BodyFile {
    file: File,
    /// The length that requests announce. Fits into `usize`, as all offsets into a request do.
    length: usize,
}

impl BodyFile {
    fn new(file: File, metadata: &Metadata) -> io::Result<Self> {
        let too_large = |_| io::Error::new(ErrorKind::FileTooLarge, "it is too large here");
        Ok(Self { file, length: usize::try_from(metadata.len()).map_err(too_large)? })
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Reads bytes at `offset` into `buffer`, and returns them: at least one, and none beyond the
    /// length that was announced.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or ends before the length that was announced.
    pub(crate) fn read_at<'a>(&self, offset: usize, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let wanted = buffer.len().min(self.length.saturating_sub(offset));
        loop {
            match self.file.read_at(&mut buffer[..wanted], offset as u64) {
                Ok(0) => {
                    let length = self.length;
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        format!("it has become shorter: it ends before byte {offset} of {length}"),
                    ));
                }
                Ok(count) => return Ok(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8], name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        file.write_all(bytes).unwrap();
        (path, file)
    }

    #[test]
    fn only_large_regular_files_are_streamed() {
        let limit = usize::try_from(MIN_STREAMED).unwrap();
        let (path, file) = file_of(&vec![b'x'; limit], "streamed");
        assert_eq!(Body::open(&path).unwrap().bytes().map(<[u8]>::len), Some(limit));
        file.set_len(MIN_STREAMED + 1).unwrap();
        let streamed = Body::open(&path).unwrap();
        assert_eq!((streamed.bytes(), streamed.len()), (None, MIN_STREAMED + 1));
        assert_eq!(streamed, streamed.clone());
        assert_eq!(Body::read(&path).unwrap().bytes().map(<[u8]>::len), Some(limit + 1));
        std::fs::remove_file(&path).unwrap();
        assert!(Body::open(Path::new("/dev/null")).unwrap().is_empty());
        let endless = Body::open(Path::new("/dev/zero")).unwrap_err();
        assert!(endless.to_string().contains("no end within 256 MiB"), "{endless}");
        assert!(Body::open(Path::new("/")).unwrap_err().to_string().contains("directory"));
    }

    /// Beyond 4 GiB, the limit of a file in memory. The file has holes and takes no space.
    #[test]
    fn streamed_file_may_exceed_memory_limit() {
        let (path, file) = file_of(b"", "huge");
        file.set_len(5 << 30).unwrap();
        let streamed = Body::open(&path).unwrap();
        assert_eq!((streamed.bytes(), streamed.len()), (None, 5 << 30));
        assert!(Body::read(&path).unwrap_err().to_string().contains("larger than 4 GiB"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn shortened_file_is_error_longer_is_cut() {
        let (path, file) = file_of(b"0123456789", "shortened");
        let (opened, metadata) = file::open(&path).unwrap();
        let body = BodyFile::new(opened, &metadata).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(body.read_at(3, &mut buffer).unwrap(), b"3456");
        file.set_len(20).unwrap();
        assert_eq!(body.read_at(8, &mut buffer).unwrap(), b"89");
        file.set_len(5).unwrap();
        assert_eq!(body.read_at(3, &mut buffer).unwrap(), b"34");
        let error = body.read_at(5, &mut buffer).unwrap_err();
        assert_eq!(error.to_string(), "it has become shorter: it ends before byte 5 of 10");
    }
}
