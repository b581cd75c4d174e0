//! A curl command line as a load: `keepwarm load -- curl …`.
//!
//! Owns the options of curl that mean something to a load, and the refusal of the others by name.
//! `known` has those without a rule of their own, `form` the body of `-F`, `cookies` the files of `-b`.

mod cookies;
mod form;
mod known;

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use keepwarm_record::duration;

use super::{LoadOptions, header};
use crate::exit::{Exit, Failure};

/// The parts of a curl line that become options of a load once the whole line is read.
#[derive(Default)]
struct CurlLine {
    data: Vec<Vec<u8>>,
    /// A part of the data was given by `--json`.
    is_json: bool,
    /// Parts of `-F`.
    form: Vec<form::Part>,
    /// Pieces of `--url-query`.
    query: Vec<String>,
    /// Values of `-b`, which make one field, and the files among them.
    cookies: Vec<String>,
    cookie_files: Vec<String>,
    /// File of `-T`.
    upload: Option<String>,
    /// Fields that an option stands for. Those of `-H` replace them.
    fields: Vec<(String, String)>,
    /// Fields that are left out, in small letters: `-H Name:`.
    omitted: Vec<String>,
    /// Credentials of `-u`, and of the URL.
    user: Option<String>,
    user_of_url: Option<String>,
    /// The data goes into the URL (`-G`).
    in_url: bool,
    head: bool,
    /// The URL has no patterns (`-g`).
    is_plain: bool,
    /// Dots in the path of the URL stay (`--path-as-is`).
    keeps_dots: bool,
}

impl CurlLine {
    /// Replaces the field of an option; an empty value leaves the field out.
    fn set(&mut self, name: &str, value: String) {
        self.fields.retain(|(there, _)| there != name);
        self.omitted.retain(|there| !there.eq_ignore_ascii_case(name));
        if value.is_empty() {
            self.omitted.push(name.to_ascii_lowercase());
        } else {
            self.fields.push((name.to_owned(), value));
        }
    }
}

/// An option of the line as it was typed, and where its value comes from.
struct Given<'a> {
    /// The option, with its dashes.
    word: &'a str,
    /// The rest of its own word, if that is the value.
    own: Option<String>,
    words: &'a mut VecDeque<String>,
    is_taken: bool,
}

