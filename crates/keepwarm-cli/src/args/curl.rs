//! A curl command line as a load: `keepwarm load -- curl …`.
//!
//! Owns the options of curl that mean something to a load, and the refusal of the others by name.

use std::collections::VecDeque;

use keepwarm_record::duration;

use super::{LoadOptions, header};
use crate::exit::{Exit, Failure};

/// Options without a value that change nothing in a load: they are about curl's own output, or about
/// redirects and retries, which a load counts.
const IGNORED: [&str; 32] = [
    "s",
    "silent",
    "S",
    "show-error",
    "v",
    "verbose",
    "i",
    "include",
    "f",
    "fail",
    "g",
    "globoff",
    "N",
    "no-buffer",
    "O",
    "remote-name",
    "J",
    "remote-header-name",
    "#",
    "progress-bar",
    "http1.1",
    "no-progress-meter",
    "fail-with-body",
    "tcp-nodelay",
    "show-headers",
    "q",
    "disable",
    "path-as-is",
    "retry-connrefused",
    "retry-all-errors",
    "tlsv1.2",
    "no-alpn",
];

/// Options with a value that change nothing in a load.
const IGNORED_WITH_VALUE: [&str; 14] = [
    "o",
    "output",
    "w",
    "write-out",
    "D",
    "dump-header",
    "c",
    "cookie-jar",
    "stderr",
    "retry",
    "retry-delay",
    "retry-max-time",
    "max-redirs",
    "noproxy",
];

/// The parts of a curl line that are no options of a load.
#[derive(Default)]
struct CurlLine {
    data: Vec<String>,
    /// A part of the data was given by `--json`.
    is_json: bool,
    /// Values of `-b`, which make one field.
    cookies: Vec<String>,
    /// The data goes into the URL (`-G`).
    in_url: bool,
    head: bool,
}

/// Takes the curl line of a load apart, and puts it into the load's own options.
pub(crate) fn apply(mut options: LoadOptions) -> Result<LoadOptions, Failure> {
    if options.curl.is_empty() {
        return Ok(options);
    }
    let mut words: VecDeque<String> = std::mem::take(&mut options.curl).into();
    let program = words.pop_front().unwrap_or_default();
    if program.rsplit('/').next() != Some("curl") {
        return Err(refused(&program, "what follows -- has to be a curl command line"));
    }
    if options.url.is_some() {
        return Err(refused("--", "the URL is that of the curl line: leave out the other one"));
    }
    let mut line = CurlLine::default();
    let mut has_ended = false;
    while let Some(word) = words.pop_front() {
        if word == "--" {
            has_ended = true;
        } else if let Some(long) = word.strip_prefix("--").filter(|_| !has_ended) {
            let (name, given) = match long.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (long.to_owned(), None),
            };
            one(&mut options, &mut line, &name, &word, || given.or_else(|| words.pop_front()))?;
        } else if word.len() > 1 && word.starts_with('-') && !has_ended {
            shorts(&mut options, &mut line, &word, &mut words)?;
        } else {
            url(&mut options, &word)?;
        }
    }
    finish(options, line)
}

fn refused(word: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("curl line, {word}: {why}"))
}

/// Handles the letters of one word, such as `-sSXPOST`.
fn shorts(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    word: &str,
    words: &mut VecDeque<String>,
) -> Result<(), Failure> {
    let mut rest = &word[1..];
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let mut taken = false;
        let value = || {
            taken = true;
            if rest.is_empty() { words.pop_front() } else { Some(rest.to_owned()) }
        };
        one(options, line, &letter.to_string(), &format!("-{letter}"), value)?;
        if taken {
            return Ok(());
        }
    }
    Ok(())
}

