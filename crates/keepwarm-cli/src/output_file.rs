//! An output file that appears as a whole or not at all.
//!
//! Its bytes have no name until they are complete (`O_TMPFILE`), so that a killed run leaves nothing
//! behind; then they are linked beside their place and renamed into it. Where the file system has no
//! such files, they have a hidden name from the start. A file that was there keeps its mode and
//! owner: where this user may not give the owner back, the file itself is rewritten.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use keepwarm_record::read::is_obeyed;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output;
use crate::show::Columns;

/// The file name that means standard output.
const STANDARD_OUTPUT: &str = "-";

/// The place of a record, as `--output` says it.
#[derive(Debug)]
pub(crate) enum Output {
    /// No record is kept.
    None,
    /// Standard output has the record; the report goes to standard error.
    Stdout,
    /// A file.
    File(OutputFile),
}

impl Output {
    /// Prepares the place before the work whose result it takes, so that a wrong path fails early.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Ok(Self::None),
            Some(path) if path.as_os_str() == STANDARD_OUTPUT => Ok(Self::Stdout),
            Some(path) => OutputFile::create(path).map(Self::File),
        }
    }

    pub(crate) const fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Writes the record. A new file of a private one is readable by its owner alone.
    pub(crate) fn write(&self, record: &impl Serialize, is_private: bool) -> Result<(), Failure> {
        match self {
            Self::None => Ok(()),
            Self::Stdout => output::print_with(|to| output::write_json(record, to)),
            Self::File(file) => file.write(is_private, |to| output::write_json(record, to)),
        }
    }

    /// Prints the report where the record does not go.
    pub(crate) fn print_text(&self, text: impl Fn(bool, Columns) -> String) -> Result<(), Failure> {
        if self.is_stdout() {
            output::note(&text(false, Columns::FILE));
            return Ok(());
        }
        output::print(&text(output::colour(), output::columns()))
    }
}

/// A future file. Dropped without [`OutputFile::write`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    file: File,
    bytes: Bytes,
}

/// Where the bytes are until they are complete.
#[derive(Debug)]
enum Bytes {
    /// In the file itself: a pipe, a device, or a file whose owner this user cannot give back.
    InPlace,
    /// Nowhere.
    Unnamed,
    /// Beside the file, under a hidden name.
    Hidden(PathBuf),
}

impl OutputFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Self::open(path).map_err(|error| cannot_write(path, &error))
    }

    fn open(path: &Path) -> io::Result<Self> {
        // A link stays a link: its target is replaced, also one that is not there yet.
        let path = fs::canonicalize(path).or_else(|_| target(path))?;
        let there = fs::metadata(&path).ok();
        match &there {
            Some(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(there) if !there.is_file() => return Self::in_place(path),
            _ => {}
        }
        path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, bytes) = match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => (File::from(file), Bytes::Unnamed),
            Err(_) => {
                let hidden = hidden(&path);
                let file = OpenOptions::new().write(true).create_new(true).open(&hidden)?;
                (file, Bytes::Hidden(hidden))
            }
        };
        let made = Self { path, file, bytes };
        match there {
            Some(there) if made.take_over(&there).is_err() => Self::in_place(made.path.clone()),
            _ => Ok(made),
        }
    }

    fn in_place(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(&path)?;
        Ok(Self { path, file, bytes: Bytes::InPlace })
    }

    /// Takes over owner and mode of the file that was there.
    fn take_over(&self, there: &Metadata) -> io::Result<()> {
        let mine = self.file.metadata()?;
        if (mine.uid(), mine.gid()) != (there.uid(), there.gid()) {
            fchown(&self.file, Some(there.uid()), Some(there.gid()))?;
        }
        self.file.set_permissions(Permissions::from_mode(there.mode() & 0o7777))
    }

    /// Writes all of the content. A reader of the path sees the old content or the new one.
    pub(crate) fn write(
        &self,
        is_private: bool,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut file = &self.file;
        let place = || match &self.bytes {
            Bytes::InPlace => Ok(()),
            bytes => {
                file.sync_all()?;
                self.rename(bytes)
            }
        };
        let start = || {
            let is_new = !matches!(self.bytes, Bytes::InPlace) && !self.path.exists();
            if is_private && is_new {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            match self.bytes {
                // A device or a pipe has no length.
                Bytes::InPlace if file.metadata()?.is_file() => file.set_len(0),
                _ => Ok(()),
            }
        };
        let written = start().and_then(|()| content(&mut file)).and_then(|()| place());
        written.map_err(|error| cannot_write(&self.path, &error))
    }

    fn rename(&self, bytes: &Bytes) -> io::Result<()> {
        let hidden = match bytes {
            Bytes::Hidden(hidden) => hidden.clone(),
            // linkat(2) replaces nothing, so the file has a name of its own for a moment.
            _ => {
                let hidden = hidden(&self.path);
                let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, unnamed, CWD, &hidden, AtFlags::SYMLINK_FOLLOW)?;
                hidden
            }
        };
        fs::rename(&hidden, &self.path).inspect_err(|_| drop(fs::remove_file(&hidden)))
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Bytes::Hidden(hidden) = &self.bytes {
            // Renamed by then, or removed here. A failure to remove it cannot be reported.
            let _ = fs::remove_file(hidden);
        }
    }
}

