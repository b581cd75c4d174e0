//! `-b FILE` of a curl line: cookies in the format of Netscape, as curl's own `-c` writes them.
//!
//! Owns which of them a request to the URL carries; files are read elsewhere.

use std::net::IpAddr;

/// The target as cookies see it.
pub(super) struct Place<'a> {
    host: String,
    path: &'a str,
    is_secure: bool,
}

impl<'a> Place<'a> {
    /// Takes a URL with a scheme and without credentials apart.
    pub(super) fn of(url: &'a str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let path = behind.split(['?', '#']).next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        // This host itself counts as secure, as with curl.
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        Self {
            host: host.to_ascii_lowercase(),
            path: if path.is_empty() { "/" } else { path },
            is_secure: is_here || scheme.eq_ignore_ascii_case("https"),
        }
    }

    fn has(&self, domain: &str, with_hosts_below: bool) -> bool {
        let domain = domain.trim_start_matches('.').to_ascii_lowercase();
        let is_below = || {
            let host = self.host.strip_suffix(&domain);
            self.host.parse::<IpAddr>().is_err() && host.is_some_and(|host| host.ends_with('.'))
        };
        self.host == domain || (with_hosts_below && is_below())
    }

    /// Tells whether a path is below that of a cookie (RFC 6265, section 5.1.4).
    fn is_below(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Returns `NAME=VALUE` of each cookie of a file that a request to `place` carries at `now`, in
/// seconds since 1970: in curl's order, those of longer paths, domains and names first.
///
/// # Errors
///
/// If a line is no cookie; the message names it.
pub(super) fn of_file(text: &str, place: &Place<'_>, now: u64) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let [domain, below, path, secure, expires, name, rest @ ..] = &fields[..] else {
            return Err(format!(
                "line {} is no cookie: it takes seven fields with tabs between them, as curl -c \
                 writes them",
                at + 1
            ));
        };
        let expires: u64 = expires
            .parse()
            .map_err(|_| format!("line {}: {expires:?} is no time in seconds", at + 1))?;
        let is_sent = place.has(domain, below.eq_ignore_ascii_case("TRUE"))
            && place.is_below(path)
            && (place.is_secure || !secure.eq_ignore_ascii_case("TRUE"))
            && (expires == 0 || expires > now);
        if is_sent {
            let value = rest.first().copied().unwrap_or_default();
            let lengths = [path.len(), domain.len(), name.len()];
            found.push((lengths, format!("{name}={value}")));
        }
    }
    found.sort_by_key(|(lengths, _)| std::cmp::Reverse(*lengths));
    Ok(found.into_iter().map(|(_, cookie)| cookie).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAR: &str = "# Netscape HTTP Cookie File\n\n\
        a.test\tFALSE\t/\tFALSE\t0\tsession\t1\r\n\
        .a.test\tTRUE\t/deep\tFALSE\t2000\tdeep\t2\n\
        #HttpOnly_a.test\tFALSE\t/\tTRUE\t0\tsecure\t3\n\
        a.test\tFALSE\t/\tFALSE\t1000\told\t4\n\
        b.test\tTRUE\t/\tFALSE\t0\tother\t5\n\
        a.test\tFALSE\t/\tFALSE\t0\tempty\n";

    #[test]
    fn cookies_go_where_they_belong() {
        let of = |url: &str| of_file(JAR, &Place::of(url), 1500).expect("a jar").join("; ");
        assert_eq!(of("http://a.test"), "session=1; empty=");
        assert_eq!(of("http://A.test:81/deep/er?x"), "deep=2; session=1; empty=");
        assert_eq!(of("https://a.test/deeper"), "session=1; secure=3; empty=");
        assert_eq!(of("http://sub.a.test/deep"), "deep=2");
        assert_eq!((of("http://x.b.test/"), of("http://xb.test/")), ("other=5".into(), "".into()));
    }

    #[test]
    fn other_files_are_named_by_line() {
        let place = Place::of("http://a.test/");
        for (text, why) in [("a=b", "line 1 is no cookie"), ("#\na\tF\t/\tF\tx\ty\tz", "line 2")] {
            let error = of_file(text, &place, 0).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
