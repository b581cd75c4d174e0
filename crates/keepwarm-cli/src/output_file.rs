//! An output file that appears as a whole or not at all: written beside its place, then renamed
//! into it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// A future file. Created before the work whose result it takes, so that a wrong path fails before
/// the work. Dropped without [`OutputFile::write`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
    /// Path of the bytes until they are complete; `None` for a pipe or a device, which is written
    /// to directly.
    temporary: Option<PathBuf>,
}

impl OutputFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Self::open(path).map_err(|error| cannot_write(path, &error))
    }

    fn open(path: &Path) -> io::Result<Self> {
        // A link stays a link: its target is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                let file = OpenOptions::new().write(true).open(&path)?;
                Ok(Self { path, file, temporary: None })
            }
            _ => {
                let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
                let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
                let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
                Ok(Self { path, file, temporary: Some(temporary) })
            }
        }
    }

    /// Writes all of the content. A reader of the path sees the old content or the new one.
    pub(crate) fn write(
        mut self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let written = content(&mut self.file).and_then(|()| {
            let Some(temporary) = &self.temporary else { return Ok(()) };
            self.file.sync_all()?;
            fs::rename(temporary, &self.path)
        });
        if written.is_ok() {
            self.temporary = None;
        }
        written.map_err(|error| cannot_write(&self.path, &error))
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // A failure to remove it cannot be reported.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Output, format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn old_content_stays_until_new_is_complete() {
        let folder = folder("output-file");
        let path = folder.join("run.json");
        fs::write(&path, "old").expect("written");
        let file = OutputFile::create(&path).expect("a place");
        assert_eq!(fs::read_to_string(&path).expect("there"), "old");
        file.write(|to| to.write_all(b"new")).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "new");
        drop(OutputFile::create(&path).expect("a place"));
        assert_eq!(fs::read_to_string(&path).expect("there"), "new", "given up");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1, "nothing else is left");
        fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn unwritable_paths_fail_at_once() {
        let folder = folder("output-folder");
        for path in [Path::new("/no/such/folder/x.json"), &folder, Path::new("/"), Path::new("")] {
            let failure = OutputFile::create(path).expect_err("no file can be there");
            assert_eq!(failure.exit(), Exit::Output, "{}", path.display());
        }
        let device = OutputFile::create(Path::new("/dev/null")).expect("a device");
        device.write(|to| to.write_all(b"x")).expect("written");
        fs::remove_dir_all(&folder).expect("removable");
    }
}