impl Given<'_> {
    fn value(&mut self) -> Result<String, Failure> {
        self.is_taken = true;
        let value = self.own.take().or_else(|| self.words.pop_front());
        value.ok_or_else(|| refused(self.word, "it needs a value"))
    }
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
            let (name, own) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let typed = word.split('=').next().unwrap_or_default();
            let given = Given { word: typed, own, words: &mut words, is_taken: false };
            one(&mut options, &mut line, name, given)?;
        } else if word.len() > 1 && word.starts_with('-') && !has_ended {
            shorts(&mut options, &mut line, &word, &mut words)?;
        } else {
            url(&mut options, &mut line, &word)?;
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
        let own = (!rest.is_empty()).then(|| rest.to_owned());
        let typed = format!("-{letter}");
        let given = Given { word: &typed, own, words, is_taken: false };
        if one(options, line, &letter.to_string(), given)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Handles one option, and tells whether it took a value.
fn one(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    name: &str,
    mut given: Given<'_>,
) -> Result<bool, Failure> {
    let plain = name.strip_prefix("no-").unwrap_or(name);
    if known::IGNORED.contains(&name) || known::IGNORED.contains(&plain) {
        return Ok(false);
    }
    if known::IGNORED_WITH_VALUE.contains(&name) {
        given.value()?;
        return Ok(true);
    }
    if let Some((_, why)) = known::REFUSED.iter().find(|(names, _)| names.contains(&name)) {
        return Err(refused(given.word, why));
    }
    let is_known =
        of_request(options, line, name, &mut given)? || of_connection(options, name, &mut given)?;
    if !is_known {
        return Err(refused(given.word, "a load does not know this option of curl; leave it out"));
    }
    Ok(given.is_taken)
}

/// Handles an option about the request. False for another one.
fn of_request(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    name: &str,
    given: &mut Given<'_>,
) -> Result<bool, Failure> {
    let word = given.word;
    match name {
        "X" | "request" => options.method = Some(given.value()?),
        "H" | "header" => add_headers(options, line, word, &given.value()?)?,
        "A" | "user-agent" => line.set("User-Agent", given.value()?),
        "e" | "referer" => {
            let from = given.value()?;
            line.set("Referer", from.strip_suffix(";auto").unwrap_or(&from).to_owned());
        }
        "b" | "cookie" => match given.value()? {
            cookie if cookie.contains('=') => line.cookies.push(cookie),
            file if file.is_empty() => {}
            file => line.cookie_files.push(file),
        },
        "r" | "range" => line.set("Range", format!("bytes={}", given.value()?)),
        "compressed" => line.set("Accept-Encoding", "gzip, deflate, br".to_owned()),
        "oauth2-bearer" => line.set("Authorization", format!("Bearer {}", given.value()?)),
        "u" | "user" => line.user = Some(given.value()?),
        "d" | "data" | "data-ascii" => line.data.push(data(options, word, &given.value()?, true)?),
        "data-binary" => line.data.push(data(options, word, &given.value()?, false)?),
        "data-raw" => line.data.push(given.value()?.into_bytes()),
        "data-urlencode" => {
            line.data.push(urlencoded(options, word, &given.value()?)?.into_bytes());
        }
        "url-query" => {
            let text = given.value()?;
            line.query.push(match text.strip_prefix('+') {
                Some(raw) => raw.to_owned(),
                None => urlencoded(options, word, &text)?,
            });
        }
        "json" => {
            let more = data(options, word, &given.value()?, false)?;
            // Pieces of JSON follow each other without a sign between them.
            match line.data.last_mut().filter(|_| line.is_json) {
                Some(last) => last.extend(more),
                None => line.data.push(more),
            }
            line.is_json = true;
        }
        "F" | "form" => {
            let text = given.value()?;
            let part = form::part(&text, |file| file_bytes(options, word, file));
            line.form.push(part.map_err(|why| why.of(word))?);
        }
        "form-string" => {
            line.form.push(form::string(&given.value()?).map_err(|why| refused(word, &why))?);
        }
        "T" | "upload-file" => line.upload = Some(given.value()?),
        "G" | "get" => line.in_url = true,
        "I" | "head" => line.head = true,
        "g" | "globoff" => line.is_plain = true,
        "path-as-is" => line.keeps_dots = true,
        "url" => url(options, line, &given.value()?)?,
        "L" | "location" | "location-trusted" => crate::output::complain(
            &"curl line, -L: redirects are counted and not followed; give the last URL instead",
        ),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Handles an option about connections. False for another one.
fn of_connection(
    options: &mut LoadOptions,
    name: &str,
    given: &mut Given<'_>,
) -> Result<bool, Failure> {
    let word = given.word;
    let engine = &mut options.engine;
    match name {
        "k" | "insecure" => engine.insecure = true,
        "cacert" => engine.ca_cert = Some(given.value()?.into()),
        "E" | "cert" => {
            let cert = given.value()?;
            if cert.contains(':') && !std::path::Path::new(&cert).exists() {
                return Err(refused(word, "keys with a password are not read: give a PEM file"));
            }
            engine.cert = Some(cert.into());
        }
        "key" => engine.key = Some(given.value()?.into()),
        "http2" | "http2-prior-knowledge" => engine.http2 = true,
        "no-keepalive" => options.close = true,
        "4" | "ipv4" => engine.ipv4 = true,
        "6" | "ipv6" => engine.ipv6 = true,
        "unix-socket" => engine.unix_socket = Some(given.value()?.into()),
        "connect-to" => engine.connect_to.push(parsed(word, &given.value()?)?),
        "resolve" => engine.connect_to.push(resolve(word, &given.value()?)?),
        "interface" => engine.sources.push(parsed(word, &given.value()?)?),
        "m" | "max-time" => {
            let seconds = given.value()?;
            let parsed = duration::parse_length(&format!("{seconds}s"));
            options.timeout = parsed.map_err(|why| refused(word, &why))?;
        }
        "connect-timeout" => {
            given.value()?;
            crate::output::complain(
                &"curl line, --connect-timeout: a load has one time limit, for the whole request: -m",
            );
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Adds a field, or the fields of a file.
fn add_headers(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    word: &str,
    text: &str,
) -> Result<(), Failure> {
    let Some(file) = text.strip_prefix('@') else { return add_header(options, line, word, text) };
    for field in file_text(options, word, file)?.lines().filter(|field| !field.trim().is_empty()) {
        add_header(options, line, word, field)?;
    }
    Ok(())
}

fn add_header(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    word: &str,
    text: &str,
) -> Result<(), Failure> {
    // As curl has it: `Name;` is a field without a value, and `Name:` is a field of curl's own left out.
    let (name, value) = match text.strip_suffix(';').filter(|name| !name.contains(':')) {
        Some(name) if !name.trim().is_empty() => (name.trim().to_owned(), String::new()),
        _ => match header(text).map_err(|why| refused(word, &why))? {
            (name, value) if value.is_empty() => {
                if name.eq_ignore_ascii_case("host") {
                    return Err(refused(word, "a request without Host is none of HTTP/1.1"));
                }
                line.omitted.push(name.to_ascii_lowercase());
                return Ok(());
            }
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

/// Turns `HOST:PORT:ADDRESS` into a rule of `--connect-to`. `*` is any host.
fn resolve(word: &str, text: &str) -> Result<keepwarm_load::ConnectTo, Failure> {
    let shape = || refused(word, "write HOST:PORT:ADDRESS");
    let (host, rest) = text.trim_start_matches('+').split_once(':').ok_or_else(shape)?;
    let (port, address) = rest.split_once(':').ok_or_else(shape)?;
    let address = address.split(',').next().unwrap_or_default();
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let host = if host == "*" { "" } else { host };
    parsed(word, &format!("{host}:{port}:{address}:"))
}

/// Returns the data of `-d`; of a file without its line ends, as curl does, unless it is binary.
fn data(
    options: &LoadOptions,
    word: &str,
    text: &str,
    without_lines: bool,
) -> Result<Vec<u8>, Failure> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.as_bytes().to_vec()) };
    let mut bytes = file_bytes(options, word, file).map_err(|why| why.of(word))?;
    if without_lines {
        bytes.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    }
    Ok(bytes)
}

/// A reason why a value cannot be used, or a failure that says it already.
enum Wrong {
    Because(String),
    Failed(Failure),
}

impl Wrong {
    fn of(self, word: &str) -> Failure {
        match self {
            Self::Because(why) => refused(word, &why),
            Self::Failed(failure) => failure,
        }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

/// Reads a file that the line names; of the line of a fleet none.
fn file_bytes(options: &LoadOptions, word: &str, file: &str) -> Result<Vec<u8>, Wrong> {
    if options.fleet_check {
        return Err(Wrong::Failed(Failure::of_one_machine(&format!("curl line, {word} @{file}:"))));
    }
    if file == "-" {
        return Err(Wrong::Because("standard input is not read: name a file".to_owned()));
    }
    let read = keepwarm_load::read_file(file.as_ref());
    read.map_err(|error| Wrong::Because(format!("cannot read {file}: {error}")))
}

/// Reads a file of text.
fn file_text(options: &LoadOptions, word: &str, file: &str) -> Result<String, Failure> {
    let bytes = file_bytes(options, word, file).map_err(|why| why.of(word))?;
    String::from_utf8(bytes).map_err(|_| refused(word, &format!("{file} is not UTF-8")))
}

/// Encodes the content of `--data-urlencode`: `CONTENT`, `=CONTENT`, `NAME=CONTENT`, `@FILE` or
/// `NAME@FILE`.
fn urlencoded(options: &LoadOptions, word: &str, text: &str) -> Result<String, Failure> {
    let file;
    let (name, content) = match (text.split_once('='), text.split_once('@')) {
        (Some((name, content)), _) => (name, content.as_bytes()),
        (None, Some((name, path))) => {
            file = file_bytes(options, word, path).map_err(|why| why.of(word))?;
            (name, &file[..])
        }
        (None, None) => ("", text.as_bytes()),
    };
    let mut encoded = String::new();
    for byte in content {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(char::from(*byte));
        } else if *byte == b' ' {
            encoded.push('+');
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(if name.is_empty() { encoded } else { format!("{name}={encoded}") })
}

/// Takes the URL; its credentials become those of `-u`.
fn url(options: &mut LoadOptions, line: &mut CurlLine, text: &str) -> Result<(), Failure> {
    if options.url.is_some() {
        let why =
            "there are several URLs, and a load has one: --requests-file sends several requests";
        return Err(refused(&crate::secrets::url(text), why));
    }
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let start = full.find("://").map_or(0, |at| at + 3);
    let end = full[start..].find(['/', '?', '#']).map_or(full.len(), |at| start + at);
    if let Some((user, host)) = full[start..end].rsplit_once('@') {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        line.user_of_url = Some(format!("{}:{}", decoded(name), decoded(password)));
        options.url = Some(format!("{}{host}{}", &full[..start], &full[end..]));
    } else {
        options.url = Some(full);
    }
    Ok(())
}

/// Decodes the percent signs of a part of a URL.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let code = digits.and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Refuses a URL that curl would make several of, unless `-g` was given, and removes the backslashes
/// that keep it from that. Braces are fields where the load has templates.
fn check_patterns(url: &str, has_templates: bool) -> Result<String, Failure> {
    let host = url.find("://").map_or(0, |at| at + 3);
    let mut plain = String::with_capacity(url.len());
    let mut letters = url.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let is_address = letter == '[' && at == host;
        match letter {
            '\\' => match letters.next_if(|(_, next)| "[]{}".contains(*next)) {
                Some((_, next)) => plain.push(next),
                None => plain.push(letter),
            },
            '[' if !is_address => return Err(patterned(url, "[")),
            '{' if !has_templates => return Err(patterned(url, "{")),
            _ => plain.push(letter),
        }
    }
    Ok(plain)
}

/// Removes the segments `.` and `..` from the path of a URL (RFC 3986, section 5.2.4), as curl does.
fn without_dots(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let Some(path) = url[start..].find(['/', '?', '#']).map(|at| start + at) else {
        return url.to_owned();
    };
    let end = url[path..].find(['?', '#']).map_or(url.len(), |at| path + at);
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = url[path..end].split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    let slash = if path == end { "" } else { "/" };
    format!("{}{slash}{}{}", &url[..path], kept.join("/"), &url[end..])
}

fn patterned(url: &str, sign: &str) -> Failure {
    let why = format!(
        "curl makes several URLs of it, because of {sign}, and a load has one: add -g to send it as it \
         is, or use --template or --requests-file of the load"
    );
    refused(url, &why)
}

fn has(options: &LoadOptions, name: &str) -> bool {
    options.headers.iter().any(|(there, _)| there.eq_ignore_ascii_case(name))
}

fn finish(mut options: LoadOptions, mut line: CurlLine) -> Result<LoadOptions, Failure> {
    let Some(url) = options.url.take() else {
        return Err(refused("curl", "it has no URL"));
    };
    let url = if line.is_plain { url } else { check_patterns(&url, options.engine.template)? };
    let url = if line.keeps_dots { url } else { without_dots(&url) };
    cookies_of_files(&options, &mut line, &url)?;
    if !line.cookies.is_empty() {
        line.fields.push(("Cookie".to_owned(), line.cookies.join("; ")));
    }
    if line.is_json {
        for name in ["Content-Type", "Accept"] {
            line.fields.push((name.to_owned(), "application/json".to_owned()));
        }
    }
    options.url = Some(url);
    content(&mut options, &mut line)?;
    // A field of -H replaces that of an option, as with curl.
    for (name, value) in line.fields {
        if !has(&options, &name) && !line.omitted.contains(&name.to_ascii_lowercase()) {
            options.headers.push((name, value));
        }
    }
    line.omitted.retain(|name| !has(&options, name));
    options.omitted = line.omitted;
    let user = line.user.or(line.user_of_url);
    if let Some(user) = user.filter(|_| !has(&options, "authorization")) {
        options.engine.user.get_or_insert(user);
    }
    let engine = &mut options.engine;
    // As with curl, the file of the certificate has the key too, unless another one has it.
    engine.key = engine.key.take().or_else(|| engine.cert.clone());
    let url = options.url.as_deref().unwrap_or_default();
    if url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
        // To curl, options of TLS mean nothing then; browsers write -k in any line.
        (engine.insecure, engine.ca_cert, engine.cert, engine.key) = (false, None, None, None);
    }
    if line.head {
        options.method.get_or_insert_with(|| "HEAD".to_owned());
    }
    Ok(options)
}

/// Adds the cookies that files have for the URL.
fn cookies_of_files(options: &LoadOptions, line: &mut CurlLine, url: &str) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let typed = std::mem::take(&mut line.cookies);
    for file in std::mem::take(&mut line.cookie_files) {
        let text = file_text(options, "-b", &file)?;
        let cookies = cookies::of_file(&text, &cookies::Place::of(url), now);
        let cookies = cookies.map_err(|why| refused("-b", &format!("{file}, {why}")))?;
        line.cookies.extend(cookies);
    }
    line.cookies.extend(typed);
    Ok(())
}

/// Puts the data of the line into the body, or into the URL.
fn content(options: &mut LoadOptions, line: &mut CurlLine) -> Result<(), Failure> {
    let has_data = !line.data.is_empty();
    let kinds = [has_data && !line.in_url, !line.form.is_empty(), line.upload.is_some()];
    if kinds.iter().filter(|given| **given).count() + usize::from(line.head) > 1 {
        let why = "-d, -F, -T and -I exclude each other, as with curl: leave out all but one";
        return Err(refused("curl", why));
    }
    let data = line.data.join(&b'&');
    if has_data && line.in_url {
        let text = String::from_utf8(data);
        line.query.push(text.map_err(|_| refused("-G", "the data is not UTF-8"))?);
    } else if has_data {
        options.body_bytes = Some(data);
    } else if !line.form.is_empty() {
        let (body, boundary) = form::body(&line.form);
        options.body_bytes = Some(body);
        let is_type = |(name, _): &&mut (String, String)| name.eq_ignore_ascii_case("content-type");
        match options.headers.iter_mut().find(is_type) {
            // A type of the line lacks what nobody can write by hand.
            Some((_, kind)) if !kind.contains("boundary=") => {
                kind.push_str(&format!("; boundary={boundary}"));
            }
            Some(_) => {}
            None => line.set("Content-Type", format!("multipart/form-data; boundary={boundary}")),
        }
    }
    add_query(options, &line.query);
    if let Some(file) = &line.upload {
        upload(options, file)?;
        line.omitted.push("content-type".to_owned());
    }
    let bodies =
        [options.body.is_some(), options.body_file.is_some(), options.body_bytes.is_some()];
    if bodies.iter().filter(|given| **given).count() > 1 {
        return Err(refused("-d", "the load has a body of its own too: leave out one of them"));
    }
    Ok(())
}

/// Adds pieces of a query to the URL.
fn add_query(options: &mut LoadOptions, pieces: &[String]) {
    let pieces: Vec<&str> =
        pieces.iter().map(String::as_str).filter(|piece| !piece.is_empty()).collect();
    let Some(url) = options.url.as_mut().filter(|_| !pieces.is_empty()) else { return };
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    let sign = if before.contains('?') { '&' } else { '?' };
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
    *url = format!("{before}{sign}{}{fragment}", pieces.join("&"));
}

/// Sends a file as it is (`-T`), by PUT. To a URL that ends in a slash its name is added.
fn upload(options: &mut LoadOptions, file: &str) -> Result<(), Failure> {
    if options.fleet_check {
        return Err(Failure::of_one_machine(&format!("curl line, -T {file}:")));
    }
    if file == "-" || file == "." {
        return Err(refused("-T", "standard input is not read: name a file"));
    }
    let base = file.rsplit('/').next().unwrap_or_default();
    if let Some(url) = options.url.as_mut() {
        let start = url.find("://").map_or(0, |at| at + 3);
        match url[start..].find('/') {
            None if !url.contains('?') => url.push_str(&format!("/{base}")),
            Some(_) if url.ends_with('/') => url.push_str(base),
            _ => {}
        }
    }
    options.method.get_or_insert_with(|| "PUT".to_owned());
    if options.body_file.is_some() {
        return Err(refused("-T", "the load has a body of its own too: leave out one of them"));
    }
    options.body_file = Some(file.into());
    Ok(())
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

    fn text(options: &LoadOptions) -> String {
        String::from_utf8(options.body_bytes.clone().expect("a body")).expect("UTF-8")
    }

    fn fields(words: &[&str]) -> Vec<String> {
        let options = load(words).expect("a load");
        options.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn fields_of_h_replace_those_of_options() {
        let line =
            ["-H", "user-agent: x", "-A", "y", "-H", "accept-encoding: gzip", "--compressed"];
        assert_eq!(
            fields(&[&line[..], &["host"]].concat()),
            ["user-agent: x", "accept-encoding: gzip"]
        );
        let line = ["-u", "a:b", "--oauth2-bearer", "t", "-H", "authorization: z", "host"];
        assert_eq!(fields(&line), ["authorization: z"]);
        assert_eq!(load(&line).expect("a load").engine.user, None);
        assert_eq!(
            fields(&["-A", "x", "-A", "y", "-e", "z;auto", "host"]),
            ["User-Agent: y", "Referer: z"]
        );
        let options = load(&["-A", "", "-H", "Content-Type:", "-d", "x", "host"]).expect("a load");
        assert_eq!(options.omitted, ["user-agent", "content-type"]);
    }

    #[test]
    fn forms_and_uploads_have_their_types() {
        let options = load(&["-F", "a=b", "--form-string", "c=@d", "host"]).expect("a load");
        let (name, kind) = &options.headers[0];
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").expect("a boundary");
        assert_eq!(name, "Content-Type");
        assert!(text(&options).starts_with(&format!("--{boundary}\r\n")));
        assert!(text(&options).contains("name=\"c\"\r\n\r\n@d\r\n"));
        let kind = &fields(&["-H", "content-type: multipart/form-data", "-Fa=b", "host"])[0];
        assert!(kind.starts_with("content-type: multipart/form-data; boundary=---"), "{kind}");
        let options = load(&["-T", "x/y.bin", "host/z/"]).expect("a load");
        assert_eq!(options.url.as_deref(), Some("http://host/z/y.bin"));
        assert_eq!(
            (options.method.as_deref(), &options.omitted[..]),
            (Some("PUT"), &["content-type".to_owned()][..])
        );
        assert_eq!(options.body_file.as_deref(), Some("x/y.bin".as_ref()));
        let options = load(&["-T", "y", "host"]).expect("a load");
        assert_eq!(options.url.as_deref(), Some("http://host/y"));
    }

    #[test]
    fn urls_are_taken_as_by_curl() {
        let url = |words: &[&str]| load(words).expect("a load").url.expect("a URL");
        assert_eq!(url(&["-g", "host/{a}[1]"]), "http://host/{a}[1]");
        assert_eq!(url(&["host/\\{a\\}\\x"]), "http://host/{a}\\x");
        assert_eq!(url(&["host/a/./b/../c/..?../x"]), "http://host/a/?../x");
        assert_eq!(url(&["host/../..#/../"]), "http://host/#/../");
        assert_eq!(url(&["--path-as-is", "host/a/../b"]), "http://host/a/../b");
        assert_eq!(url(&["http://[::1]:80/"]), "http://[::1]:80/");
        assert_eq!(url(&["http://a:b@[::1]:80/"]), "http://[::1]:80/");
        let query = ["--url-query", "a=b c", "--url-query", "+d=%20", "-G", "-d", "e=f", "host#g"];
        assert_eq!(url(&query), "http://host?a=b+c&d=%20&e=f#g");
        let user = |words: &[&str]| load(words).expect("a load").engine.user;
        assert_eq!(user(&["http://a%40b:c%3a@host"]).as_deref(), Some("a@b:c:"));
        assert_eq!(user(&["-u", "x:y", "http://a:b@host"]).as_deref(), Some("x:y"));
        assert_eq!(user(&["http://a:b@host", "-u", "x:y"]).as_deref(), Some("x:y"));
        let engine = load(&["-E", "a.pem", "https://host"]).expect("a load").engine;
        assert_eq!(engine.key.as_deref(), Some("a.pem".as_ref()));
        let typed = ["keepwarm", "load", "-n1", "--template", "--", "curl", "host/{n}"];
        let Command::Load(options) = Arguments::try_parse_from(typed).expect("arguments").command
        else {
            panic!("it is a load")
        };
        assert_eq!(apply(*options).expect("a load").url.as_deref(), Some("http://host/{n}"));
    }

    /// Lines that people copy: of documentation, of scripts, of browsers.
    #[test]
    fn common_lines_are_taken_whole() {
        for line in [
            "-fsSL https://host/install.sh",
            "--proto =https --tlsv1.2 -sSf https://host",
            "-s -o /dev/null -w %{http_code} host",
            "-sS -D - -o /dev/null host",
            "-v --http1.1 host",
            "-i -X DELETE host/items/1",
            "-X PATCH -H Content-Type:application/json -d {\"a\":1} host",
            "-k -I https://host",
            "-b a=b; -c jar host",
            "--retry 5 --retry-delay 1 --retry-all-errors --max-time 2.5 host",
            "-L --max-redirs 3 --location-trusted host",
            "--resolve host:443:127.0.0.1,[::1] https://host",
            "--resolve *:443:[::1] https://host",
            "-4 --interface 127.0.0.1 --noproxy * host",
            "-OJR --create-dirs --output-dir x host",
            "-Z --parallel-max 5 --no-progress-meter host",
            "-1 -j --no-silent --no-verbose host",
            "--data-binary x --http2 https://host",
            "--url host --request GET --header A:b --user a:b --get --data c",
            "--oauth2-bearer t --json {} --compressed host",
            "-r 0-99 -e from -A agent -g host",
            "--unix-socket /run/a.sock http://localhost/x",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            if let Err(error) = load(&words) {
                panic!("{line}: {error}");
            }
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
        assert_eq!(text(&options), "{\"a\":1}@");
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
        assert_eq!(text(&options), "a=1&b=2");
        assert_eq!(options.method.as_deref(), Some("PUT"));
        assert_eq!(options.timeout.as_secs(), 2);
        assert!(options.engine.ipv4);
        let options = load(&["-G", "--data-urlencode", "q=a b", "host/x?y=1"]).expect("a load");
        assert_eq!(options.url.as_deref(), Some("http://host/x?y=1&q=a+b"));
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
        let wanted = ["X-Empty: ", "content-type: text/x", "Cookie: a=1; b=2"];
        assert_eq!(fields, wanted);
        assert_eq!(options.omitted, ["accept"]);
        assert_eq!(text(&options), "{}[]");
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
        assert_eq!(text(&options), "q=a+b%0A");
        let options = load(&["-d", &format!("@{file}"), "host"]).expect("a load");
        assert_eq!(text(&options), "a b", "without line ends");
        std::fs::remove_file(path).expect("removable");
    }

    #[test]
    fn unknown_options_are_named() {
        for (words, named) in [
            (&["--zzz", "host"][..], "--zzz"),
            (&["-F", "a", "host"], "-F: write NAME=CONTENT"),
            (&["-F", "a=b", "-d", "c", "host"], "exclude each other"),
            (&["-I", "-T", "x", "host"], "exclude each other"),
            (&["-d", "@-", "host"], "standard input"),
            (&["host", "--next", "other"], "--requests-file"),
            (&["--digest", "-u", "a:b", "host"], "--digest"),
            (&["-K", "file", "host"], "-K"),
            (&["host/{a,b}"], "-g"),
            (&["http://host/[1-3]"], "-g"),
            (&["-H", "Host:", "host"], "-H"),
            (&["-E", "no.pem:secret", "https://host"], "-E: keys with a password"),
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
