//! The target's URL, parsed into the parts that a request and a dial need. Owns the syntax of
//! `http://` and `https://` URLs (RFC 9110, section 4.2.1; RFC 3986). Resolves and connects
//! nothing.

use super::PlanError;

/// The parts of an `http://` or `https://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Value of the `Host` field: host without the zone of an IPv6 address, and port if the URL
    /// names one.
    pub(crate) authority: String,
    /// Host to resolve, without brackets around an IPv6 address, and with its zone behind a `%`.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// True for `https`.
    pub(crate) secure: bool,
    /// Path and query as sent on the request line. Never empty, never with a fragment.
    pub(crate) path: String,
}

impl Target {
    /// Parses `url`. The error names the part that cannot be used, and a remedy.
    pub(crate) fn parse(url: &str) -> Result<Self, PlanError> {
        let bad = |reason: &str, way_out: &'static str| {
            PlanError::new("url", without_password(url), reason, way_out)
        };
        if let Some(at) = url.find(|c: char| c.is_ascii_control() || c == ' ' || !c.is_ascii()) {
            let what = if url[at..].starts_with(' ') { "a space" } else { "this character" };
            return Err(bad(
                &format!("a URL cannot contain {what} (at byte {at})"),
                "percent-encode it, as in %20 for a space",
            ));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(bad("it has no scheme", "write http:// in front of it"));
        };
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            let way_out = "use an http:// or https:// URL";
            return Err(bad("its scheme is neither http nor https", way_out));
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad(
                "user information is not sent from a URL",
                "remove it and add an Authorization header",
            ));
        }
        let port_text = authority.rsplit_once(':').map_or("", |(_, port)| port);
        if !port_text.is_empty()
            && port_text.bytes().all(|b| b.is_ascii_digit())
            && !port_text.parse::<u16>().is_ok_and(|port| port > 0)
            && !authority.ends_with(']')
        {
            let reason = format!("port {port_text} is not between 1 and 65535");
            return Err(bad(&reason, "use the port on which the server listens"));
        }
        if !port_text.bytes().all(|b| b.is_ascii_digit())
            && !authority.contains('[')
            && authority.matches(':').count() == 1
        {
            let reason = format!("port {port_text:?} is not a number between 1 and 65535");
            return Err(bad(&reason, "use the port on which the server listens"));
        }
        let (host, port) =
            split_authority(authority, if secure { 443 } else { 80 }).ok_or_else(|| {
                bad(
                    "its host and port cannot be read",
                    "write http://HOST:PORT/PATH, an IPv6 address in brackets",
                )
            })?;
        let path = match path.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        let authority = match authority.split_once('%') {
            // RFC 6874, section 4: a zone has a meaning on this host only, and must not be sent.
            Some((address, zone)) => {
                let behind = zone.split_once(']').map_or("", |(_, behind)| behind);
                format!("{address}]{behind}")
            }
            None => authority.to_owned(),
        };
        Ok(Self { authority, host, port, secure, path })
    }
}

/// Replaces a password in the authority of `url`, which may end up in the log of a build.
fn without_password(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let authority = &url[start..end];
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{}{user}:…@{host}{}", &url[..start], &url[end..])
        }
        None => url.to_owned(),
    }
}

/// Removes the zone from an address such as `fe80::1%eth0`.
pub(crate) fn without_zone(host: &str) -> &str {
    host.split_once('%').map_or(host, |(address, _)| address)
}

/// Reads an IPv6 address, with a zone behind `%25` (RFC 6874) or a bare `%`, as curl does. Returns
/// it as the resolver takes it.
pub(super) fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    address.parse::<std::net::Ipv6Addr>().ok()?;
    let Some(zone) = zone else { return Some(address.to_owned()) };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    (!zone.is_empty() && zone.bytes().all(plain)).then(|| format!("{address}%{zone}"))
}

/// Splits an authority into host without brackets, and port (`default` if absent or empty).
fn split_authority(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address = ipv6(address)?;
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return None,
        };
        (address, port)
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if !host.bytes().all(plain) {
            return None;
        }
        (host.to_owned(), port)
    };
    let port = match port {
        "" => default,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    (!host.is_empty() && port != 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(url: &str) -> (String, String, u16, String) {
        let target = Target::parse(url).unwrap();
        (target.authority, target.host, target.port, target.path)
    }

    fn parts(authority: &str, host: &str, port: u16, path: &str) -> (String, String, u16, String) {
        (authority.into(), host.into(), port, path.into())
    }

    #[test]
    fn url_parts_are_found() {
        let table = [
            ("http://a", parts("a", "a", 80, "/")),
            ("HTTP://a:81/x?y=1#z", parts("a:81", "a", 81, "/x?y=1")),
            ("http://a?q", parts("a", "a", 80, "/?q")),
            ("http://a:/", parts("a:", "a", 80, "/")),
            ("http://a#f/g", parts("a", "a", 80, "/")),
            ("http://[::1]:8080/p", parts("[::1]:8080", "::1", 8080, "/p")),
            ("http://[::1]", parts("[::1]", "::1", 80, "/")),
            ("http://[fe80::1%25eth0]:8080/", parts("[fe80::1]:8080", "fe80::1%eth0", 8080, "/")),
            ("http://[fe80::1%eth0.5]/a%20b", parts("[fe80::1]", "fe80::1%eth0.5", 80, "/a%20b")),
            ("http://[fe80::1%25]:1", parts("[fe80::1]:1", "fe80::1%25", 1, "/")),
            ("http://[fe80::1%252]", parts("[fe80::1]", "fe80::1%2", 80, "/")),
            ("http://a/p@q:r", parts("a", "a", 80, "/p@q:r")),
        ];
        for (url, expected) in table {
            assert_eq!(parsed(url), expected, "{url}");
        }
    }

    #[test]
    fn bad_urls_are_refused_with_remedy() {
        let urls = [
            "",
            "localhost:8080",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://u:p@a/",
            "http://a:0/",
            "http://a:65536/",
            "http://a:+80/",
            "http://a:8x/",
            "http://[::1/",
            "http://[::1]8/",
            "http://[g]/",
            "http://[fe80::1%]/",
            "http://[fe80::1%25a%20b]/",
            "http://[g%25eth0]/",
            "http://127.0.0.1%25eth0/",
            "http://a:1:2/",
            "http://ä/",
        ];
        for url in urls {
            let error = Target::parse(url).expect_err(url);
            assert_eq!(error.setting(), "url");
            assert_eq!(error.value(), url.replace("u:p@", "u:…@"));
            assert!(!error.reason().is_empty() && !error.way_out().is_empty());
        }
        for url in ["http://a:0/", "http://a:65536/", "http://[::1]:70000/", "http://a:abc/"] {
            assert!(Target::parse(url).unwrap_err().reason().contains("65535"), "{url}");
        }
        for url in ["http://me:secret@a/x", "http://me:se cret@a", "me:secret@a:80/x@y"] {
            let error = Target::parse(url).unwrap_err();
            assert!(!error.to_string().contains("cret"), "{error}");
        }
        assert_eq!(Target::parse("HTTPS://a/").map(|t| (t.port, t.secure)), Ok((443, true)));
    }
}
