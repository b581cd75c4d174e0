//! URLs as a caller or a server wrote them, made fit for a request.
//!
//! Owns the one answer for what may not stand in a URI (RFC 3986, 2): in the path and the query
//! such bytes are percent-encoded, as curl and browsers do; a host beyond ASCII is converted by
//! IDNA (feature `idn`), or refused, since a guess might lead to another server. What the host means
//! is in `origin_key`. Owns how a reference resolves against the URL that it stands in, too.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::error::BoxError;

/// Bytes that stand in no URI, and that no client sends as they are; those beyond ASCII besides.
const FOREIGN: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// Reason why a URL cannot be made fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// A line break or another control character. One that was encoded would hide a mistake.
    Control(u8),
    /// The host is beyond ASCII, and is not converted.
    Host,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(byte) => write!(f, "it has a control character (byte 0x{byte:02x})"),
            Self::Host if cfg!(feature = "idn") => {
                f.write_str("the host is not ASCII, and has no form by IDNA (xn--...)")
            }
            Self::Host => f.write_str(
                "the host is not ASCII; write it by IDNA (xn--...), or use the feature idn",
            ),
        }
    }
}

impl std::error::Error for Unusable {}

/// Percent-encodes the bytes of path and query that may not stand in a URI, in upper case (RFC 3986,
/// 2.1), converts a host beyond ASCII, and drops the fragment, which is not sent. `url` may be a
/// relative reference.
///
/// A percent sign stays: the URL may have been encoded before. So do `[ ] { } | \ ^`, which RFC
/// 3986 does not allow either, but servers and curl take as they are.
pub(crate) fn encode(url: &[u8]) -> Result<Cow<'_, str>, Unusable> {
    let url = url.split(|byte| *byte == b'#').next().unwrap_or_default();
    if let Some(control) = url.iter().copied().find(u8::is_ascii_control) {
        return Err(Unusable::Control(control));
    }
    let authority = authority(url);
    let (before, rest) = url.split_at(authority.end);
    let (scheme, named) = before.split_at(authority.start);
    if let Ok(clean) = std::str::from_utf8(url)
        && before.is_ascii()
        && !rest.iter().copied().any(is_foreign)
    {
        return Ok(Cow::Borrowed(clean));
    }
    let scheme = std::str::from_utf8(scheme).map_err(|_| Unusable::Host)?;
    let named = std::str::from_utf8(named).map_err(|_| Unusable::Host)?;
    let named = if named.is_ascii() { Cow::Borrowed(named) } else { Cow::Owned(to_ascii(named)?) };
    Ok(Cow::Owned(format!("{scheme}{named}{}", percent_encode(rest, FOREIGN))))
}

/// Converts the host of an authority by IDNA (UTS 46, as browsers do).
#[cfg(feature = "idn")]
fn to_ascii(authority: &str) -> Result<String, Unusable> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) => authority.split_at(colon),
        None => (authority, ""),
    };
    if host.contains('@') || !port.is_ascii() {
        return Err(Unusable::Host);
    }
    let host = idna::domain_to_ascii(host).map_err(|_| Unusable::Host)?;
    Ok(format!("{host}{port}"))
}

#[cfg(not(feature = "idn"))]
const fn to_ascii(_authority: &str) -> Result<String, Unusable> {
    Err(Unusable::Host)
}