/// Returns the target of a link that leads to no file yet, or the path itself.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::read_link(path) {
        Ok(target) => Ok(path.parent().unwrap_or(Path::new("")).join(target)),
        Err(_) => Ok(path.to_owned()),
    }
}

/// Returns the hidden name beside a file.
fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let path = path.display().to_string().replace(is_obeyed, "\u{fffd}");
    Failure::new(Exit::Output, format!("cannot write {path}: {error}"))
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
    fn old_content_stays_until_replaced() {
        let folder = folder("output-file");
        let path = folder.join("run.json");
        fs::write(&path, "old").expect("written");
        let file = OutputFile::create(&path).expect("a place");
        assert_eq!(fs::read_to_string(&path).expect("there"), "old");
        file.write(false, |to| to.write_all(b"new")).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "new");
        drop(OutputFile::create(&path).expect("a place"));
        assert_eq!(fs::read_to_string(&path).expect("there"), "new", "given up");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1, "nothing else is left");
        fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn mode_stays_new_secrets_are_private() {
        let folder = folder("output-mode");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        let write = |path: &Path, is_private: bool| {
            let file = OutputFile::create(path).expect("a place");
            file.write(is_private, |to| to.write_all(b"new")).expect("written");
        };
        let path = folder.join("kept.json");
        for kept in [0o600, 0o640, 0o666] {
            fs::write(&path, "old").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(kept)).expect("mine");
            write(&path, true);
            assert_eq!(mode(&path), kept, "{kept:o}");
        }
        write(&folder.join("secret.json"), true);
        assert_eq!(mode(&folder.join("secret.json")), 0o600);
        std::os::unix::fs::symlink("target.json", folder.join("link.json")).expect("a link");
        write(&folder.join("link.json"), false);
        assert_eq!(fs::read_to_string(folder.join("target.json")).expect("there"), "new");
        assert!(fs::symlink_metadata(folder.join("link.json")).expect("there").is_symlink());
        fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn unfinished_file_has_no_name() {
        let folder = folder("output-unnamed");
        let file = OutputFile::create(&folder.join("run.json")).expect("a place");
        let names = fs::read_dir(&folder).expect("there").count();
        let expected = usize::from(matches!(file.bytes, Bytes::Hidden(_)));
        assert_eq!(names, expected, "a killed run leaves nothing behind");
        drop(file);
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
        device.write(false, |to| to.write_all(b"x")).expect("written");
        fs::remove_dir_all(&folder).expect("removable");
    }
}
