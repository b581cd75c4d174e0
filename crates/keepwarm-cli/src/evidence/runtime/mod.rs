//! Recognises the runtime of a process: Go, Node, Python, Java, nginx, .NET, PHP, Ruby, Rust; servers
//! and proxies (Apache, HAProxy); and programs without a pool (curl, psql, redis-cli, shells).
//!
//! Owns the reading of /proc/PID/exe, /proc/PID/maps and /proc/PID/cmdline, as far as they may be read: a user's
//! own processes, or all for root. Each runtime leaves its version in another place.

pub(super) mod elf;

use std::fs::{self, File};
use std::io::Read;

use keepwarm_diagnose::knowledge::{Kind, Runtime, Version};

use self::elf::{MAX_SCAN, find, go_version, rust_version};
use super::regular_file::open;

/// Upper bound on the bytes read of the list of mapped files.
const MAX_MAPS: u64 = 1 << 20;
/// Upper bound on the bytes read of a command line.
const MAX_COMMAND_LINE: u64 = 64 << 10;
/// Upper bound on the bytes read of the file `release` of a Java home.
const MAX_RELEASE: u64 = 64 << 10;

/// Returns the runtime of a process; `None` if it is not known, or may not be read.
pub(crate) fn recognise(pid: u32) -> Option<Runtime> {
    let exe = format!("/proc/{pid}/exe");
    let path = fs::read_link(&exe).ok()?;
    let path = path.to_string_lossy();
    let path = path.trim_end_matches(" (deleted)");
    // The paths are those of the process's own mount namespace.
    let root = format!("/proc/{pid}/root");
    let named = by_name(&root, path);
    if named.is_some_and(|runtime| runtime.kind == Kind::Python)
        && let Some(kind) = python_server(&command_line(pid))
    {
        return Some(Runtime { kind, version: None });
    }
    if let Some(runtime @ Runtime { version: Some(_), .. }) = named {
        return Some(runtime);
    }
    let mapped = mapped(pid);
    if let Some(Runtime { kind, version: None }) = named {
        let of_library = || by_libraries(&root, &mapped).filter(|one| one.kind == kind)?.version;
        let version = version_within(&exe, kind).or_else(of_library);
        return Some(Runtime { kind, version });
    }
    // A program of another name may embed one: a launcher of Java, uWSGI.
    let compiled = |kind, version: Option<Version>| {
        version.map(|version| Runtime { kind, version: Some(version) })
    };
    by_libraries(&root, &mapped)
        .or_else(|| compiled(Kind::Go, go_version(&exe)))
        .or_else(|| compiled(Kind::Rust, rust_version(&exe)))
}

/// Recognises the runtime of a process by its name alone: of one that has ended. An interpreter or a
/// compiled program has any name, so `None` is no program of its own.
pub(crate) fn named(process: &str) -> Option<Runtime> {
    by_name("/nowhere", process).map(|runtime| Runtime { version: None, ..runtime })
}

/// Recognises a runtime by the name of the executable, and the version if the path has it.
pub(super) fn by_name(root: &str, path: &str) -> Option<Runtime> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let after = |prefix: &str| name.strip_prefix(prefix).and_then(Version::parse);
    let runtime = |kind, version| Some(Runtime { kind, version });
    match name {
        "keepwarm" => runtime(Kind::Keepwarm, Version::parse(env!("CARGO_PKG_VERSION"))),
        "node" | "nodejs" => runtime(Kind::Node, version_in_path(path)),
        "java" => runtime(Kind::Java, java_release(root, path.strip_suffix("/bin/java")?)),
        "nginx" => runtime(Kind::Nginx, None),
        "dotnet" => runtime(Kind::Dotnet, None),
        "apache2" | "httpd" => runtime(Kind::Apache, None),
        "haproxy" => runtime(Kind::Haproxy, None),
        "curl" => runtime(Kind::Curl, None),
        "psql" | "pgbench" | "postgres" => runtime(Kind::Postgres, None),
        "redis-cli" | "redis-server" | "redis-benchmark" => runtime(Kind::Redis, None),
        "sh" | "bash" | "dash" | "zsh" | "busybox" | "cron" | "wget" | "nc" | "openssl" => {
            runtime(Kind::Shell, None)
        }
        _ if name.starts_with("python") => {
            runtime(Kind::Python, after("python").filter(|v| v.minor > 0))
        }
        _ if name.starts_with("ruby") => {
            runtime(Kind::Ruby, after("ruby").or_else(|| version_in_path(path)))
        }
        _ if name.starts_with("php") => {
            let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
            runtime(Kind::Php, Version::parse(digits))
        }
        _ => None,
    }
}

/// Reads the arguments of a process; empty if they may not be read.
fn command_line(pid: u32) -> Vec<String> {
    let Ok(file) = File::open(format!("/proc/{pid}/cmdline")) else { return Vec::new() };
    let mut text = Vec::new();
    let _ = file.take(MAX_COMMAND_LINE).read_to_end(&mut text);
    text.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect()
}