/// A short URL in place, so that one allocation holds it together with the count of its parts.
struct Short {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Short {
    const MAX: usize = 64;
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Returns a URL as bytes that its parts share.
pub(crate) fn shared(url: &str) -> Bytes {
    let (url, length) = (url.as_bytes(), url.len());
    if length > Short::MAX {
        return Bytes::copy_from_slice(url);
    }
    let mut bytes = [0; Short::MAX];
    bytes[..length].copy_from_slice(url);
    Bytes::from_owner(Short { bytes, length })
}

/// Encodes the path and query of a URI: [`Uri`] allows bytes beyond ASCII there.
pub(crate) fn encode_uri(uri: Uri) -> Uri {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if !target.bytes().any(is_foreign) {
        return uri;
    }
    let encoded = percent_encode(target.as_bytes(), FOREIGN).to_string().parse();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = encoded.ok();
    Uri::from_parts(parts).unwrap_or(uri)
}

/// Returns true if [`encode`] leaves a URL as it is, as nearly every one. Found in one pass.
pub(crate) fn is_clean(url: &str) -> bool {
    url.bytes().all(|byte| CLEAN[byte as usize])
}

const CLEAN: [bool; 256] = {
    let mut clean = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let at = byte as u8;
        clean[byte] = !is_foreign(at) && !at.is_ascii_control() && at != b'#';
        byte += 1;
    }
    clean
};

const fn is_foreign(byte: u8) -> bool {
    !byte.is_ascii() || matches!(byte, b' ' | b'"' | b'<' | b'>' | b'`')
}

/// Returns the place of the authority: behind `//`, up to the path, query or fragment. Empty and at
/// the start if the reference has none.
fn authority(url: &[u8]) -> Range<usize> {
    let scheme = scheme_length(url).map_or(0, |length| length + 1);
    if !url[scheme..].starts_with(b"//") {
        return 0..0;
    }
    let start = scheme + 2;
    let length = url[start..].iter().position(|byte| b"/?#".contains(byte));
    start..length.map_or(url.len(), |length| start + length)
}

/// Returns the length of the scheme if the URL begins with `scheme ":"`. A scheme is a letter and
/// then letters, digits, "+", "-" or "." (RFC 3986, 3.1).
pub(crate) fn scheme_length(url: &[u8]) -> Option<usize> {
    let length = url.iter().position(|byte| *byte == b':')?;
    let rest = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (url.first().is_some_and(u8::is_ascii_alphabetic) && url[..length].iter().all(rest))
        .then_some(length)
}

/// Returns a URL as a message may repeat it: without credentials, also where it is malformed.
pub(crate) fn printable(url: &str) -> String {
    let start = url.find("//").map_or(0, |slashes| slashes + 2);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |length| start + length);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}...{}", &url[..start], &url[start + at..]),
        None => url.to_owned(),
    }
}

/// Resolves a location against the URI of the redirect: absolute, scheme-relative, absolute path,
/// query, or relative path (RFC 3986, 5.2). A fragment is not sent, and bytes that may not stand in
/// a URI are encoded, as in the URL of a request. A reference with the scheme of the base and no
/// authority, `http:path`, is relative, as in browsers (5.2.2).
pub(crate) fn resolve(base: &Uri, location: &[u8]) -> Result<Uri, BoxError> {
    let mut location = &*encode(location)?;
    let scheme = base.scheme_str().unwrap_or("http");
    if let Some(length) = scheme_length(location.as_bytes()) {
        let (own, rest) = (&location[..length], &location[length + 1..]);
        if !["http", "https"].iter().any(|known| own.eq_ignore_ascii_case(known)) {
            return Err(format!("its scheme is {own}, and only http and https are spoken").into());
        }
        if !rest.starts_with("//") {
            if !own.eq_ignore_ascii_case(scheme) {
                return Err("it names no host".into());
            }
            location = rest;
        }
    }
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let path = base.path();
    let absolute = if scheme_length(location.as_bytes()).is_some() {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{}", remove_dot_segments(location))
    } else if location.is_empty() {
        base.to_string()
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{path}{location}")
    } else {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{}", remove_dot_segments(&format!("{directory}/{location}")))
    };
    Ok(absolute.parse()?)
}

