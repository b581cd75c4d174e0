//! The identity of an origin: scheme, host and port.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::Ipv6Addr;

use crate::error::Error;
use crate::policy::proxy::{Mode, Via};

/// Scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port of RFC 9110, 4.2.1 and 4.2.2.
    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Returns the scheme of a URI. `https` is an error unless TLS is built in.
    pub(crate) fn of(uri: &http::Uri) -> Result<Self, Error> {
        match uri.scheme_str() {
            Some("http") => Ok(Self::Http),
            Some("https") if cfg!(feature = "tls") => Ok(Self::Https),
            Some("https") => Err(Error::invalid(format!(
                "{uri}: scheme https is not supported; TLS is not built into this version"
            ))),
            Some(scheme) => Err(Error::invalid(format!("{uri}: scheme {scheme} is not supported"))),
            None => Err(Error::invalid(format!(
                "{uri}: no scheme; write a whole URL such as http://host/path"
            ))),
        }
    }
}

/// The canonical name of an origin: scheme, lower-case host, port always explicit.
///
/// Names that only might mean the same host are different: with and without a dot at the end, an
/// IPv6 address with and without its zeros. Such names share no connections, which costs a few
/// connections; if they shared them, a request could reach the wrong server. A URI with a host
/// beyond ASCII is rejected, so a host here has been through the caller's IDNA (`xn--`).
///
/// An IPv6 address may have a zone (RFC 6874): the interface that a link-local address belongs to,
/// written `[fe80::1%25eth0]` or, as tools print it, `[fe80::1%eth0]`. Both spellings are one
/// origin; another zone is another origin, since the same address may be another host there.
///
/// The key is a security boundary: requests with the same key share connections, and no others do.
/// A proxy is part of it, with its credentials; where a proxy reads the requests (http through an
/// http proxy), the key is that of the proxy alone, and all origins share its connections. All other
/// properties of a connection (roots, identity, name in the handshake, local address,
/// Unix socket, connector, resolver) are fixed for a client, and clients share no connections: no
/// request can choose them.
///
/// Requests that ask to switch protocols have a key of their own where others may go by HTTP/2, which cannot
/// do so.
#[derive(Clone, Debug)]
pub(crate) struct OriginKey {
    scheme: Scheme,
    /// In lower case, but for the zone: `data.test`, `[::1]`, `[fe80::1%eth0]`.
    host: Box<str>,
    /// Place of the percent sign before the zone; the host's length if it has none.
    zone_at: usize,
    port: u16,
    /// The proxy that connections go through. `None` for most origins.
    via: Option<Box<Via>>,
    /// Connections speak HTTP/1.1, whatever the settings.
    is_http1: bool,
}

/// Key for looking up a map of origins, borrowed from a URI: a look-up allocates nothing.
pub(crate) trait Lookup {
    fn scheme(&self) -> Scheme;
    /// Returns the host. With a zone, all that stands before the zone: `[fe80::1`.
    fn host(&self) -> &str;
    /// Returns the zone, or nothing.
    fn zone(&self) -> &str;
    fn port(&self) -> u16;
    fn via(&self) -> Option<&Via>;
    fn is_http1(&self) -> bool;
}

/// The origin of a URI, borrowed as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginRef<'a> {
    scheme: Scheme,
    host: &'a str,
    zone: &'a str,
    port: u16,
    via: Option<&'a Via>,
    is_http1: bool,
}

impl<'a> OriginRef<'a> {
    /// Returns the origin that a request to `uri` goes to.
    pub(crate) fn of(uri: &'a http::Uri) -> Result<Self, Error> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let Marks { host_end, has_credentials, has_percent } = Marks::of(authority.as_bytes());
        if has_credentials {
            // Checked before any error that repeats the URI: credentials stay out of every message.
            return Err(Error::invalid(format!(
                "{}: credentials in a URL are not sent; set an Authorization header",
                uri.host().unwrap_or_default()
            )));
        }
        let scheme = Scheme::of(uri)?;
        let (host, port) = authority.split_at(host_end);
        if host.is_empty() {
            return Err(Error::invalid(format!("{uri}: no host")));
        }
        let port = port_of(port, scheme).ok_or_else(|| {
            Error::invalid(format!("{uri}: the port is not a number up to 65535"))
        })?;
        let (host, zone) = if has_percent {
            split_zone(host).ok_or_else(|| {
                Error::invalid(format!(
                    "{uri}: the zone of the address is not usable; write http://[fe80::1%25eth0]/"
                ))
            })?
        } else {
            (host, "")
        };
        Ok(Self { scheme, host, zone, port, via: None, is_http1: false })
    }