/// Handles one option. `value` takes its value.
fn one(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    name: &str,
    word: &str,
    value: impl FnOnce() -> Option<String>,
) -> Result<(), Failure> {
    let value = || value().ok_or_else(|| refused(word, "it needs a value"));
    let engine = &mut options.engine;
    match name {
        "X" | "request" => options.method = Some(value()?),
        "H" | "header" => add_header(options, word, &value()?)?,
        "A" | "user-agent" => options.headers.push(("User-Agent".to_owned(), value()?)),
        "e" | "referer" => options.headers.push(("Referer".to_owned(), value()?)),
        "b" | "cookie" => {
            let cookie = value()?;
            if !cookie.contains('=') {
                return Err(refused(word, "files of cookies are not read: write NAME=VALUE"));
            }
            line.cookies.push(cookie);
        }
        "r" | "range" => options.headers.push(("Range".to_owned(), format!("bytes={}", value()?))),
        "compressed" => {
            options.headers.push(("Accept-Encoding".to_owned(), "gzip, deflate, br".to_owned()));
        }
        "oauth2-bearer" => {
            options.headers.push(("Authorization".to_owned(), format!("Bearer {}", value()?)));
        }
        "d" | "data" | "data-ascii" => line.data.push(data(options, word, &value()?, true)?),
        "data-binary" => line.data.push(data(options, word, &value()?, false)?),
        "data-raw" => line.data.push(value()?),
        "data-urlencode" => line.data.push(urlencoded(options, word, &value()?)?),
        "json" => {
            let more = data(options, word, &value()?, false)?;
            // Pieces of JSON follow each other without a sign between them.
            match line.data.last_mut().filter(|_| line.is_json) {
                Some(last) => last.push_str(&more),
                None => line.data.push(more),
            }
            line.is_json = true;
        }
        "G" | "get" => line.in_url = true,
        "I" | "head" => line.head = true,
        "u" | "user" => engine.user = Some(value()?),
        "basic" => {}
        "k" | "insecure" => engine.insecure = true,
        "cacert" => engine.ca_cert = Some(value()?.into()),
        "E" | "cert" => engine.cert = Some(value()?.into()),
        "key" => engine.key = Some(value()?.into()),
        "http2" | "http2-prior-knowledge" => engine.http2 = true,
        "no-keepalive" => options.close = true,
        "4" | "ipv4" => engine.ipv4 = true,
        "6" | "ipv6" => engine.ipv6 = true,
        "unix-socket" => engine.unix_socket = Some(value()?.into()),
        "connect-to" => engine.connect_to.push(parsed(word, &value()?)?),
        "resolve" => engine.connect_to.push(resolve(word, &value()?)?),
        "interface" => engine.sources.push(parsed(word, &value()?)?),
        "m" | "max-time" | "connect-timeout" => {
            let seconds = value()?;
            let parsed = duration::parse_length(&format!("{seconds}s"));
            options.timeout = parsed.map_err(|why| refused(word, &why))?;
        }
        "url" => url(options, &value()?)?,
        "L" | "location" => crate::output::complain(
            &"curl line, -L: redirects are counted and not followed; give the last URL instead",
        ),
        name if IGNORED.contains(&name) => {}
        name if IGNORED_WITH_VALUE.contains(&name) => drop(value()?),
        "F" | "form" => {
            return Err(refused(word, "a multipart body is not sent by a load; use -d"));
        }
        "x" | "proxy" => return Err(refused(word, "a load goes through no proxy")),
        _ => return Err(refused(word, "a load does not know this option of curl; leave it out")),
    }
    Ok(())
}

fn add_header(options: &mut LoadOptions, word: &str, text: &str) -> Result<(), Failure> {
    if text.starts_with('@') {
        return Err(refused(word, "files of fields are not read: write 'Name: value'"));
    }
    // As curl has it: `Name;` is a field without a value, and `Name:` is a field of curl's own left out.
    let (name, value) = match text.strip_suffix(';').filter(|name| !name.contains(':')) {
        Some(name) if !name.trim().is_empty() => (name.trim().to_owned(), String::new()),
        _ => match header(text).map_err(|why| refused(word, &why))? {
            (_, value) if value.is_empty() => return Ok(()),
            field => field,
        },
    };
    // A load computes these three; curl lines that browsers write have them.
    let computed = ["content-length", "connection", "transfer-encoding"];
    if !computed.contains(&name.to_ascii_lowercase().as_str()) {
        options.headers.push((name, value));
    }
    Ok(())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    word: &str,
    text: &str,
) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| refused(word, &format!("{text:?}: {error}")))
}

