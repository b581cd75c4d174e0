//! The way to the target: the addresses to connect to and to connect from. Owns the replacement of
//! host and port, the name lookup, and the check that both fit together; connects nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, netdevice};

use super::PlanError;
use super::target::{self, Target};

/// An argument of connect(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

/// A rule that sends requests for a host and port to another address and port. The Host field and
/// the name in TLS stay those of the URL.
///
/// Written `HOST:PORT:ADDRESS:PORT`, as curl's option of the same name; an IPv6 address stands in
/// brackets. An empty host or port matches any; an empty address or port is that of the URL.
///
/// ```
/// let rule: keepwarm_load::ConnectTo = "example.com:80:127.0.0.1:8080".parse()?;
/// assert_eq!(rule.to_string(), "example.com:80:127.0.0.1:8080");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectTo {
    from_host: String,
    from_port: Option<u16>,
    to_host: String,
    to_port: Option<u16>,
}

impl FromStr for ConnectTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOST:PORT:ADDRESS:PORT, IPv6 in brackets");
        let (from_host, rest) = host(text).ok_or_else(wrong)?;
        let (from_port, rest) = rest.split_once(':').ok_or_else(wrong)?;
        let (to_host, to_port) = host(rest).ok_or_else(wrong)?;
        let rule = Self {
            from_host: from_host.to_ascii_lowercase(),
            from_port: port(from_port).ok_or_else(wrong)?,
            to_host,
            to_port: port(to_port).ok_or_else(wrong)?,
        };
        if rule.to_host.is_empty() && rule.to_port.is_none() {
            return Err(format!(
                "{text:?} replaces neither the address nor the port: write HOST:PORT:ADDRESS:PORT \
                 with at least one of the last two"
            ));
        }
        Ok(rule)
    }
}

/// Splits off a host (in brackets if it has colons); returns it and the text behind its colon.
fn host(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        return Some((target::ipv6(address)?, rest.strip_prefix(':')?));
    }
    let (host, rest) = text.split_once(':')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    host.bytes().all(plain).then(|| (host.to_owned(), rest))
}

/// Parses a port of digits, or an empty port. Zero is refused.
fn port(text: &str) -> Option<Option<u16>> {
    match text {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).map(Some)
        }
        _ => None,
    }
}

impl fmt::Display for ConnectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |host: &str| {
            if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
        };
        let port = |port: Option<u16>| port.map(|port| port.to_string()).unwrap_or_default();
        let (from, to) = (host(&self.from_host), host(&self.to_host));
        write!(f, "{from}:{}:{to}:{}", port(self.from_port), port(self.to_port))
    }
}