/// Removes dot segments (RFC 3986, 5.2.4) from the path only: a query is left unchanged.
fn remove_dot_segments(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_urls_are_those_left_as_they_are() {
        for byte in 0..=127_u8 {
            for before in [0, 1, 9] {
                let url = format!("{}{}/end", "x".repeat(before), char::from(byte));
                let is_left = encode(url.as_bytes()).is_ok_and(|encoded| encoded == url);
                assert_eq!(is_clean(&url), is_left, "{url:?}");
            }
        }
        assert!(!is_clean("http://b\u{fc}cher.test/"));
    }

    #[test]
    fn shared_bytes_are_those_of_the_url() {
        for length in [0, 1, 63, 64, 65, 1_000] {
            let url = "u".repeat(length);
            assert_eq!(shared(&url), url.as_bytes());
        }
    }

    #[test]
    fn foreign_bytes_of_the_target_are_encoded() {
        for (url, expected) in [
            (&b"/caf\xc3\xa9"[..], "/caf%C3%A9"),
            (b"/caf\xe9", "/caf%E9"),
            (b"/a b/c.html", "/a%20b/c.html"),
            (b"/x?a=\"1\"&b=<2>", "/x?a=%221%22&b=%3C2%3E"),
            (b"/s?q=na\xc3\xafve&x=1", "/s?q=na%C3%AFve&x=1"),
            (b"caf\xc3\xa9.html", "caf%C3%A9.html"),
            (b"?q=a b", "?q=a%20b"),
            (b"http://h/\xc3\xa9?a`b", "http://h/%C3%A9?a%60b"),
            (b"//h/\xc3\xa9", "//h/%C3%A9"),
            (b"http://h?\xc3\xa9", "http://h?%C3%A9"),
            // Encoded before, and what curl leaves.
            (b"/%c3%a9%zz", "/%c3%a9%zz"),
            (b"/[a]{b}|\\^'", "/[a]{b}|\\^'"),
            (b"/a#\xe9 \"", "/a"),
        ] {
            let encoded = encode(url).expect(expected);
            assert_eq!(encoded, expected);
            assert_eq!(encode(encoded.as_bytes()).as_deref(), Ok(expected), "once is enough");
            let absolute = if encoded.starts_with("http:") {
                encoded.into_owned()
            } else {
                format!("http://h/{}", encoded.trim_start_matches('/'))
            };
            absolute.parse::<Uri>().expect(&absolute);
        }
    }

    #[test]
    fn hosts_and_control_characters_are_refused() {
        for url in [&b"http://\xc3\xa9@h/"[..], b"http://b\xfccher.test/", b"//h:\xc3\xa9/"] {
            assert_eq!(encode(url), Err(Unusable::Host), "{url:?}");
        }
        for (url, byte) in [("/a\tb", 9), ("http://h/\r\nx: y", 13), ("/\u{7f}", 127)] {
            assert_eq!(encode(url.as_bytes()), Err(Unusable::Control(byte)), "{url:?}");
        }
    }

    #[test]
    fn hosts_beyond_ascii_are_converted() {
        for (url, converted) in [
            ("http://b\u{fc}cher.test/\u{e9}", "http://xn--bcher-kva.test/%C3%A9"),
            ("//B\u{dc}CHER.test:81?x", "//xn--bcher-kva.test:81?x"),
            ("http://\u{4f8b}\u{3048}.test", "http://xn--r8jz45g.test"),
            ("http://stra\u{df}e.test/", "http://xn--strae-oqa.test/"),
        ] {
            let expected = if cfg!(feature = "idn") { Ok(converted) } else { Err(Unusable::Host) };
            assert_eq!(encode(url.as_bytes()).as_deref().map_err(|why| *why), expected, "{url}");
        }
    }

    #[test]
    fn uris_are_encoded_alike() {
        for (url, expected) in [
            ("http://h:1/\u{e9}?\u{e9}", "http://h:1/%C3%A9?%C3%A9"),
            ("http://h/a?b", "http://h/a?b"),
            ("/\u{e9}", "/%C3%A9"),
        ] {
            assert_eq!(encode_uri(url.parse().expect(url)).to_string(), expected);
        }
    }

    fn resolved(base: &str, location: &str) -> String {
        resolve(&base.parse().unwrap(), location.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn locations_resolve_against_the_base() {
        let base = "http://host:8080/a/b?q=1";
        for (location, expected) in [
            ("http://other/x", "http://other/x"),
            ("//other/x", "http://other/x"),
            ("/x?y#z", "http://host:8080/x?y"),
            ("x", "http://host:8080/a/x"),
            ("../x", "http://host:8080/x"),
            ("../../../x", "http://host:8080/x"),
            ("./", "http://host:8080/a/"),
            ("?p=2", "http://host:8080/a/b?p=2"),
            ("", "http://host:8080/a/b?q=1"),
            ("http:x", "http://host:8080/a/x"),
            ("HTTP:/x", "http://host:8080/x"),
            ("./x:y", "http://host:8080/a/x:y"),
        ] {
            assert_eq!(resolved(base, location), expected, "{location}");
        }
        for location in ["x:y/z", "https:x", "mailto:x@y"] {
            assert!(resolve(&base.parse().unwrap(), location.as_bytes()).is_err(), "{location}");
        }
    }
}