/// Turns `HOST:PORT:ADDRESS` into a rule of `--connect-to`.
fn resolve(word: &str, text: &str) -> Result<keepwarm_load::ConnectTo, Failure> {
    let shape = || refused(word, "write HOST:PORT:ADDRESS");
    let (host, rest) = text.trim_start_matches('+').split_once(':').ok_or_else(shape)?;
    let (port, address) = rest.split_once(':').ok_or_else(shape)?;
    let address = address.split(',').next().unwrap_or_default();
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    parsed(word, &format!("{host}:{port}:{address}:"))
}

/// Returns the data of `-d`; of a file without its line ends, as curl does, unless it is binary.
fn data(
    options: &LoadOptions,
    word: &str,
    text: &str,
    without_lines: bool,
) -> Result<String, Failure> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let text = file_text(options, word, file)?;
    Ok(if without_lines { text.replace(['\r', '\n'], "") } else { text })
}

/// Reads a file that the line names; of the line of a fleet none.
fn file_text(options: &LoadOptions, word: &str, file: &str) -> Result<String, Failure> {
    if options.fleet_check {
        return Err(Failure::of_one_machine(&format!("curl line, {word} @{file}:")));
    }
    let read = keepwarm_load::read_file(file.as_ref());
    let bytes = read.map_err(|error| refused(word, &format!("cannot read {file}: {error}")))?;
    String::from_utf8(bytes)
        .map_err(|_| refused(word, &format!("{file} is not UTF-8: use --body-file")))
}

/// Encodes the content of `--data-urlencode`: `CONTENT`, `=CONTENT`, `NAME=CONTENT`, `@FILE` or
/// `NAME@FILE`.
fn urlencoded(options: &LoadOptions, word: &str, text: &str) -> Result<String, Failure> {
    let file;
    let (name, content) = match (text.split_once('='), text.split_once('@')) {
        (Some(parts), _) => parts,
        (None, Some((name, path))) => {
            file = file_text(options, word, path)?;
            (name, file.as_str())
        }
        (None, None) => ("", text),
    };
    let mut encoded = String::new();
    for byte in content.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(if name.is_empty() { encoded } else { format!("{name}={encoded}") })
}

/// Takes the URL; its credentials become those of `-u`.
fn url(options: &mut LoadOptions, text: &str) -> Result<(), Failure> {
    if options.url.is_some() {
        return Err(refused(text, "there are several URLs; a load has one"));
    }
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let start = full.find("://").map_or(0, |at| at + 3);
    let end = full[start..].find(['/', '?', '#']).map_or(full.len(), |at| start + at);
    if let Some((user, host)) = full[start..end].rsplit_once('@') {
        let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
        options.url = Some(format!("{}{host}{}", &full[..start], &full[end..]));
        options.engine.user.get_or_insert(user);
    } else {
        options.url = Some(full);
    }
    Ok(())
}