impl ConnectTo {
    fn matches(&self, target: &Target) -> bool {
        (self.from_host.is_empty() || self.from_host.eq_ignore_ascii_case(&target.host))
            && self.from_port.is_none_or(|port| port == target.port)
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn has(self, address: &SocketAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// The most addresses of a target that are used.
pub(crate) const MAX_ADDRESSES: usize = 256;

/// Settings of a plan for the way to the target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    pub(crate) connect_to: Vec<ConnectTo>,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) family: Option<Family>,
}

impl Route {
    /// Returns the endpoints in the order in which they are tried, at most [`MAX_ADDRESSES`], and the
    /// time that it took to find them. Asks the resolver, so that no lookup falls into the measured
    /// time.
    pub(crate) fn endpoints(
        &self,
        url: &str,
        target: &Target,
    ) -> Result<(Vec<Endpoint>, Option<Duration>), PlanError> {
        if let Some(path) = &self.unix_socket {
            return Ok((self.unix(path)?, None));
        }
        let rule = self.connect_to.iter().find(|rule| rule.matches(target));
        if let (None, Some(first)) = (rule, self.connect_to.first()) {
            return Err(PlanError::new(
                "connect_to",
                first.to_string(),
                format!(
                    "no rule is for {}, port {}, so that the load would go to the URL's own address",
                    target.host, target.port
                ),
                "write the URL's host and port in it, or leave them empty for any",
            ));
        }
        let replaced = rule.map(|rule| rule.to_host.as_str()).filter(|host| !host.is_empty());
        let host = replaced.unwrap_or(&target.host);
        let port = rule.and_then(|rule| rule.to_port).unwrap_or(target.port);
        let begun = Instant::now();
        let mut addresses = resolve(url, host, port)?;
        let is_name = host.parse::<IpAddr>().is_err() && !host.contains('%');
        let took = is_name.then(|| begun.elapsed());
        if let Some(family) = self.family {
            addresses.retain(|address| family.has(address));
            if addresses.is_empty() {
                let family = family.as_str();
                let reason = format!("{host} has no {family} address");
                let way_out = "leave out -4 or -6, or use another host";
                return Err(PlanError::new("url", url, reason, way_out).unresolved());
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        self.sources.iter().try_for_each(check_source)?;
        if self.sources.is_empty() {
            return Ok((addresses.into_iter().map(Endpoint::Tcp).collect(), took));
        }
        // An address can be reached only from an address of its own family.
        let reachable = |to: &SocketAddr| self.sources.iter().any(|s| s.is_ipv4() == to.is_ipv4());
        let endpoints: Vec<_> =
            addresses.into_iter().filter(reachable).map(Endpoint::Tcp).collect();
        if endpoints.is_empty() {
            return Err(PlanError::new(
                "source",
                self.sources[0].to_string(),
                format!("{host} has no address of the same family"),
                "use IPv4 sources for an IPv4 target, IPv6 for IPv6",
            ));
        }
        Ok((endpoints, took))
    }

    fn unix(&self, path: &Path) -> Result<Vec<Endpoint>, PlanError> {
        let wrong = |reason: &str, way_out| {
            PlanError::new("unix_socket", path.display().to_string(), reason, way_out)
        };
        if !self.sources.is_empty() || !self.connect_to.is_empty() || self.family.is_some() {
            let reason = "a Unix socket has no address to connect from, or to replace";
            return Err(wrong(reason, "leave out sources, connect-to, -4 and -6"));
        }
        // A path that is not there yet is the dial's to report: the server may be about to make it.
        if std::fs::metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(wrong("it is not a socket", "name the socket that the server listens on"));
        }
        let address = SocketAddrUnix::new(path.as_os_str().as_bytes());
        let address = address.map_err(|_| {
            wrong("it is longer than the 107 bytes that the kernel takes", "use a shorter path")
        })?;
        Ok(vec![Endpoint::Unix(address)])
    }

    /// Returns source number `turn`, modulo their number, of the sources that can reach `address`.
    pub(crate) fn source_for(&self, address: SocketAddr, turn: usize) -> Option<IpAddr> {
        let mut fitting = self.sources.iter().filter(|s| s.is_ipv4() == address.is_ipv4());
        let count = fitting.clone().count();
        fitting.nth(turn % count.max(1)).copied()
    }
}

/// Refuses an address that this host does not have. Otherwise each dial would fail with
/// EADDRNOTAVAIL, as it does when no port is left towards the target.
fn check_source(source: &IpAddr) -> Result<(), PlanError> {
    match std::net::UdpSocket::bind((*source, 0)) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => Err(PlanError::new(
            "source",
            source.to_string(),
            "it is not an address of this host",
            "use one that `ip addr` shows",
        )),
        // Other errors, as for a link-local address without its interface, are the dial's.
        _ => Ok(()),
    }
}

/// Returns the address with the number of the interface that its zone names. The resolver knows
/// names of zones for link-local addresses only.
fn scoped(address: &str, zone: &str, port: u16) -> Option<SocketAddr> {
    let index = zone.parse().ok().or_else(|| {
        let family = AddressFamily::INET6;
        let socket = rustix::net::socket(family, SocketType::DGRAM, None).ok()?;
        netdevice::name_to_index(socket, zone).ok()
    })?;
    Some(SocketAddrV6::new(address.parse().ok()?, port, 0, index).into())
}

fn resolve(url: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, PlanError> {
    let unresolved = |reason: String| {
        let way_out = "check the name, or use an address";
        PlanError::new("url", url, reason, way_out).unresolved()
    };
    let mut addresses: Vec<SocketAddr> = match host.split_once('%') {
        Some((address, zone)) => vec![scoped(address, zone, port).ok_or_else(|| {
            let reason = format!("this host has no network interface {zone:?}");
            let way_out = "write the name or number that `ip link` shows behind %25";
            PlanError::new("url", url, reason, way_out)
        })?],
        None => (host, port)
            .to_socket_addrs()
            .map_err(|error| unresolved(format!("{host} does not resolve: {error}")))?
            .collect(),
    };
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    if addresses.is_empty() {
        return Err(unresolved(format!("{host} has no address")));
    }
    // connect(2) would fail with EINVAL, which says nothing.
    let needs_zone = |address: &SocketAddr| match address {
        SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() == 0,
        SocketAddr::V4(_) => false,
    };
    if addresses.iter().all(needs_zone) {
        return Err(PlanError::new(
            "url",
            url,
            format!("{host} is a link-local address, which each network interface has"),
            "name the interface, as in http://[fe80::1%25eth0]/",
        ));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints(rules: &[&str], url: &str) -> Vec<Endpoint> {
        let connect_to = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let route = Route { connect_to, ..Route::default() };
        route.endpoints(url, &Target::parse(url).unwrap()).unwrap().0
    }

    fn tcp(address: &str) -> Vec<Endpoint> {
        vec![Endpoint::Tcp(address.parse().unwrap())]
    }

    #[test]
    fn first_matching_rule_replaces_host_and_port() {
        let url = "http://no-such-host.invalid:81/";
        let cases = [
            (vec!["no-such-host.invalid:81:127.0.0.1:9"], "127.0.0.1:9"),
            (vec!["NO-such-host.INVALID::127.0.0.1:"], "127.0.0.1:81"),
            (vec!["::[::1]:9"], "[::1]:9"),
            (vec![":82:127.0.0.1:1", ":81:127.0.0.1:2", "::127.0.0.1:3"], "127.0.0.1:2"),
        ];
        for (rules, expected) in cases {
            assert_eq!(endpoints(&rules, url), tcp(expected), "{rules:?}");
        }
        assert_eq!(endpoints(&[":::9"], "http://127.0.0.1:5/"), tcp("127.0.0.1:9"));
    }

    #[test]
    fn zone_becomes_the_scope_of_the_address() {
        let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        let expected = format!("[fe80::1%{}]:9", lo.trim());
        for url in ["http://[fe80::1%25lo]:9/", "http://[fe80::1%lo]:9/"] {
            assert_eq!(endpoints(&[], url), tcp(&expected), "{url}");
        }
        assert_eq!(endpoints(&["::[fe80::1%25lo]:9"], "http://a/"), tcp(&expected));
        let url = "http://[fe80::1%25nolink]/";
        let error = Route::default().endpoints(url, &Target::parse(url).unwrap()).unwrap_err();
        assert!(error.reason().contains("\"nolink\"") && !error.is_unresolved(), "{error}");
        let url = "http://[fe80::1]/";
        let error = Route::default().endpoints(url, &Target::parse(url).unwrap()).unwrap_err();
        assert!(error.way_out().contains("%25eth0") && !error.is_unresolved(), "{error}");
    }

    #[test]
    fn bad_rules_are_refused_with_form() {
        for text in [
            "",
            "a",
            "a:1",
            "a:1:b",
            "a:0:b:1",
            "a:1:b:99999",
            "a:1:::1:2",
            "[::1:1:b:2",
            "a b:1:c:2",
        ] {
            let error = text.parse::<ConnectTo>().expect_err(text);
            assert!(error.contains("HOST:PORT:ADDRESS:PORT"), "{error}");
        }
    }

    #[test]
    fn rules_without_effect_are_refused() {
        for text in [":::", "a:1::", "a:::"] {
            assert!(text.parse::<ConnectTo>().expect_err(text).contains("neither"), "{text}");
        }
        let url = "http://127.0.0.1:5/";
        let target = Target::parse(url).unwrap();
        let connect_to = ["other:::9", ":6::9"].map(|rule| rule.parse().unwrap()).into();
        let route = Route { connect_to, ..Route::default() };
        let error = route.endpoints(url, &target).unwrap_err();
        assert_eq!((error.setting(), error.value()), ("connect_to", "other:::9"));
    }

    #[test]
    fn path_of_a_plain_file_is_no_socket() {
        let url = "http://127.0.0.1:5/";
        let target = Target::parse(url).unwrap();
        for path in ["/", "/dev/null"] {
            let route = Route { unix_socket: Some(path.into()), ..Route::default() };
            let error = route.endpoints(url, &target).unwrap_err();
            assert!(error.reason().contains("not a socket"), "{error}");
        }
        let route = Route { unix_socket: Some("/no/such/socket".into()), ..Route::default() };
        assert!(route.endpoints(url, &target).is_ok(), "the dial reports it");
    }

    #[test]
    fn sources_filter_addresses_by_family() {
        let route = Route { sources: vec!["127.0.0.2".parse().unwrap()], ..Route::default() };
        let url = "http://[::1]:5/";
        let error = route.endpoints(url, &Target::parse(url).unwrap()).unwrap_err();
        assert_eq!((error.setting(), error.value()), ("source", "127.0.0.2"));
    }

    proptest! {
        #[test]
        fn rules_round_trip_and_never_panic(text in "[\\[\\]:0-9a-f.]{0,24}") {
            if let Ok(rule) = text.parse::<ConnectTo>() {
                prop_assert_eq!(rule.to_string().parse::<ConnectTo>(), Ok(rule));
            }
        }
    }
}
