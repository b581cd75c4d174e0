//! The URL of a curl line: its credentials, patterns, dots and query.
//!
//! Owns how curl reads a URL before it sends it; what a URL means to the load is the plan's.

use percent_encoding::percent_decode_str;

use super::{CurlLine, refused};
use crate::args::LoadOptions;
use crate::exit::Failure;

/// Takes the URL; its credentials become those of `-u`.
pub(super) fn take(
    options: &mut LoadOptions,
    line: &mut CurlLine,
    text: &str,
) -> Result<(), Failure> {
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
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Refuses a URL that curl would make several of, unless `-g` was given, and removes the backslashes
/// that keep it from that. Braces are fields where the load has templates.
pub(super) fn check_patterns(url: &str, has_templates: bool) -> Result<String, Failure> {
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
pub(super) fn without_dots(url: &str) -> String {
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

/// Adds pieces of a query to the URL.
pub(super) fn add_query(options: &mut LoadOptions, pieces: &[String]) {
    let pieces: Vec<&str> =
        pieces.iter().map(String::as_str).filter(|piece| !piece.is_empty()).collect();
    let Some(url) = options.url.as_mut().filter(|_| !pieces.is_empty()) else { return };
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    let sign = if before.contains('?') { '&' } else { '?' };
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
    *url = format!("{before}{sign}{}{fragment}", pieces.join("&"));
}
