//! Proxies: which one a request goes through, and what a connection through it is keyed by.
//!
//! Owns the caller's rules and those of the environment, as Go has them
//! (`golang.org/x/net/http/httpproxy`). Opens no connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::encode::base64;
use crate::error::{Error, Result};
use crate::origin_key::{OriginKey, OriginRef, Scheme};
use crate::url::printable;

/// Protocol that is spoken to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProxyProtocol {
    Http,
    Https,
    /// Names are resolved here.
    Socks5,
    /// Names are resolved by the proxy.
    Socks5h,
}

impl ProxyProtocol {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }

    const fn is_socks(self) -> bool {
        matches!(self, Self::Socks5 | Self::Socks5h)
    }
}

/// A proxy server: its URL, and the credentials and fields that it is given.
///
/// Connections are shared by requests that go through equal proxy servers, credentials included.
///
/// ```
/// # fn main() -> keepwarm::Result<()> {
/// let server = keepwarm::ProxyServer::new("http://proxy.test:3128")?.basic_auth("me", "secret")?;
/// assert_eq!(server.to_string(), "http://proxy.test:3128");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyServer {
    pub(crate) protocol: ProxyProtocol,
    /// The proxy as an origin of its own, which is connected to.
    pub(crate) key: OriginKey,
    pub(crate) user: Option<(String, String)>,
    pub(crate) fields: HeaderMap,
}

impl ProxyServer {
    /// Takes a URL: `http://`, `https://` (TLS to the proxy itself), `socks5://` or `socks5h://`,
    /// with a host, and a port unless it is 80, 443 or 1080. A user and a password in it are
    /// percent-decoded.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the URL is not of that form.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let url = url.as_ref();
        let refuse = |why: &str| {
            let example = "write http://host:port, https://, socks5:// or socks5h://";
            Error::invalid(format!("proxy {:?} {why}; {example}", printable(url)))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("is no URL"))?;
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyProtocol::Http,
            "https" => ProxyProtocol::Https,
            "socks5" => ProxyProtocol::Socks5,
            "socks5h" => ProxyProtocol::Socks5h,
            _ => return Err(refuse("is of a protocol that is not supported")),
        };
        if protocol == ProxyProtocol::Https && cfg!(not(feature = "tls")) {
            return Err(refuse("needs TLS, which is not built in"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let port =
            if has_port(place) { String::new() } else { format!(":{}", protocol.default_port()) };
        let tls = if protocol == ProxyProtocol::Https { "https" } else { "http" };
        let uri = format!("{tls}://{}{port}/", place.trim_end_matches(':'));
        let uri: Uri = uri.parse().map_err(|_| refuse("has no usable host and port"))?;
        let key = OriginRef::of(&uri).map_err(|_| refuse("has no usable host and port"))?.to_key();
        let server = Self { protocol, key, user: None, fields: HeaderMap::new() };
        let Some(user) = user else { return Ok(server) };
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        server.basic_auth(&decoded(user), &decoded(password))
    }

    /// Sets user and password: sent as `Proxy-Authorization` (RFC 7617), or by SOCKS5 (RFC 1929).
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid): a colon in the user, a control character, or for SOCKS5
    /// more than 255 bytes or none.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid(format!("proxy {self}: {why}")));
        if self.protocol.is_socks() {
            if user.is_empty() || user.len() > 255 || password.is_empty() || password.len() > 255 {
                return refuse("user and password have 1 to 255 bytes in SOCKS5 (RFC 1929)");
            }
        } else if user.contains(':') {
            return refuse("the user has a colon, which ends it (RFC 7617)");
        }
        if [user, password].iter().any(|part| part.chars().any(char::is_control)) {
            return refuse("user or password has a control character");
        }
        self.user = Some((user.to_owned(), password.to_owned()));
        Ok(self)
    }

    /// Adds a header field to each CONNECT, or in place of CONNECT to each request. Go:
    /// `Transport.ProxyConnectHeader`.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid): not a header field.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Result<Self> {
        let name = HeaderName::from_bytes(name.as_ref().as_bytes());
        let value = HeaderValue::from_bytes(value.as_ref());
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Error::invalid(format!("proxy {self}: not a header field")));
        };
        self.fields.append(name, value);
        Ok(self)
    }

    /// Returns the value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.user.as_ref().filter(|_| !self.protocol.is_socks())?;
        let credentials = base64(format!("{user}:{password}").as_bytes());
        let mut value = HeaderValue::from_str(&format!("Basic {credentials}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Display for ProxyServer {
    /// Writes the URL, without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.key.to_string();
        let place = name.split_once("://").map_or(name.as_str(), |(_, place)| place);
        write!(f, "{}://{place}", self.protocol.name())
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyServer({self})")
    }
}

fn has_port(place: &str) -> bool {
    let behind_host = place.rsplit_once(']').map_or(place, |(_, behind)| behind);
    behind_host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty())
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The way of a connection that goes through a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Via {
    pub(crate) server: Arc<ProxyServer>,
    pub(crate) mode: Mode,
}