    pub(crate) fn to_key(self) -> OriginKey {
        let mut host = self.host.to_ascii_lowercase();
        let zone_at = host.len();
        if !self.zone.is_empty() {
            host = format!("{host}%{}]", self.zone);
        }
        let via = self.via.cloned().map(Box::new);
        let Self { scheme, port, is_http1, .. } = self;
        OriginKey { scheme, host: host.into(), zone_at, port, via, is_http1 }
    }

    /// Returns the same origin, reached through a proxy.
    pub(crate) fn through(self, via: &'a Via) -> Self {
        Self { via: Some(via), ..self }
    }

    /// Returns the same origin, for requests that ask to switch protocols.
    pub(crate) const fn by_http1(self) -> Self {
        Self { is_http1: true, ..self }
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns true if this is the origin of the key.
    pub(crate) fn is(&self, key: &OriginKey) -> bool {
        is_same(self, key)
    }

    /// Returns the key for looking up a map keyed by [`OriginKey`].
    pub(crate) fn as_lookup(&self) -> &(dyn Lookup + 'a) {
        self
    }
}

/// The marks of an authority that decide how it is read, found in one pass.
struct Marks {
    /// End of the host: of an address in brackets, or the first colon.
    host_end: usize,
    has_credentials: bool,
    has_percent: bool,
}

const IS_MARK: [bool; 256] = {
    let mut is_mark = [false; 256];
    is_mark[b':' as usize] = true;
    is_mark[b']' as usize] = true;
    is_mark[b'@' as usize] = true;
    is_mark[b'%' as usize] = true;
    is_mark
};

impl Marks {
    fn of(authority: &[u8]) -> Self {
        let len = authority.len();
        let mut marks = Self { host_end: len, has_credentials: false, has_percent: false };
        let end_mark = if authority.first() == Some(&b'[') { b']' } else { b':' };
        for (at, &byte) in authority.iter().enumerate() {
            // Most bytes are letters, digits and dots.
            if !IS_MARK[byte as usize] {
                continue;
            }
            if byte == end_mark && marks.host_end == len {
                marks.host_end = if end_mark == b']' { at + 1 } else { at };
            }
            marks.has_credentials |= byte == b'@';
            marks.has_percent |= byte == b'%';
        }
        marks
    }
}

/// Splits a zone off an IPv6 address, see [`OriginKey`]. The percent sign may be encoded (`%25`).
/// `None` if a zone is there and is not the name or the number of an interface, or its address is
/// none of IPv6.
fn split_zone(host: &str) -> Option<(&str, &str)> {
    let Some((address, zone)) = host.split_once('%') else {
        return Some((host, ""));
    };
    let zone = zone.strip_suffix(']')?;
    let zone = zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone);
    // RFC 6874, 2: unreserved characters; encoded ones are in no name that Linux gives.
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let usable = !zone.is_empty() && zone.bytes().all(known);
    address.strip_prefix('[')?.parse::<Ipv6Addr>().ok().filter(|_| usable).map(|_| (address, zone))
}

/// Returns the name of the origin of a URL; `None` if it has none that a client supports.
pub(crate) fn name_of(url: &str) -> Option<String> {
    let uri = url.parse().ok()?;
    OriginRef::of(&uri).ok().map(|origin| origin.to_key().to_string())
}

/// Returns the port of what follows the host in an authority. An absent or empty port is the default
/// one (RFC 3986, 3.2.3). `None` if the port is not a number up to 65535.
fn port_of(after_host: &str, scheme: Scheme) -> Option<u16> {
    match after_host.strip_prefix(':').unwrap_or_default() {
        "" => Some(scheme.default_port()),
        // `parse` would accept a sign.
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok(),
        _ => None,
    }
}

impl OriginKey {
    /// Returns the host as a resolver wants it: an IPv6 literal without its brackets, but with its
    /// zone, `fe80::1%eth0`.
    pub(crate) fn host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Returns the host as certificates name it: an IPv6 literal without brackets and zone.
    #[cfg(feature = "tls")]
    pub(crate) fn certificate_name(&self) -> &str {
        self.host().split('%').next().unwrap_or_default()
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the value of `Host`: without the default port (RFC 9110, 4.2.3 and 7.2), and without
    /// the zone, which has a meaning on this host alone (RFC 6874, 4).
    pub(crate) fn host_field(&self) -> http::HeaderValue {
        let end = if self.has_zone() { "]" } else { "" };
        let host = format!("{}{end}", Lookup::host(self));
        let value = if self.port == self.scheme.default_port() {
            http::HeaderValue::try_from(host)
        } else {
            http::HeaderValue::try_from(format!("{host}:{}", self.port))
        };
        value.expect("the host of a URI is visible ASCII")
    }

    /// Returns host and port, both always there: the target of a CONNECT.
    pub(crate) fn place(&self) -> String {
        let end = if self.has_zone() { "]" } else { "" };
        format!("{}{end}:{}", Lookup::host(self), self.port)
    }

    /// Returns the proxy that connections go through.
    pub(crate) fn via(&self) -> Option<&Via> {
        self.via.as_deref()
    }

    /// Returns true if a proxy reads the requests, and not only passes bytes on.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.via.as_ref().is_some_and(|via| via.mode == Mode::Forward)
    }

