//! A curl command line as a load: `keepwarm load -- curl …`.
//!
//! Owns the options of curl that mean something to a load, and the refusal of the others by name.
//! `known` has those without a rule of their own, `url` the URL, `form` the body of `-F`, `cookies` the files
//! of `-b`.

mod cookies;
mod form;
mod known;
mod url;

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use keepwarm_record::duration;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

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
            url::take(&mut options, &mut line, &word)?;
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
        "url" => url::take(options, line, &given.value()?)?,
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

/// Bytes that `--data-urlencode` encodes: all but those that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

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
    let encoded = percent_encode(content, ENCODED).to_string().replace("%20", "+");
    Ok(if name.is_empty() { encoded } else { format!("{name}={encoded}") })
}

fn has(options: &LoadOptions, name: &str) -> bool {
    options.headers.iter().any(|(there, _)| there.eq_ignore_ascii_case(name))
}

fn finish(mut options: LoadOptions, mut line: CurlLine) -> Result<LoadOptions, Failure> {
    let Some(url) = options.url.take() else {
        return Err(refused("curl", "it has no URL"));
    };
    let url = if line.is_plain { url } else { url::check_patterns(&url, options.engine.template)? };
    let url = if line.keeps_dots { url } else { url::without_dots(&url) };
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
            // A type that the line gives lacks the boundary, which was drawn just now.
            Some((_, kind)) if !kind.contains("boundary=") => {
                kind.push_str(&format!("; boundary={boundary}"));
            }
            Some(_) => {}
            None => line.set("Content-Type", format!("multipart/form-data; boundary={boundary}")),
        }
    }
    url::add_query(options, &line.query);
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
mod tests;
