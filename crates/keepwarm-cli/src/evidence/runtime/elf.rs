//! Traces of compilers in an ELF file (elf(5)): Go's build info, the comment of rustc.
//!
//! Owns the reading of executables, little-endian and of 64 bits; other ones are not recognised.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use keepwarm_diagnose::knowledge::Version;

use crate::evidence::regular_file::open;

/// Upper bound on the bytes read of an executable.
pub(super) const MAX_SCAN: usize = 64 << 20;
/// Bytes read at once: memory of megabytes would make the allocator keep as much for good.
const CHUNK: usize = 64 << 10;
/// Upper bound on the segments, or sections, that are read.
const MAX_ENTRIES: u16 = 256;
/// Upper bound on the bytes read of a section of comments: a line for each compiler that took part.
const MAX_COMMENT: u64 = 16 << 10;

const GO_MAGIC: &[u8] = b"\xff Go buildinf:";

/// Reads the version in a Go program's build info (debug/buildinfo), as Go 1.18 and newer write it:
/// 32 bytes of header, then the length and the text.
pub(crate) fn go_version(exe: &str) -> Option<Version> {
    let mut file = open(exe)?;
    let (start, length) = writable_segment(&mut file)?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let most = usize::try_from(length).unwrap_or(MAX_SCAN).min(MAX_SCAN);
    find(&mut file, most, GO_MAGIC, |rest| {
        let header = 32 - GO_MAGIC.len();
        let inline = rest.get(1)? & 2 != 0;
        let length = usize::from(*rest.get(header)?);
        let text = rest.get(header + 1..header + 1 + length)?;
        let text = std::str::from_utf8(text).ok().filter(|_| inline)?;
        Version::parse(text.strip_prefix("go")?)
    })
}

/// Reads the version of the compiler of a Rust program. It stands in the section `.comment`, which
/// `strip` keeps.
pub(crate) fn rust_version(exe: &str) -> Option<Version> {
    const PROGRAM_BITS: u32 = 1;
    const BEFORE: &[u8] = b"rustc version ";
    let mut file = open(exe)?;
    let header = header(&mut file)?;
    let table = long(&header, 40);
    let sections = entries::<64>(&mut file, table, half(&header, 60))?;
    sections.into_iter().find_map(|section| {
        let (kind, address) = (word(&section, 4), long(&section, 16));
        let (offset, length) = (long(&section, 24), long(&section, 32));
        // A section that is not loaded has no address.
        if kind != PROGRAM_BITS || address != 0 || length > MAX_COMMENT {
            return None;
        }
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(offset)).ok()?;
        file.by_ref().take(length).read_to_end(&mut text).ok()?;
        let at = position(&text, BEFORE)? + BEFORE.len();
        Version::parse(&String::from_utf8_lossy(&text[at..]))
    })
}

/// Returns offset and length of the first segment that is loaded writable, where Go puts its build
/// info.
fn writable_segment(file: &mut File) -> Option<(u64, u64)> {
    const LOAD: u32 = 1;
    const WRITABLE: u32 = 2;
    let header = header(file)?;
    let segments = entries::<56>(file, long(&header, 32), half(&header, 56))?;
    let found =
        segments.iter().find(|one| word(*one, 0) == LOAD && word(*one, 4) & WRITABLE != 0)?;
    Some((long(found, 8), long(found, 32)))
}

fn header(file: &mut File) -> Option<[u8; 64]> {
    let mut header = [0; 64];
    file.read_exact(&mut header).ok()?;
    header.starts_with(b"\x7fELF\x02\x01").then_some(header)
}

/// Reads a table of the file: segments are 56 bytes each, sections 64.
fn entries<const SIZE: usize>(file: &mut File, table: u64, count: u16) -> Option<Vec<[u8; SIZE]>> {
    file.seek(SeekFrom::Start(table)).ok()?;
    let mut entries = Vec::new();
    for _ in 0..count.min(MAX_ENTRIES) {
        let mut entry = [0; SIZE];
        file.read_exact(&mut entry).ok()?;
        entries.push(entry);
    }
    Some(entries)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap_or_default())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

