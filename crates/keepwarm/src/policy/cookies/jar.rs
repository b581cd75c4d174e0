//! A jar of cookies in memory, by `cookie_store`, with the public suffix list of `psl`.
//!
//! `cookie_store` parses, matches domains and paths, and expires. Its own way with public suffixes
//! needs a list at run time; `psl` has it built in.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cookie_store::{Cookie, CookieDomain, CookieExpiration, RawCookie};
use http::{HeaderValue, Uri};
use url::Url;

use super::CookieStore;
use super::set_cookie::SetCookie;
use crate::error::{Error, Result};

/// Limit on the bytes of a cookie's name and value together (RFC 6265bis, 5.7).
const MAX_BYTES: usize = 4096;
/// Limit on the lifetime of a cookie, 400 days, in seconds (RFC 6265bis, 5.5).
const MAX_AGE: u32 = 400 * 24 * 60 * 60;
/// Default limits, at least what RFC 6265bis, 6.1, asks for.
const PER_DOMAIN: usize = 180;
const IN_ALL: usize = 3300;

/// Cookies by RFC 6265bis: domains and paths, expiry, `Secure`, `HttpOnly`, the prefixes `__Host-` and
/// `__Secure-`; none for a public suffix such as `co.uk`.
///
/// At most 180 cookies a domain and 3,300 in all, see [`with_limits`](Self::with_limits): beyond it
/// expired ones are removed, then those of the domain that are not `Secure`, then the oldest. A
/// cookie of more than 4 KiB (name and value) is not stored, and none lives longer than 400 days.
/// An origin is trusted with `Secure` cookies if it is https, or `localhost` or a loopback address.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// let jar = Arc::new(keepwarm::Jar::load(&std::fs::read_to_string("cookies.txt")?)?);
/// let client = keepwarm::Client::builder().cookie_store(Arc::clone(&jar)).build()?;
/// client.get("https://backend.example/login").send().await?.bytes().await?;
/// std::fs::write("cookies.txt", jar.save())?;
/// # Ok(())
/// # }
/// ```
pub struct Jar {
    known: Mutex<StoredCookies>,
    per_domain: usize,
    in_all: usize,
}

#[derive(Default)]
struct StoredCookies {
    store: cookie_store::CookieStore,
    /// The moment of each cookie's creation, as a count.
    created: HashMap<CookieKey, u64>,
    count: u64,
}

/// Domain, path and name: what tells cookies apart.
type CookieKey = (String, String, String);

impl Default for Jar {
    fn default() -> Self {
        Self { known: Mutex::default(), per_domain: PER_DOMAIN, in_all: IN_ALL }
    }
}

impl fmt::Debug for Jar {
    /// Leaves the values out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jar({} cookies)", self.len())
    }
}

impl Jar {
    /// Returns an empty jar.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the numbers of cookies that are kept, of a domain and in all. Zero keeps none.
    #[must_use]
    pub fn with_limits(mut self, per_domain: usize, in_all: usize) -> Self {
        (self.per_domain, self.in_all) = (per_domain, in_all);
        self
    }

    /// Adds a cookie, as `Set-Cookie` from this URL would. Returns true if it is stored.
    pub fn add(&self, set_cookie: &str, url: &Uri) -> bool {
        let Ok(url) = Url::parse(&url.to_string()) else { return false };
        let mut known = self.lock();
        let stored = known.insert(set_cookie, &url);
        self.enforce_limits(&mut known);
        stored
    }