    /// Returns the key of this host with a proxy, for a look-up.
    pub(crate) fn borrowed<'a>(&'a self, via: Option<&'a Via>) -> OriginRef<'a> {
        let (host, zone) = (Lookup::host(self), self.zone());
        OriginRef { scheme: Scheme::Http, host, zone, port: self.port, via, is_http1: false }
    }

    /// Returns true if scheme, host and port are all there is: no zone, no proxy, and any version.
    pub(crate) const fn is_plain(&self) -> bool {
        !self.has_zone() && self.via.is_none() && !self.is_http1
    }

    /// Returns true if connections speak HTTP/1.1, whatever the settings.
    pub(crate) const fn is_http1(&self) -> bool {
        self.is_http1
    }

    const fn has_zone(&self) -> bool {
        self.zone_at < self.host.len()
    }
}

impl fmt::Display for OriginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(via) = self.via.as_deref().filter(|via| via.mode == Mode::Forward) {
            return write!(f, "http via {}", via.server);
        }
        let (scheme, host, port) = (self.scheme.name(), Lookup::host(self), self.port);
        match self.zone() {
            "" => write!(f, "{scheme}://{host}:{port}"),
            zone => write!(f, "{scheme}://{host}%25{zone}]:{port}"),
        }?;
        if self.is_http1 {
            f.write_str(" by HTTP/1.1")?;
        }
        self.via.as_ref().map_or(Ok(()), |via| write!(f, " via {}", via.server))
    }
}

impl Lookup for OriginKey {
    fn scheme(&self) -> Scheme {
        self.scheme
    }
    fn host(&self) -> &str {
        &self.host[..self.zone_at]
    }
    fn zone(&self) -> &str {
        // Between the percent sign and the bracket.
        if self.has_zone() { &self.host[self.zone_at + 1..self.host.len() - 1] } else { "" }
    }
    fn port(&self) -> u16 {
        self.port
    }
    fn via(&self) -> Option<&Via> {
        self.via.as_deref()
    }
    fn is_http1(&self) -> bool {
        self.is_http1
    }
}

impl Lookup for OriginRef<'_> {
    fn scheme(&self) -> Scheme {
        self.scheme
    }
    fn host(&self) -> &str {
        self.host
    }
    fn zone(&self) -> &str {
        self.zone
    }
    fn port(&self) -> u16 {
        self.port
    }
    fn via(&self) -> Option<&Via> {
        self.via
    }
    fn is_http1(&self) -> bool {
        self.is_http1
    }
}

impl<'a> Borrow<dyn Lookup + 'a> for OriginKey {
    fn borrow(&self) -> &(dyn Lookup + 'a) {
        self
    }
}

impl Hash for dyn Lookup + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // In pieces of 32 bytes: byte by byte it costs more than the rest of a look-up together.
        for piece in self.host().as_bytes().chunks(32) {
            let mut lower = [0; 32];
            let lower = &mut lower[..piece.len()];
            lower.copy_from_slice(piece);
            lower.make_ascii_lowercase();
            state.write(lower);
        }
        state.write(self.zone().as_bytes());
        state.write_u16(self.port());
        self.scheme().hash(state);
        if let Some(via) = self.via() {
            via.server.protocol.hash(state);
            (&via.server.key as &dyn Lookup).hash(state);
        }
    }
}

impl PartialEq for dyn Lookup + '_ {
    fn eq(&self, other: &Self) -> bool {
        is_same(self, other)
    }
}

fn is_same(one: &(impl Lookup + ?Sized), other: &(impl Lookup + ?Sized)) -> bool {
    one.port() == other.port()
        && one.scheme() == other.scheme()
        && (one.host() == other.host() || one.host().eq_ignore_ascii_case(other.host()))
        // Names of interfaces differ by case.
        && one.zone() == other.zone()
        && one.via() == other.via()
        && one.is_http1() == other.is_http1()
}

impl Eq for dyn Lookup + '_ {}

impl Hash for OriginKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self as &dyn Lookup).hash(state);
    }
}