/// Searches the next `most` bytes for `wanted`, and returns the first value that `read` makes of
/// the bytes behind it.
pub(super) fn find<T>(
    file: &mut File,
    most: usize,
    wanted: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    /// Bytes that `read` may need.
    const AHEAD: usize = 512;
    let mut window: Vec<u8> = Vec::new();
    let mut total = 0;
    loop {
        let before = window.len();
        let room = u64::try_from(CHUNK.min(most - total)).unwrap_or(0);
        total += file.by_ref().take(room).read_to_end(&mut window).ok()?;
        let ended = window.len() == before;
        let mut from = 0;
        while let Some(at) = position(&window[from..], wanted) {
            let after = from + at + wanted.len();
            if after + AHEAD > window.len() && !ended {
                break;
            }
            if let Some(found) = read(&window[after..]) {
                return Some(found);
            }
            from = after;
        }
        if ended {
            return None;
        }
        let keep = window.len().min(wanted.len() + AHEAD);
        window.drain(..window.len() - keep);
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    /// Builds a file as linkers lay it out: a header, a writable segment with Go's build info, a
    /// section of comments with rustc's.
    fn executable() -> Vec<u8> {
        const SEGMENT: usize = 64 + 56 + 64;
        let mut file = vec![0; SEGMENT];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file.extend_from_slice(GO_MAGIC);
        file.extend_from_slice(&[8, 2]);
        file.resize(SEGMENT + 32, 0);
        file.extend_from_slice(b"\x08go1.24.3");
        let comment = file.len();
        file.extend_from_slice(
            b"GCC: (Debian 12.2.0-14) 12.2.0\0rustc version 1.95.0 (59807616e)\0",
        );
        let end = file.len();
        // At, what, in how many bytes.
        let fields = [
            // Offsets and lengths of the tables.
            (32, 64, 8),
            (56, 1, 2),
            (40, 64 + 56, 8),
            (60, 1, 2),
            // A segment to load, writable: offset and length.
            (64, 1, 4),
            (68, 6, 4),
            (72, SEGMENT, 8),
            (96, comment - SEGMENT, 8),
            // A section that is not loaded.
            (124, 1, 4),
            (144, comment, 8),
            (152, end - comment, 8),
        ];
        for (at, number, bytes) in fields {
            file[at..at + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
        }
        file
    }

    #[test]
    fn hostile_executables_are_read_or_unknown() {
        let path = std::env::temp_dir().join(format!("keepwarm-hostile-{}", std::process::id()));
        let versions = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let path = path.to_str().unwrap();
            (go_version(path), rust_version(path))
        };
        let whole = executable();
        assert_eq!(versions(&whole), (Version::parse("1.24.3"), Version::parse("1.95.0")));
        let mut dice = Dice::new(1);
        let (mut known, mut unknown) = (0, 0);
        for _ in 0..1_000 {
            match versions(&mutate::bytes(&mut dice, &whole)) {
                (None, None) => unknown += 1,
                _ => known += 1,
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(known > 50 && unknown > 50, "{known} known, {unknown} unknown");
    }

    #[test]
    fn pipe_is_not_opened() {
        let path = std::env::temp_dir().join(format!("keepwarm-pipe-{}", std::process::id()));
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, rustix::fs::Mode::RUSR, 0).unwrap();
        let (sender, opened) = std::sync::mpsc::channel();
        let name = path.to_str().unwrap().to_owned();
        std::thread::spawn(move || sender.send(open(&name).is_some()));
        let opened = opened.recv_timeout(std::time::Duration::from_secs(60));
        fs::remove_file(path).unwrap();
        assert_eq!(opened, Ok(false));
    }

    #[test]
    fn own_program_is_rust_not_go() {
        let exe = format!("/proc/{}/exe", std::process::id());
        let version = rust_version(&exe);
        assert!(version >= Version::parse("1.80"), "{version:?}");
        assert_eq!(go_version(&exe), None);
    }

    #[test]
    fn cut_off_executable_is_unknown() {
        let path = std::env::temp_dir().join(format!("keepwarm-elf-{}", std::process::id()));
        let whole = fs::read("/proc/self/exe").unwrap();
        for length in [0, 5, 63, 64, 200, whole.len() / 2] {
            fs::write(&path, &whole[..length]).unwrap();
            let path = path.to_str().unwrap();
            assert_eq!((rust_version(path), go_version(path)), (None, None), "{length} bytes");
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn text_is_found_across_chunks() {
        let path = std::env::temp_dir().join(format!("keepwarm-find-{}", std::process::id()));
        for at in [0, 5, CHUNK - 7, CHUNK - 3, CHUNK, 2 * CHUNK - 1] {
            let mut bytes = vec![b'n'; at];
            bytes.extend_from_slice(b"nginx/1.22.1\0");
            bytes.extend(vec![b'.'; 700]);
            fs::write(&path, &bytes).unwrap();
            let mut file = File::open(&path).unwrap();
            let found = find(&mut file, MAX_SCAN, b"nginx/", |rest| {
                Version::parse(&String::from_utf8_lossy(&rest[..6]))
            });
            assert_eq!(found, Version::parse("1.22.1"), "at {at}");
        }
        fs::remove_file(path).unwrap();
    }
}