    /// Returns the number of cookies that are not expired.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().store.iter_unexpired().count()
    }

    /// Returns true if there is no cookie.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all cookies.
    pub fn clear(&self) {
        *self.lock() = StoredCookies::default();
    }

    /// Returns all cookies, those of a session too (expiry 0), as lines of a `cookies.txt`: the
    /// format of Netscape, curl and wget. It holds secrets. A cookie with a tab in its path or name
    /// is left out, because tabs part the columns.
    #[must_use]
    pub fn save(&self) -> String {
        let known = self.lock();
        let mut text = "# Netscape HTTP Cookie File\n".to_owned();
        let mut cookies: Vec<_> = known.store.iter_unexpired().collect();
        cookies.sort_by_key(|cookie| known.created.get(&name_of(cookie)));
        for cookie in cookies {
            let (domain, is_host_only) = match &cookie.domain {
                CookieDomain::Suffix(domain) => (format!(".{domain}"), false),
                _ => (domain_of(cookie), true),
            };
            let says = |yes: bool| if yes { "TRUE" } else { "FALSE" };
            let http_only = if cookie.http_only() == Some(true) { "#HttpOnly_" } else { "" };
            let secure = says(cookie.secure() == Some(true));
            let expires = match &cookie.expires {
                CookieExpiration::AtUtc(at) => at.unix_timestamp(),
                CookieExpiration::SessionEnd => 0,
            };
            let (subdomains, path) = (says(!is_host_only), &*cookie.path);
            let (name, value) = cookie.name_value();
            if path.contains('\t') || name.contains('\t') {
                continue;
            }
            // A String takes every write.
            let _ = writeln!(
                text,
                "{http_only}{domain}\t{subdomains}\t{path}\t{secure}\t{expires}\t{name}\t{value}"
            );
        }
        text
    }

    /// Reads the lines of a `cookies.txt`. Expired cookies are passed over.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid), naming the first line that is not of the format, without
    /// its value.
    pub fn load(text: &str) -> Result<Self> {
        let jar = Self::new();
        for (number, line) in text.lines().enumerate() {
            let (http_only, line) = match line.strip_prefix("#HttpOnly_") {
                Some(line) => (true, line),
                None => (false, line),
            };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut known = jar.lock();
            known.load(line, http_only).ok_or_else(|| {
                Error::invalid(format!("line {} is not of a cookies.txt", number + 1))
            })?;
            jar.enforce_limits(&mut known);
        }
        Ok(jar)
    }

    fn lock(&self) -> MutexGuard<'_, StoredCookies> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enforce_limits(&self, known: &mut StoredCookies) {
        if known.created.len() <= self.per_domain.min(self.in_all) {
            return;
        }
        known.forget_expired();
        let mut all: Vec<(&CookieKey, &u64)> = known.created.iter().collect();
        // RFC 6265bis, 5.7: a domain gives up its cookies that are not secure first.
        let is_secure = |(domain, path, name): &CookieKey| {
            let known = known.store.get(domain, path, name);
            known.is_some_and(|cookie| cookie.secure() == Some(true))
        };
        all.sort_by_cached_key(|(name, created)| std::cmp::Reverse((is_secure(name), **created)));
        let mut of_domain: HashMap<&str, usize> = HashMap::new();
        let (mut kept, mut surplus) = (Vec::new(), Vec::new());
        for (name, created) in all {
            let count = of_domain.entry(&name.0).or_default();
            *count += 1;
            if *count <= self.per_domain {
                kept.push((name, created));
            } else {
                surplus.push(name.clone());
            }
        }
        kept.sort_unstable_by_key(|(_, created)| std::cmp::Reverse(**created));
        surplus.extend(kept.iter().skip(self.in_all).map(|(name, _)| (*name).clone()));
        for name in surplus {
            known.remove(&name);
        }
    }
}

impl CookieStore for Jar {
    fn store(&self, url: &Uri, set_cookie: &mut dyn Iterator<Item = &HeaderValue>) {
        let Ok(url) = Url::parse(&url.to_string()) else { return };
        let mut known = self.lock();
        for value in set_cookie {
            if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
                known.insert(text, &url);
            }
        }
        self.enforce_limits(&mut known);
    }

    fn cookies(&self, url: &Uri) -> Option<HeaderValue> {
        let known = self.lock();
        if known.created.is_empty() {
            return None;
        }
        let url = Url::parse(&url.to_string()).ok()?;
        let mut matching = known.store.matches(&url);
        // RFC 6265bis, 5.8.3: longer paths first, then older ones.
        matching.sort_by_key(|cookie| {
            (std::cmp::Reverse(cookie.path.len()), known.created.get(&name_of(cookie)))
        });
        let mut text = String::new();
        for cookie in matching {
            let (name, value) = cookie.name_value();
            let parting = if text.is_empty() { "" } else { "; " };
            let equals = if name.is_empty() { "" } else { "=" };
            let _ = write!(text, "{parting}{name}{equals}{value}");
        }
        let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
        value.set_sensitive(true);
        (!value.is_empty()).then_some(value)
    }
}

impl StoredCookies {
    fn insert(&mut self, set_cookie: &str, url: &Url) -> bool {
        if set_cookie.chars().any(|one| one.is_control() && one != '\t') {
            return false;
        }
        let SetCookie { text, is_nameless } = SetCookie::of(set_cookie);
        let Ok(mut raw) = RawCookie::parse(text) else { return false };
        if is_nameless {
            raw.set_name("");
        }
        let Ok(mut cookie) = Cookie::try_from_raw_cookie(&raw, url) else { return false };
        if let CookieExpiration::AtUtc(at) = &cookie.expires
            && at.unix_timestamp() > now() + i64::from(MAX_AGE)
        {
            cookie.expires = CookieExpiration::from(u64::from(MAX_AGE));
        }
        let (name, value) = cookie.name_value();
        if name.len() + value.len() > MAX_BYTES || (name.is_empty() && value.is_empty()) {
            return false;
        }
        let cookie = match allowed_suffix(cookie.into_owned(), url) {
            Some(cookie) if fits_its_prefix(&cookie) => cookie,
            _ => return false,
        };
        let is_secure = cookie.secure() == Some(true);
        if !is_trusted(url) && (is_secure || self.would_hide_a_secure_one(&cookie)) {
            return false;
        }
        let name = name_of(&cookie);
        let stored = self.store.insert(cookie, url).is_ok();
        if self.store.get(&name.0, &name.1, &name.2).is_some() {
            self.count += 1;
            let count = self.count;
            self.created.entry(name).or_insert(count);
        } else {
            // The server has removed it.
            self.remove(&name);
        }
        stored
    }