/// Recognises the server that a Python runs: its script, or its module behind `-m`. A title that the
/// program gave itself (`gunicorn: worker [app]`) stands in the place of the first argument.
pub(super) fn python_server(arguments: &[String]) -> Option<Kind> {
    let title = arguments.first().map_or("", String::as_str);
    if title.starts_with("gunicorn: ") {
        return Some(Kind::Gunicorn);
    }
    let mut rest = arguments.iter().skip(1);
    let program = rest.by_ref().find(|one| !one.starts_with('-') || one.as_str() == "-m")?;
    let name = match program.as_str() {
        "-m" => rest.next()?.as_str(),
        script => script.rsplit('/').next().unwrap_or(script),
    };
    match name {
        "uvicorn" => Some(Kind::Uvicorn),
        "hypercorn" => Some(Kind::Hypercorn),
        "gunicorn" => Some(Kind::Gunicorn),
        "http.server" => Some(Kind::HttpServer),
        "flask" | "werkzeug.serving" => Some(Kind::Werkzeug),
        _ => None,
    }
}

/// Reads the version from a folder's name, as version managers have it:
/// `.../node/v20.19.2/bin/node`.
fn version_in_path(path: &str) -> Option<Version> {
    let folder = path.rsplit('/').nth(2)?;
    let is_version = folder.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    is_version.then(|| Version::parse(folder)).flatten()
}

/// Reads `JAVA_VERSION="17.0.9"` in the file `release` of a Java home.
pub(super) fn java_release(root: &str, home: &str) -> Option<Version> {
    let mut release = String::new();
    let file = open(format!("{root}{home}/release"))?;
    file.take(MAX_RELEASE).read_to_string(&mut release).ok()?;
    let line = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Version::parse(line.trim_matches('"'))
}

/// Reads a version that is compiled into an executable, behind a text of the runtime's own.
fn version_within(exe: &str, kind: Kind) -> Option<Version> {
    let before: &[u8] = match kind {
        Kind::Node => b"https://nodejs.org/download/release/v",
        Kind::Nginx => b"nginx/",
        Kind::Php => b"X-Powered-By: PHP/",
        _ => return None,
    };
    let mut file = open(exe)?;
    let after = |bytes: &[u8]| {
        let text: Vec<u8> = bytes.iter().copied().take(16).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        // "nginx/" alone stands in paths as well.
        Version::parse(&text).filter(|version| *version > Version::default())
    };
    find(&mut file, MAX_SCAN, before, after)
}

