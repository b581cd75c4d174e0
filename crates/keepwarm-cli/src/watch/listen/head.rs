//! Heads of requests to the page.
//!
//! Owns the parser, the limits on a head, and which requests are refused. Pure: reads no socket, and uses
//! no other module of this program, so that a fuzz target compiles this file alone.

/// Bytes of a head.
pub(crate) const MAX_HEAD: usize = 8 << 10;
/// Header fields of a head.
const MAX_FIELDS: usize = 64;

/// A request's head, as far as it matters.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The path, without a query.
    pub(crate) path: String,
    pub(crate) is_head: bool,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The connection stays open after the response.
    pub(crate) keeps: bool,
    /// Status and reason, if the request is not served.
    pub(crate) refused: Option<(u16, &'static str)>,
}

impl Request {
    /// Makes a request that is refused, and with which its connection ends.
    fn refused(status: u16, why: &'static str) -> Self {
        Self { refused: Some((status, why)), ..Self::default() }
    }

    /// Makes the request of a head that is longer than [`MAX_HEAD`].
    pub(crate) fn too_long() -> Self {
        Self::refused(431, "a head of more than 8 KiB")
    }
}

/// Parses a head, and returns it with its length; `None`: it is not complete.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => {
            return Some((Request::refused(431, "more than 64 header fields"), bytes.len()));
        }
        Err(_) => return Some((Request::refused(400, "not a request of HTTP/1.1"), bytes.len())),
    };
    let method = head.method.unwrap_or_default();
    let request = Request {
        path: path_of(head.path.unwrap_or_default()).to_owned(),
        is_head: method == "HEAD",
        authorization: values(head.headers, "authorization").next().map(str::to_owned),
        keeps: keeps(head.version, head.headers),
        refused: match method {
            _ if has_body(head.headers) => Some((413, "a request here has no body")),
            "GET" | "HEAD" => None,
            _ => Some((405, "GET and HEAD only")),
        },
    };
    Some((request, length))
}

/// Returns the path of a request's target. A target may be a whole URL (RFC 9112, section 3.2.2).
fn path_of(target: &str) -> &str {
    let after = |scheme: &str| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    };
    let path = match after("http://").or_else(|| after("https://")) {
        Some(rest) => match rest.find(['/', '?', '#']) {
            Some(at) if rest[at..].starts_with('/') => &rest[at..],
            _ => "/",
        },
        None => target,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

/// Returns the values of all fields of a name that are text.
fn values<'a>(fields: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let found = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    found.filter_map(|field| std::str::from_utf8(field.value).ok())
}

/// Returns true if a body is announced, by a field that is no text too: a body that is overlooked would
/// be read as the next request.
fn has_body(fields: &[httparse::Header<'_>]) -> bool {
    fields.iter().any(|field| {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        is("transfer-encoding") || (is("content-length") && field.value.trim_ascii() != b"0")
    })
}

/// Returns whether the client keeps its connection (RFC 9112, section 9.3).
fn keeps(version: Option<u8>, fields: &[httparse::Header<'_>]) -> bool {
    let says = |option: &str| {
        let options = values(fields, "connection").flat_map(|value| value.split(','));
        options.into_iter().any(|one| one.trim().eq_ignore_ascii_case(option))
    };
    match version {
        Some(1) => !says("close"),
        _ => says("keep-alive") && !says("close"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Request {
        parse(head.as_bytes()).expect("complete").0
    }

    #[test]
    fn heads_are_read_or_refused() {
        let get = asked("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(get.path == "/metrics" && get.keeps && get.refused.is_none());
        let old = asked("GET / HTTP/1.0\r\n\r\n");
        assert!(!old.keeps && old.refused.is_none());
        assert!(asked("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keeps);
        assert!(asked("HEAD / HTTP/1.1\r\n\r\n").is_head);
        for (head, status) in [
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("\u{1}\u{2}\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            (&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), 431),
        ] {
            assert_eq!(asked(head).refused.map(|(status, _)| status), Some(status), "{head:?}");
        }
        let garbled =
            parse(b"GET / HTTP/1.1\r\nContent-Length: 5\xff\r\n\r\n").expect("complete").0;
        assert_eq!(
            garbled.refused.map(|(status, _)| status),
            Some(413),
            "a length that is no text"
        );
        assert!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n").is_none(), "not complete");
    }

    #[test]
    fn connection_closes_by_its_option_alone() {
        let keeps = |value: &str| asked(&format!("GET / HTTP/1.1\r\n{value}\r\n\r\n")).keeps;
        assert!(!keeps("Connection: Close"));
        assert!(!keeps("Connection: TE, close"));
        assert!(!keeps("Connection: TE\r\nConnection: close"));
        assert!(keeps("Connection: enclosed"));
        assert!(keeps("X: close"));
    }

    #[test]
    fn target_may_be_a_whole_url() {
        for (target, path) in [
            ("/metrics", "/metrics"),
            ("/metrics?a=/b#c", "/metrics"),
            ("http://host:9465/metrics?x", "/metrics"),
            ("HTTPS://host/healthz", "/healthz"),
            ("http://host", "/"),
            ("http://host?x=/y", "/"),
            ("http:/", "http:/"),
            ("*", "*"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