impl PartialEq for OriginKey {
    fn eq(&self, other: &Self) -> bool {
        (self as &dyn Lookup) == (other as &dyn Lookup)
    }
}

impl Eq for OriginKey {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str) -> OriginKey {
        OriginRef::of(&url.parse().expect(url)).expect(url).to_key()
    }

    /// Returns true if both find the same connections: by the key, and by the look-up that
    /// allocates nothing.
    fn same(one: &str, other: &str) -> bool {
        let known = std::collections::HashMap::from([(key(one), ())]);
        let uri: http::Uri = other.parse().expect(other);
        let found = known.contains_key(OriginRef::of(&uri).expect(other).as_lookup());
        assert_eq!(found, key(one) == key(other), "{one} {other}");
        assert_eq!(found, key(one).to_string() == key(other).to_string(), "{one} {other}");
        found
    }

    #[test]
    fn spellings_of_one_origin_are_equal() {
        for other in [
            "http://data.test/",
            "HTTP://data.test/path?query",
            "http://DATA.Test/",
            "http://data.test:80/",
            "http://data.test:/",
            "http://data.test:0080/",
        ] {
            assert!(same("http://data.test/", other), "{other}");
        }
        assert!(same("http://xn--bcher-kva.test/", "http://XN--BCHER-KVA.test:80/"));
        assert!(same("http://[fe80::AB]:7/", "http://[FE80::ab]:7/"));
        assert!(same("http://[fe80::AB%25eth0]:7/", "http://[FE80::ab%eth0]:7/"));
        assert!(same("http://[fe80::1%2525]/", "http://[fe80::1%25]/"), "the zone is 25");
    }

    #[test]
    fn different_origins_share_nothing() {
        let all = [
            "http://data.test/",
            "http://data.test:8080/",
            "http://data.test:443/",
            // With the dot at the end a resolver tries no search list.
            "http://data.test./",
            "http://data.test.evil/",
            "http://data/",
            "http://xn--bcher-kva.test/",
            "http://bcher-kva.test/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fe80::1%25eth0]/",
            "http://[fe80::1%25eth1]/",
            "http://[fe80::1%25ETH0]/",
            "http://[fe80::2%25eth0]/",
            "http://[fe80::1%25eth0]:8080/",
            #[cfg(feature = "tls")]
            "https://data.test/",
            #[cfg(feature = "tls")]
            "https://data.test:80/",
        ];
        for (number, one) in all.iter().enumerate() {
            for other in &all[number + 1..] {
                assert!(!same(one, other), "{one} {other}");
            }
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn default_port_depends_on_the_scheme() {
        assert!(same("https://data.test/", "https://data.test:443/"));
        assert!(!same("https://data.test/", "http://data.test:443/"));
        assert_eq!(key("https://data.test/").to_string(), "https://data.test:443");
    }

    #[test]
    fn malformed_host_or_port_is_rejected() {
        for url in [
            "http://data.test:65536/",
            "http://data.test:+80/",
            "http://data.test:-1/",
            "http://data.test:8o/",
            "http://data.test:80:80/",
            "http://user:secret@data.test/",
            "http://user@data.test/",
            "http://b\u{fc}cher.test/",
            "http://data\u{2024}test/",
            "http://data.test\\@evil.test/",
            "http://[::1/",
            "http://[fe80::1%]/",
            "http://[fe80::1%25eth%2f0]/",
            "http://[fe80::1%25a%25b]/",
            "http://[127.0.0.1%25eth0]/",
            "http://data%25eth0/",
            "http://::1/",
            "http://:80/",
            "http:///path",
            "/path",
        ] {
            let refused = match url.parse::<http::Uri>() {
                Ok(uri) => OriginRef::of(&uri).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{url}");
        }
    }

    #[test]
    fn host_field_and_name_agree() {
        for (url, host, field, name) in [
            ("http://DATA.test/", "data.test", "data.test", "http://data.test:80"),
            ("http://data.test:81/", "data.test", "data.test:81", "http://data.test:81"),
            ("http://data.test./", "data.test.", "data.test.", "http://data.test.:80"),
            ("http://[::AB]/", "::ab", "[::ab]", "http://[::ab]:80"),
            ("http://[::1]:81/", "::1", "[::1]:81", "http://[::1]:81"),
            ("http://[FE80::1%eth0]/", "fe80::1%eth0", "[fe80::1]", "http://[fe80::1%25eth0]:80"),
            ("http://[::1%25Lo]:81/", "::1%Lo", "[::1]:81", "http://[::1%25Lo]:81"),
        ] {
            let key = key(url);
            assert_eq!(key.host(), host);
            assert_eq!(key.host_field(), field);
            assert_eq!(key.to_string(), name);
        }
    }
}