    /// Returns true if a cookie from an origin without TLS would stand in for one that is secure
    /// (RFC 6265bis, 5.7, 16).
    fn would_hide_a_secure_one(&self, cookie: &Cookie<'_>) -> bool {
        let domain = domain_of(cookie);
        let covers = |one: &str, other: &str| one == other || one.ends_with(&format!(".{other}"));
        self.store.iter_unexpired().any(|known| {
            let theirs = domain_of(known);
            known.secure() == Some(true)
                && known.name() == cookie.name()
                && (covers(&theirs, &domain) || covers(&domain, &theirs))
                && cookie.path.starts_with(&*known.path)
        })
    }

    fn load(&mut self, line: &str, http_only: bool) -> Option<()> {
        let fields: Vec<&str> = line.splitn(7, '\t').collect();
        let [domain, subdomains, path, secure, expires, name, value] = fields[..] else {
            return None;
        };
        let host = domain.strip_prefix('.').unwrap_or(domain);
        let expires: i64 = expires.parse().ok()?;
        let url = Url::parse(&format!("https://{host}{path}")).ok()?;
        let mut text = format!("{name}={value}; Path={path}");
        for (is_set, attribute) in [
            (subdomains == "TRUE", format!("; Domain={host}")),
            (secure == "TRUE", "; Secure".to_owned()),
            (http_only, "; HttpOnly".to_owned()),
            (expires > 0, format!("; Max-Age={}", expires - now())),
        ] {
            if is_set {
                text += &attribute;
            }
        }
        self.insert(&text, &url);
        Some(())
    }

    fn forget_expired(&mut self) {
        let expired = self
            .created
            .keys()
            .filter(|(domain, path, name)| self.store.get(domain, path, name).is_none());
        for name in expired.cloned().collect::<Vec<_>>() {
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &CookieKey) {
        self.store.remove(&name.0, &name.1, &name.2);
        self.created.remove(name);
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn domain_of(cookie: &Cookie<'_>) -> String {
    cookie.domain.as_cow().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

fn name_of(cookie: &Cookie<'_>) -> CookieKey {
    (domain_of(cookie), cookie.path.to_string(), cookie.name().to_owned())
}

/// Refuses a cookie for a whole public suffix; one that such a host sets for itself is for that host
/// alone.
fn allowed_suffix(mut cookie: Cookie<'static>, url: &Url) -> Option<Cookie<'static>> {
    let CookieDomain::Suffix(domain) = &cookie.domain else { return Some(cookie) };
    let domain = domain.trim_end_matches('.');
    let is_suffix = psl::suffix_str(domain).is_some_and(|suffix| suffix == domain);
    // A name without a dot that no list knows is the host of a network of one's own.
    if !is_suffix {
        return Some(cookie);
    }
    if url.host_str() != Some(domain) {
        return None;
    }
    cookie.domain = CookieDomain::host_only(url).ok()?;
    Some(cookie)
}

/// Returns true unless the cookie's name makes a promise that its attributes break (RFC 6265bis,
/// 4.1.3). Case does not matter there (5.7, 20).
fn fits_its_prefix(cookie: &Cookie<'_>) -> bool {
    let name = cookie.name().to_ascii_lowercase();
    let value = cookie.value().to_ascii_lowercase();
    let begins =
        |prefix| name.starts_with(prefix) || (name.is_empty() && value.starts_with(prefix));
    let is_secure = cookie.secure() == Some(true);
    if begins("__host-") {
        let is_host_only = matches!(cookie.domain, CookieDomain::HostOnly(_));
        // `Domain` is refused even where it names the host itself.
        return is_secure
            && is_host_only
            && cookie.domain().is_none()
            && cookie.path() == Some("/");
    }
    !begins("__secure-") || is_secure
}

/// Returns true for an origin whose connections are not open to others.
fn is_trusted(url: &Url) -> bool {
    url.scheme() == "https"
        || match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}