/// How a proxy serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The proxy reads each request: its connections serve every http origin.
    Forward,
    /// The proxy passes bytes to one origin.
    Tunnel,
}

impl Via {
    pub(crate) fn new(server: Arc<ProxyServer>, target: Scheme) -> Self {
        let forwards = target == Scheme::Http && !server.protocol.is_socks();
        Self { server, mode: if forwards { Mode::Forward } else { Mode::Tunnel } }
    }
}

/// A rule: which requests go through which proxy server. reqwest: `Proxy`. Go: `Transport.Proxy`.
///
/// ```
/// use keepwarm::{NoProxy, Proxy};
///
/// # fn main() -> keepwarm::Result<()> {
/// let client = keepwarm::Client::builder()
///     .proxy(Proxy::all("http://me:secret@proxy.test:3128")?.no_proxy(NoProxy::new("*.local,10.0.0.0/8")))
///     .build()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Proxy {
    rule: Rule,
    except: Option<Arc<NoProxy>>,
}

type ChooseFn = dyn Fn(&Uri) -> Option<ProxyServer> + Send + Sync;

#[derive(Clone)]
enum Rule {
    All(Arc<ProxyServer>),
    Only(Scheme, Arc<ProxyServer>),
    Custom(Arc<ChooseFn>),
    /// `HTTP_PROXY` in a CGI program, where any HTTP client can set it by a header `Proxy`.
    RefusedHttp,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(server) => write!(f, "All({server})"),
            Self::Only(scheme, server) => write!(f, "Only({}, {server})", scheme.name()),
            Self::Custom(_) => f.write_str("Custom"),
            Self::RefusedHttp => f.write_str("RefusedHttp"),
        }
    }
}

impl Proxy {
    /// Sends all requests through a proxy server.
    ///
    /// # Errors
    ///
    /// Errors of [`ProxyServer::new`].
    pub fn all(url: impl AsRef<str>) -> Result<Self> {
        Ok(Self::of(Rule::All(Arc::new(ProxyServer::new(url)?))))
    }

    /// Sends requests to http URLs through a proxy server.
    ///
    /// # Errors
    ///
    /// Errors of [`ProxyServer::new`].
    pub fn http(url: impl AsRef<str>) -> Result<Self> {
        Ok(Self::of(Rule::Only(Scheme::Http, Arc::new(ProxyServer::new(url)?))))
    }

    /// Sends requests to https URLs through a proxy server.
    ///
    /// # Errors
    ///
    /// Errors of [`ProxyServer::new`].
    pub fn https(url: impl AsRef<str>) -> Result<Self> {
        Ok(Self::of(Rule::Only(Scheme::Https, Arc::new(ProxyServer::new(url)?))))
    }

    /// Asks a function for the proxy server of each request, redirects included; `None` leaves it to
    /// the next rule. Go: `Transport.Proxy`.
    #[must_use]
    pub fn custom(choose: impl Fn(&Uri) -> Option<ProxyServer> + Send + Sync + 'static) -> Self {
        Self::of(Rule::Custom(Arc::new(choose)))
    }

    /// Sends requests to these hosts directly.
    #[must_use]
    pub fn no_proxy(mut self, hosts: NoProxy) -> Self {
        self.except = Some(Arc::new(hosts));
        self
    }

    const fn of(rule: Rule) -> Self {
        Self { rule, except: None }
    }

    /// Returns the proxy server of a URL; `None` if the rule is not about it.
    fn server(&self, uri: &Uri, scheme: Scheme) -> Result<Option<Arc<ProxyServer>>> {
        let server = match &self.rule {
            Rule::All(server) => Some(Arc::clone(server)),
            Rule::Only(only, server) => (*only == scheme).then(|| Arc::clone(server)),
            Rule::Custom(choose) => choose(uri).map(Arc::new),
            Rule::RefusedHttp if scheme == Scheme::Http => {
                return Err(Error::invalid(
                    "HTTP_PROXY is not used in a CGI program (REQUEST_METHOD is set), where a \
                     client may have set it; set Proxy::http",
                ));
            }
            Rule::RefusedHttp => None,
        };
        let excepted = || self.except.as_ref().is_some_and(|hosts| hosts.covers(uri, scheme));
        Ok(server.filter(|_| !excepted()))
    }
}

impl From<ProxyServer> for Proxy {
    /// Sends all requests through the server.
    fn from(server: ProxyServer) -> Self {
        Self::of(Rule::All(Arc::new(server)))
    }
}

/// The proxies of one request.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    Direct,
    Through(Proxy),
}

/// Returns the proxy server of a URL, by the first rule that names one.
pub(crate) fn choose(
    rules: &[Proxy],
    uri: &Uri,
    scheme: Scheme,
) -> Result<Option<Arc<ProxyServer>>> {
    for rule in rules {
        if let Some(server) = rule.server(uri, scheme)? {
            return Ok(Some(server));
        }
    }
    Ok(None)
}