fn finish(mut options: LoadOptions, line: CurlLine) -> Result<LoadOptions, Failure> {
    let has = |options: &LoadOptions, name: &str| {
        options.headers.iter().any(|(there, _)| there.eq_ignore_ascii_case(name))
    };
    if !line.cookies.is_empty() {
        options.headers.push(("Cookie".to_owned(), line.cookies.join("; ")));
    }
    if line.is_json {
        for name in ["Content-Type", "Accept"] {
            if !has(&options, name) {
                options.headers.push((name.to_owned(), "application/json".to_owned()));
            }
        }
    }
    let Some(url) = &mut options.url else {
        return Err(refused("curl", "it has no URL"));
    };
    if url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
        // To curl, options of TLS mean nothing then; browsers write -k in any line.
        let engine = &mut options.engine;
        (engine.insecure, engine.ca_cert, engine.cert, engine.key) = (false, None, None, None);
    }
    let data = line.data.join("&");
    if line.in_url && !data.is_empty() {
        let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
        let sign = if before.contains('?') { '&' } else { '?' };
        let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
        *url = format!("{before}{sign}{data}{fragment}");
    } else if !line.data.is_empty() {
        if options.body.is_some() || options.body_file.is_some() {
            return Err(refused("-d", "the load has a body of its own too: leave out one of them"));
        }
        options.body_text = Some(data);
    }
    if line.head {
        options.method.get_or_insert_with(|| "HEAD".to_owned());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::super::{Arguments, Command};
    use super::*;

    fn load(words: &[&str]) -> Result<LoadOptions, Failure> {
        let typed = ["keepwarm", "load", "-n", "5", "--", "curl"].iter().chain(words);
        match Arguments::try_parse_from(typed).expect("arguments").command {
            Command::Load(options) => apply(*options),
            _ => panic!("it is a load"),
        }
    }

    #[test]
    fn browsers_line_becomes_a_load() {
        let options = load(&[
            "https://host.test/api?x=1",
            "-X",
            "POST",
            "-H",
            "accept: */*",
            "-H",
            "content-length: 8",
            "--data-raw",
            "{\"a\":1}@",
            "--compressed",
            "--insecure",
        ])
        .expect("a load");
        assert!(!load(&["-k", "http://host.test/"]).expect("a load").engine.insecure, "no TLS");
        assert_eq!(options.url.as_deref(), Some("https://host.test/api?x=1"));
        assert_eq!(options.method.as_deref(), Some("POST"));
        assert_eq!(options.body_text.as_deref(), Some("{\"a\":1}@"));
        let names: Vec<&str> = options.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["accept", "Accept-Encoding"]);
        assert!(options.engine.insecure);
    }

    #[test]
    fn letters_values_and_credentials_are_read() {
        let options =
            load(&["-sSXPUT", "-H", "A: b", "-da=1", "-d", "b=2", "-m2", "-4", "u:p@host/x"]);
        let options = options.expect("a load");
        assert_eq!(options.url.as_deref(), Some("http://host/x"));
        assert_eq!(options.engine.user.as_deref(), Some("u:p"));
        assert_eq!(options.body_text.as_deref(), Some("a=1&b=2"));
        assert_eq!(options.method.as_deref(), Some("PUT"));
        assert_eq!(options.timeout.as_secs(), 2);
        assert!(options.engine.ipv4);
        let options = load(&["-G", "--data-urlencode", "q=a b", "host/x?y=1"]).expect("a load");
        assert_eq!(options.url.as_deref(), Some("http://host/x?y=1&q=a%20b"));
        let options = load(&["-I", "--resolve", "host:80:127.0.0.1", "host"]).expect("a load");
        assert_eq!(options.method.as_deref(), Some("HEAD"));
        assert_eq!(options.engine.connect_to[0].to_string(), "host:80:127.0.0.1:");
    }

    #[test]
    fn fields_follow_curls_own_rules() {
        let line =
            "-H Accept: -H X-Empty; -b a=1 -b b=2 --json {} --json [] -H content-type:text/x host";
        let options = load(&line.split(' ').collect::<Vec<_>>()).expect("a load");
        let fields: Vec<String> =
            options.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let wanted =
            ["X-Empty: ", "content-type: text/x", "Cookie: a=1; b=2", "Accept: application/json"];
        assert_eq!(fields, wanted);
        assert_eq!(options.body_text.as_deref(), Some("{}[]"));
        let options = load(&["--http2", "--no-keepalive", "-qo", "/dev/null", "host"]);
        let options = options.expect("a load");
        assert!(options.engine.http2 && options.close);
    }

    #[test]
    fn files_are_encoded_where_curl_does() {
        let path = std::env::temp_dir().join(format!("keepwarm-curl-{}", std::process::id()));
        std::fs::write(&path, "a b\n").expect("written");
        let file = path.to_str().expect("plain");
        let options = load(&["--data-urlencode", &format!("q@{file}"), "host"]).expect("a load");
        assert_eq!(options.body_text.as_deref(), Some("q=a%20b%0A"));
        let options = load(&["-d", &format!("@{file}"), "host"]).expect("a load");
        assert_eq!(options.body_text.as_deref(), Some("a b"), "without line ends");
        std::fs::remove_file(path).expect("removable");
    }

    #[test]
    fn unknown_options_are_named() {
        for (words, named) in [
            (&["--zzz", "host"][..], "--zzz"),
            (&["-F", "a=b", "host"], "-F"),
            (&["-sxproxy", "host"], "-x"),
            (&["host", "other"], "other"),
            (&["-X"], "-X"),
            (&[], "no URL"),
            (&["-b", "jar.txt", "host"], "-b"),
            (&["-H", "@fields.txt", "host"], "-H"),
        ] {
            let error = load(words).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(words in proptest::collection::vec("-{0,2}[a-zA-Z@:=]{0,4}|\\PC{0,6}", 0..4)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = load(&words);
        }
    }
}
