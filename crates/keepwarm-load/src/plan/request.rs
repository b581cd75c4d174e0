//! The request, serialised once. Owns the bytes on the wire (RFC 9112, sections 3 and 5) and the
//! fields written by default; sends nothing.

use std::fmt::Write as _;

use super::PlanError;
use super::target::Target;

/// Fields that follow from other settings, and would contradict them if given by hand.
const COMPUTED: [(&str, &str); 3] = [
    ("connection", "turn keep-alive on or off instead"),
    ("content-length", "set the body; its length is sent"),
    ("transfer-encoding", "set the body; it is sent with its length"),
];

/// Methods whose requests announce a body length even when it is zero (RFC 9110, section 8.6).
const EXPECTS_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

/// What a request is made of.
pub(crate) struct RequestParts<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: &'a [u8],
    pub(crate) keep_alive: bool,
}

impl RequestParts<'_> {
    /// Head and body as one run of bytes.
    pub(crate) fn serialise(&self) -> Result<Vec<u8>, PlanError> {
        self.check_method()?;
        for (name, value) in self.headers {
            check_header(name, value)?;
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target.path);
        let defaults = [
            ("Host", self.target.authority.as_str()),
            ("User-Agent", concat!("keepwarm/", env!("CARGO_PKG_VERSION"))),
            ("Accept", "*/*"),
        ];
        let given = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        for (name, value) in defaults.into_iter().filter(|(name, _)| !given(name)) {
            push_field(&mut head, name, value);
        }
        for (name, value) in self.headers {
            push_field(&mut head, name, value);
        }
        if !self.body.is_empty() || EXPECTS_BODY.contains(&self.method) {
            push_field(&mut head, "Content-Length", &self.body.len().to_string());
        }
        if !self.keep_alive {
            push_field(&mut head, "Connection", "close");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body);
        Ok(bytes)
    }

    fn check_method(&self) -> Result<(), PlanError> {
        if !is_token(self.method) {
            return Err(PlanError::new(
                "method",
                self.method,
                "it is not a token",
                "use a method such as GET or POST",
            ));
        }
        if self.method == "CONNECT" {
            return Err(PlanError::new(
                "method",
                self.method,
                "it asks for a tunnel, and what follows is not HTTP",
                "use a method with a response, such as GET",
            ));
        }
        Ok(())
    }
}

fn push_field(head: &mut String, name: &str, value: &str) {
    // Writing into a String cannot fail.
    let _ = write!(head, "{name}: {value}\r\n");
}

fn check_header(name: &str, value: &str) -> Result<(), PlanError> {
    let bad = |reason: &str, way_out: &'static str| {
        PlanError::new("header", format!("{name}: {value}"), reason, way_out)
    };
    if !is_token(name) {
        return Err(bad("its name is not a token", "write NAME: VALUE"));
    }
    // RFC 9110, section 5.5: CR, LF and NUL must not pass; other controls have no use either.
    if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return Err(bad("its value has a control character", "remove it"));
    }
    for (computed, way_out) in COMPUTED {
        if name.eq_ignore_ascii_case(computed) {
            return Err(bad("it is computed from other settings", way_out));
        }
    }
    Ok(())
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)], body: &[u8], keep_alive: bool) -> String {
        let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let parts = RequestParts {
            method,
            target: &Target::parse("http://example.test:81/a?b").unwrap(),
            headers: &headers,
            body,
            keep_alive,
        };
        String::from_utf8(parts.serialise().unwrap()).unwrap()
    }

    #[test]
    fn a_plain_request_has_the_default_fields_and_no_connection_field() {
        let expected = format!(
            "GET /a?b HTTP/1.1\r\nHost: example.test:81\r\nUser-Agent: keepwarm/{}\r\nAccept: */*\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(request("GET", &[], b"", true), expected);
    }

    #[test]
    fn given_fields_replace_the_defaults_whatever_their_case() {
        let text = request("GET", &[("host", "x"), ("ACCEPT", "y"), ("Via", "z")], b"", true);
        assert!(text.contains("\r\nhost: x\r\nACCEPT: y\r\nVia: z\r\n"));
        assert!(!text.contains("Host:") && !text.contains("Accept:"));
    }

    #[test]
    fn a_body_is_sent_with_its_length_and_post_announces_an_empty_one() {
        assert!(request("POST", &[], b"abc", true).ends_with("Content-Length: 3\r\n\r\nabc"));
        assert!(request("POST", &[], b"", true).ends_with("Content-Length: 0\r\n\r\n"));
        assert!(request("GET", &[], b"ab", true).ends_with("Content-Length: 2\r\n\r\nab"));
        assert!(!request("HEAD", &[], b"", true).contains("Content-Length"));
    }

    #[test]
    fn without_keep_alive_the_request_says_close() {
        assert!(request("GET", &[], b"", false).ends_with("\r\nConnection: close\r\n\r\n"));
    }
}
