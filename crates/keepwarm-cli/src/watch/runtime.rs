//! What a process runs on, from its executable: Go, Node, Python, Java, nginx, .NET, PHP.
//!
//! Owns the reading of /proc/<pid>/exe, as far as it may be read. The version is looked for where
//! each leaves it, in at most 64 MiB.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

use keepwarm_diagnose::knowledge::{Kind, Runtime, Version};

/// The most that is read of an executable.
const MAX_SCAN: usize = 64 << 20;
const CHUNK: usize = 1 << 20;

/// What a process runs on; `None` if that cannot be told, or not be read.
pub(crate) fn recognise(pid: u32) -> Option<Runtime> {
    let exe = format!("/proc/{pid}/exe");
    let path = fs::read_link(&exe).ok()?;
    let path = path.to_string_lossy();
    let path = path.trim_end_matches(" (deleted)");
    if let Some(named) = by_name(path) {
        let version = named.version.or_else(|| version_within(&exe, named.kind));
        return Some(Runtime { version, ..named });
    }
    go_version(&exe).map(|version| Runtime { kind: Kind::Go, version: Some(version) })
}

/// By the name of the executable, and the version if its path tells.
fn by_name(path: &str) -> Option<Runtime> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let after = |prefix: &str| name.strip_prefix(prefix).and_then(Version::parse);
    let runtime = |kind, version| Some(Runtime { kind, version });
    match name {
        "keepwarm" => runtime(Kind::Keepwarm, Version::parse(env!("CARGO_PKG_VERSION"))),
        "node" | "nodejs" => runtime(Kind::Node, version_in_path(path, "node")),
        "java" => runtime(Kind::Java, java_release(path)),
        "nginx" => runtime(Kind::Nginx, None),
        "dotnet" => runtime(Kind::Dotnet, None),
        _ if name.starts_with("python") => runtime(Kind::Python, after("python")),
        _ if name.starts_with("php") => {
            let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
            runtime(Kind::Php, Version::parse(digits))
        }
        _ => None,
    }
}

/// `.../node/v20.19.2/bin/node`, as version managers have it.
fn version_in_path(path: &str, tool: &str) -> Option<Version> {
    let (_, rest) = path.split_once(&format!("/{tool}/"))?;
    let folder = rest.split('/').next()?;
    folder.starts_with('v').then(|| Version::parse(folder)).flatten()
}

/// `JAVA_VERSION="17.0.9"` in the file `release` of a Java home.
fn java_release(path: &str) -> Option<Version> {
    let home = path.strip_suffix("/bin/java")?;
    let release = fs::read_to_string(format!("{home}/release")).ok()?;
    let line = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Version::parse(line.trim_matches('"'))
}

/// The text before a version that is compiled into an executable.
fn version_within(exe: &str, kind: Kind) -> Option<Version> {
    let before: &[u8] = match kind {
        Kind::Node => b"https://nodejs.org/download/release/v",
        Kind::Nginx => b"nginx/",
        _ => return None,
    };
    let mut file = File::open(exe).ok()?;
    let after = |bytes: &[u8]| {
        let text: Vec<u8> = bytes.iter().copied().take(16).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        // "nginx/" alone stands in paths as well.
        Version::parse(&text).filter(|version| *version > Version::default())
    };
    find(&mut file, MAX_SCAN, before, after)
}

const GO_MAGIC: &[u8] = b"\xff Go buildinf:";

/// The version in a Go program's build info (debug/buildinfo), as Go 1.18 and newer write it: 32
/// bytes of header, then the length and the text.
fn go_version(exe: &str) -> Option<Version> {
    let mut file = File::open(exe).ok()?;
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

/// Offset and length of the first segment of an ELF file that is loaded writable, where Go puts
/// its build info; little-endian 64-bit only.
fn writable_segment(file: &mut File) -> Option<(u64, u64)> {
    const LOAD: u32 = 1;
    const WRITABLE: u32 = 2;
    let mut header = [0; 64];
    file.read_exact(&mut header).ok()?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = u64::from_le_bytes(header[32..40].try_into().ok()?);
    let entries = u16::from_le_bytes(header[56..58].try_into().ok()?);
    file.seek(SeekFrom::Start(table)).ok()?;
    for _ in 0..entries.min(64) {
        let mut entry = [0; 56];
        file.read_exact(&mut entry).ok()?;
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap_or_default());
        let long = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
        if word(0) == LOAD && word(4) & WRITABLE != 0 {
            return Some((long(8), long(32)));
        }
    }
    None
}

/// The first `wanted` within the next `most` bytes after which `read` makes something of what
/// follows.
fn find<T>(
    file: &mut File,
    most: usize,
    wanted: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    /// What `read` may need to see.
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
    use super::*;

    fn named(path: &str) -> Option<(Kind, Option<Version>)> {
        by_name(path).map(|runtime| (runtime.kind, runtime.version))
    }

    #[test]
    fn programs_are_known_by_their_names_and_some_tell_their_version() {
        let version = Version::parse;
        assert_eq!(named("/usr/bin/python3.11"), Some((Kind::Python, version("3.11"))));
        assert_eq!(named("/usr/sbin/php-fpm8.2"), Some((Kind::Php, version("8.2"))));
        assert_eq!(named("/usr/sbin/nginx"), Some((Kind::Nginx, None)));
        let nvm = "/root/.nvm/versions/node/v20.19.2/bin/node";
        assert_eq!(named(nvm), Some((Kind::Node, version("20.19.2"))));
        assert_eq!(named("/usr/bin/node"), Some((Kind::Node, None)));
        assert_eq!(named("/opt/service/bin/api"), None);
    }

    #[test]
    fn ourselves_are_not_taken_for_go() {
        // The test's own executable is an ELF file without Go's build info.
        assert_eq!(recognise(std::process::id()), None);
    }

    #[test]
    fn a_text_is_found_wherever_the_chunks_part_it() {
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