/// Lists the files that a process has mapped; empty if they may not be read.
fn mapped(pid: u32) -> String {
    let Ok(file) = File::open(format!("/proc/{pid}/maps")) else { return String::new() };
    let mut text = Vec::new();
    // A list that is cut off is used as far as it was read.
    let _ = file.take(MAX_MAPS).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Recognises a runtime by a library that only it has, and the version if the path has it.
pub(super) fn by_libraries(root: &str, mapped: &str) -> Option<Runtime> {
    let paths = || mapped.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths().find_map(|path| {
        let (folders, name) = path.rsplit_once('/')?;
        let after = |prefix: &str| name.strip_prefix(prefix).map(Version::parse);
        let (kind, version) = if name == "libjvm.so" {
            let home = folders.split("/lib/").next().unwrap_or(folders);
            (Kind::Java, java_release(root, home))
        } else if name == "libcoreclr.so" || folders.contains("/Microsoft.NETCore.App/") {
            let version = folders.rsplit("/Microsoft.NETCore.App/").next();
            (Kind::Dotnet, version.filter(|text| *text != folders).and_then(Version::parse))
        } else if let Some(version) = after("libpython") {
            // `libpython3.so` is the stable interface, which others may load.
            (Kind::Python, Some(version.filter(|version| version.minor > 0)?))
        } else if let Some(version) = after("libruby.so.").or_else(|| after("libruby-")) {
            (Kind::Ruby, version)
        } else if name.starts_with("libnode.so.") {
            // The number in the name is that of the interface.
            (Kind::Node, version_within(&format!("{root}{path}"), Kind::Node))
        } else if let Some(version) = after("libphp") {
            (Kind::Php, version.filter(|version| version.minor > 0))
        } else {
            return None;
        };
        Some(Runtime { kind, version })
    })
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    fn named(path: &str) -> Option<(Kind, Option<Version>)> {
        by_name("", path).map(|runtime| (runtime.kind, runtime.version))
    }

    #[test]
    fn programs_are_known_by_name() {
        let version = Version::parse;
        assert_eq!(named("/usr/bin/python3.11"), Some((Kind::Python, version("3.11"))));
        assert_eq!(named("/usr/sbin/php-fpm8.2"), Some((Kind::Php, version("8.2"))));
        assert_eq!(named("/usr/sbin/nginx"), Some((Kind::Nginx, None)));
        let nvm = "/root/.nvm/versions/node/v20.19.2/bin/node";
        assert_eq!(named(nvm), Some((Kind::Node, version("20.19.2"))));
        assert_eq!(named("/usr/bin/node"), Some((Kind::Node, None)));
        assert_eq!(named("/opt/service/bin/api"), None);
        for (path, kind) in [
            ("/usr/sbin/apache2", Kind::Apache),
            ("/usr/sbin/haproxy", Kind::Haproxy),
            ("/usr/bin/curl", Kind::Curl),
            ("/usr/lib/postgresql/15/bin/psql", Kind::Postgres),
            ("/usr/bin/redis-cli", Kind::Redis),
            ("/usr/bin/dash", Kind::Shell),
            ("/usr/bin/wget", Kind::Shell),
        ] {
            assert_eq!(named(path), Some((kind, None)), "{path}");
        }
    }

    #[test]
    fn pythons_servers_are_known_by_command() {
        let of =
            |line: &str| python_server(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("python3 -m uvicorn app:asgi"), Some(Kind::Uvicorn));
        assert_eq!(of("/usr/bin/python3 /usr/local/bin/gunicorn app"), Some(Kind::Gunicorn));
        assert_eq!(of("python3 -u -X dev -m http.server 8080"), None, "-X has a value");
        assert_eq!(of("python3 -u -m http.server 8080"), Some(Kind::HttpServer));
        assert_eq!(of("python3 /home/me/.venv/bin/flask run"), Some(Kind::Werkzeug));
        assert_eq!(of("python3 -m hypercorn app"), Some(Kind::Hypercorn));
        assert_eq!(of("python3 server.py uvicorn"), None);
        assert_eq!(python_server(&["gunicorn: worker [app]".to_owned()]), Some(Kind::Gunicorn));
        assert_eq!(python_server(&[]), None);
    }

    #[test]
    fn version_is_the_folder_above_bin() {
        let version = Version::parse;
        assert_eq!(
            named("/root/.rbenv/versions/3.3.1/bin/ruby"),
            Some((Kind::Ruby, version("3.3.1")))
        );
        assert_eq!(named("/usr/bin/ruby3.1"), Some((Kind::Ruby, version("3.1"))));
        assert_eq!(named("/opt/1.2.3/tools/bin/node"), Some((Kind::Node, None)));
    }

    #[test]
    fn embedded_runtime_is_known_by_library() {
        let by = |path: &str| {
            let line = format!("7f00-7f01 r-xp 00000000 08:01 42                 {path}\n");
            by_libraries("", &format!("55-56 r--p 0 0:0 0\n{line}"))
                .map(|one| (one.kind, one.version))
        };
        let version = Version::parse;
        let python = "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0";
        assert_eq!(by(python), Some((Kind::Python, version("3.11"))));
        assert_eq!(by("/usr/lib/libpython3.so"), None);
        let dotnet = "/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.11/libcoreclr.so";
        assert_eq!(by(dotnet), Some((Kind::Dotnet, version("8.0.11"))));
        assert_eq!(by("/app/libcoreclr.so"), Some((Kind::Dotnet, None)));
        let ruby = "/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2";
        assert_eq!(by(ruby), Some((Kind::Ruby, version("3.1"))));
        assert_eq!(by("/usr/local/lib/libruby.so.3.3.0"), Some((Kind::Ruby, version("3.3"))));
        let php = "/usr/lib/apache2/modules/libphp8.2.so";
        assert_eq!(by(php), Some((Kind::Php, version("8.2"))));
        assert_eq!(by("/usr/lib/x86_64-linux-gnu/libc.so.6"), None);
        assert_eq!(by("/opt/app/lib/runtime/lib/server/libjvm.so"), Some((Kind::Java, None)));
    }

    #[test]
    fn hostile_maps_and_names_are_survived() {
        let mut dice = Dice::new(1);
        let captured = "7f00-7f01 r-xp 00000000 08:01 42   /usr/lib/libpython3.11.so.1.0\n\
                        7f02-7f03 r--p 00000000 08:01 43   /opt/8.0.11/libcoreclr.so\n\
                        7f04-7f05 rw-p 00000000 00:00 0    [heap]\n";
        let nowhere = "/nowhere";
        let mut known = 0;
        for _ in 0..10_000 {
            let maps = mutate::text(&mut dice, captured);
            known += u32::from(by_libraries(nowhere, &maps).is_some());
            let _ = by_name(nowhere, &mutate::text(&mut dice, "/opt/jdk-17/bin/java"));
            let _ = by_name(nowhere, &mutate::text(&mut dice, "/usr/sbin/php-fpm8.2"));
        }
        assert!(known > 1_000, "{known}");
    }
}