/// Hosts that are reached directly, by Go's rules of `NO_PROXY`.
///
/// Parted by commas: `*` for all; an address, with or without a port; a range (`10.0.0.0/8`); a name,
/// which stands for its sub-domains too; `.name` or `*.name` for those alone; any of them with
/// `:port`.
///
/// ```
/// let hosts = keepwarm::NoProxy::new("intern.test,.local,10.0.0.0/8,[::1]:8080");
/// # drop(hosts);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy {
    matchers: Vec<Matcher>,
    /// `localhost` and loopback addresses are reached directly too.
    loopback: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Matcher {
    All,
    Range(IpAddr, u32),
    Address(IpAddr, String),
    Name {
        /// With a dot before it.
        suffix: String,
        is_host_too: bool,
        port: String,
    },
}

impl NoProxy {
    /// Reads a list. Entries that mean nothing are passed over, as by Go.
    #[must_use]
    pub fn new(list: impl AsRef<str>) -> Self {
        let mut matchers = Vec::new();
        for entry in list.as_ref().split(',') {
            let entry = entry.trim().to_lowercase();
            if entry == "*" {
                return Self { matchers: vec![Matcher::All], loopback: false };
            }
            matchers.extend(matcher(&entry));
        }
        Self { matchers, loopback: false }
    }

    fn covers(&self, uri: &Uri, scheme: Scheme) -> bool {
        let host = uri.host().unwrap_or_default().to_lowercase();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let port = uri.port_u16().unwrap_or(scheme.default_port()).to_string();
        let address = host.split('%').next().and_then(|host| host.parse::<IpAddr>().ok());
        let address = address.map(|address| address.to_canonical());
        if self.loopback
            && (host == "localhost" || address.is_some_and(|address| address.is_loopback()))
        {
            return true;
        }
        self.matchers.iter().any(|matcher| matcher.covers(host, &port, address))
    }
}

impl Matcher {
    fn covers(&self, host: &str, port: &str, address: Option<IpAddr>) -> bool {
        let is_port = |wanted: &str| wanted.is_empty() || wanted == port;
        match self {
            Self::All => true,
            Self::Range(range, bits) => address.is_some_and(|one| is_within(one, *range, *bits)),
            Self::Address(wanted, on) => address == Some(*wanted) && is_port(on),
            Self::Name { suffix, is_host_too, port: on } => {
                let is_host = *is_host_too && host == &suffix[1..];
                (host.ends_with(suffix.as_str()) || is_host) && is_port(on)
            }
        }
    }
}

fn matcher(entry: &str) -> Option<Matcher> {
    if let Some((address, bits)) = entry.split_once('/')
        && let Ok(address) = address.parse::<IpAddr>()
        && let Ok(bits) = bits.parse::<u32>()
        && bits <= if address.is_ipv4() { 32 } else { 128 }
    {
        return Some(Matcher::Range(address, bits));
    }
    let (host, port) = host_and_port(entry).unwrap_or((entry, ""));
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(Matcher::Address(address.to_canonical(), port.to_owned()));
    }
    let host = if host.starts_with("*.") { &host[1..] } else { host };
    let is_host_too = !host.is_empty() && !host.starts_with('.');
    let suffix = if is_host_too { format!(".{host}") } else { host.to_owned() };
    (!suffix.is_empty()).then(|| Matcher::Name { suffix, is_host_too, port: port.to_owned() })
}

/// Splits `host:port` and `[host]:port`; `None` for anything else. Go: `net.SplitHostPort`.
fn host_and_port(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return Some((inner, port));
    }
    (!host.contains([':', '[', ']'])).then_some((host, port))
}

fn is_within(address: IpAddr, range: IpAddr, bits: u32) -> bool {
    match (address, range) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            one.to_bits() & mask == other.to_bits() & mask
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            one.to_bits() & mask == other.to_bits() & mask
        }
        _ => false,
    }
}

/// Reads the rules of the environment: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capitals or
/// else in small letters.
pub(crate) fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Vec<Proxy>> {
    let set = |name: &str| {
        let small = name.to_ascii_lowercase();
        let known = |name: &str| read(name).filter(|value| !value.is_empty());
        known(name)
            .map(|value| (name.to_owned(), value))
            .or_else(|| known(&small).map(|v| (small, v)))
    };
    let hosts = set("NO_PROXY").map(|(_, list)| NoProxy::new(list)).unwrap_or_default();
    let except = Some(Arc::new(NoProxy { loopback: true, ..hosts }));
    let is_cgi = read("REQUEST_METHOD").is_some_and(|method| !method.is_empty());
    let mut rules = Vec::new();
    for (name, scheme) in [("HTTP_PROXY", Scheme::Http), ("HTTPS_PROXY", Scheme::Https)] {
        let Some((name, url)) = set(name) else { continue };
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        let server = ProxyServer::new(url)
            .map_err(|why| Error::invalid(format!("the environment's {name}: {why}")))?;
        let rule = match scheme {
            Scheme::Http if is_cgi => Rule::RefusedHttp,
            _ => Rule::Only(scheme, Arc::new(server)),
        };
        rules.push(Proxy { rule, except: except.clone() });
    }
    Ok(rules)
}

#[cfg(test)]
mod tests;
