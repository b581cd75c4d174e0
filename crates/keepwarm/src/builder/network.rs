//! Settings of the way to a server: TCP, names and addresses, proxies, streams of the caller's own.

use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::ClientBuilder;
use crate::error::BoxError;
use crate::policy::proxy::{Proxy, from_env};
use crate::wire::connect::{Connector, Destination, Name, Resolver};

impl ClientBuilder {
    /// Sets the time that resolving, connecting and starting a connection may take together.
    /// Go: `Dialer.Timeout`.
    ///
    /// Default: 30 s. Zero is refused; [`Duration::MAX`] means no limit but the kernel's.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets the time without a byte from the peer before a TCP keep-alive probe is sent, and the
    /// interval between probes. Go: `Dialer.KeepAlive`.
    ///
    /// Default: 15 s, counted in whole seconds. (Go: 30 s.) `None` switches probes off; less than a
    /// second or more than 32,767 s is refused. The cost is one packet without data, and its
    /// answer, in each interval of each quiet connection. The benefit: the state that NATs and
    /// firewalls keep of the connection does not expire, and a peer that has vanished is noticed,
    /// see [`tcp_user_timeout`](Self::tcp_user_timeout) and
    /// [`tcp_keepalive_probes`](Self::tcp_keepalive_probes).
    pub fn tcp_keepalive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_keepalive = interval.into();
        self
    }

    /// Sets the number of keep-alive probes that may stay unanswered, one after the other, before
    /// the kernel ends a connection (`TCP_KEEPCNT`). Go: `net.KeepAliveConfig.Count`.
    ///
    /// Default: 3, so that with 15 s of [`tcp_keepalive`](Self::tcp_keepalive) a peer that has
    /// vanished is noticed after 60 s. (Go and Linux: 9.) Zero is refused, and so is more than 127,
    /// the kernel's limit. On Linux the number counts only without a
    /// [`tcp_user_timeout`](Self::tcp_user_timeout): with one, the kernel ends the connection when
    /// that time has passed and a probe is unanswered (tcp(7)). The cost of a small number is that
    /// lost packets on a bad network end connections.
    pub fn tcp_keepalive_probes(mut self, probes: u32) -> Self {
        self.settings.tcp_keepalive_probes = probes;
        self
    }

    /// Sets the time for which sent bytes may stay unacknowledged, or keep-alive probes unanswered,
    /// before the kernel ends the connection (`TCP_USER_TIMEOUT`, RFC 5482). Go has no such
    /// setting.
    ///
    /// Default: 30 s, counted in whole milliseconds. Zero is refused; `None` leaves it to the
    /// kernel, which on Linux sends again for about 15 minutes (`net.ipv4.tcp_retries2`). It is for
    /// a peer that is gone without a FIN or RST: its host lost power, or a NAT or load balancer
    /// forgot the connection. A request on such a connection fails after this time with `TimedOut`
    /// ([`io_error`](crate::Error::io_error)); one that may be repeated goes out once more, on a
    /// new connection. An idle one is closed when the probe is due at or after this time: with the
    /// defaults after 30 to 45 s, when one or two probes were lost.
    ///
    /// The cost: a server that keeps its connection but reads nothing of an upload for so long
    /// (its receive window is zero) ends it too, although it answers the kernel's probes; the error
    /// names this setting. A server
    /// that takes long for its response does not: its kernel has acknowledged the request. Linux
    /// only; elsewhere it has no effect.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.tcp_user_timeout = timeout.into();
        self
    }

    /// Adds a rule: which requests go through which proxy. The first rule that names a proxy counts.
    /// Go: `Transport.Proxy`. A request can set its own.
    ///
    /// Default: none, and the environment is not read, see [`proxy_from_env`](Self::proxy_from_env).
    /// A request to http goes to an http proxy in absolute-form, on connections that all origins
    /// share: limits of an origin then count those of the proxy. A request to https, and any request
    /// through SOCKS5, has a tunnel of its origin (CONNECT), which is kept warm as any connection.
    /// Connecting, TLS to the proxy and the tunnel are bounded by
    /// [`connect_timeout`](Self::connect_timeout) together. `Proxy-Authorization` goes to the proxy
    /// alone. A [`connector`](Self::connector) connects to the proxy; a Unix socket beside a proxy
    /// is refused. [`tls_server_name`](Self::tls_server_name) is not the proxy's.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.policy_mut().proxies.push(proxy);
        self
    }

    /// Adds the rules of the environment, which is read now: `HTTP_PROXY` for http, `HTTPS_PROXY`
    /// for https, but for the hosts of `NO_PROXY`, `localhost` and loopback addresses; each in
    /// capitals, or else in small letters. Go: `http.ProxyFromEnvironment`, whose rules these are:
    /// in a CGI program (`REQUEST_METHOD` is set) a request that `HTTP_PROXY` is about fails, since
    /// a client may have set that.
    ///
    /// A variable that is no URL of a proxy is refused by [`build`](Self::build). (Go passes over
    /// it.) `ALL_PROXY` is not read, as by Go.
    pub fn proxy_from_env(mut self) -> Self {
        match from_env(|name| std::env::var(name).ok()) {
            Ok(rules) => self.policy_mut().proxies.extend(rules),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Removes all rules of proxies.
    pub fn no_proxy(mut self) -> Self {
        self.policy_mut().proxies.clear();
        self
    }

    /// Sets a connector that opens streams instead of TCP: through a tunnel or a simulated network,
    /// or by the steps of a test. Go: `Transport.DialContext`.
    ///
    /// Default: `None`, TCP. The connector is called once for each dial, which belongs to the pool
    /// and not to a request, see [`connect`](crate::connect); it returns a stream of tokio's
    /// traits, on which no byte has passed. For `https` the client does the TLS handshake on that
    /// stream itself. [`connect_timeout`](ClientBuilder::connect_timeout) bounds it, and its error
    /// is the cause of an error at [`Stage::Connect`](crate::Stage::Connect). The settings of TCP
    /// ([`tcp_keepalive`](ClientBuilder::tcp_keepalive),
    /// [`tcp_user_timeout`](ClientBuilder::tcp_user_timeout)) do not apply to its streams, and a
    /// [`resolver`](ClientBuilder::resolver) beside it is refused. A stream that is tokio's `TcpStream`
    /// gets `TCP_NODELAY`, without which HTTP/2 is slow over long ways.
    ///
    /// A client has one connector, and clients share no connections: so a connection of one
    /// connector never serves a request of another.
    ///
    /// ```
    /// use keepwarm::connect::Destination;
    /// use tokio::net::TcpStream;
    ///
    /// # fn main() -> keepwarm::Result<()> {
    /// // Every origin is reached through the port of a sidecar.
    /// let sidecar = tower::service_fn(|to: Destination| async move {
    ///     println!("connecting for {to}");
    ///     TcpStream::connect("127.0.0.1:15001").await
    /// });
    /// let client = keepwarm::Client::builder().connector(sidecar).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn connector<C>(mut self, connector: C) -> Self
    where
        C: Service<Destination> + Clone + Send + 'static,
        C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
    {
        self.transport.connector = Some(Connector::connector(connector));
        self
    }

    /// Sets the resolver that finds the addresses of a host. Go: `Dialer.Resolver`.
    ///
    /// Default: `None`, the platform's resolver (`getaddrinfo`), at each dial. The resolver is
    /// called once for each dial to a host that is a name, see [`connect`](crate::connect), never
    /// for a host that is an address, and no answer is kept between dials. The first 64 of its
    /// addresses are raced (RFC 8305): the families take turns, each address has a start of 250 ms
    /// over the next. The family that answered is first for the next ten minutes, so that a name
    /// such as `localhost`, whose service listens on one family only, costs one refused connect and
    /// not one a dial; [`close_idle`](crate::Client::close_idle) forgets it. A port of 0 in an address stands for the port of the URL; any other port
    /// replaces it. [`connect_timeout`](ClientBuilder::connect_timeout) bounds it together with
    /// connecting, and its error is the cause of an error at
    /// [`Stage::Resolve`](crate::Stage::Resolve), as is a name without address.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use std::net::SocketAddr;
    ///
    /// use keepwarm::connect::Name;
    ///
    /// # fn main() -> keepwarm::Result<()> {
    /// let fixed = tower::service_fn(|name: Name| async move {
    ///     println!("looking up {name}");
    ///     Ok::<_, Infallible>([SocketAddr::from(([127, 0, 0, 1], 0))])
    /// });
    /// let client = keepwarm::Client::builder().resolver(fixed).build()?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolver<R>(mut self, resolver: R) -> Self
    where
        R: Service<Name> + Clone + Send + 'static,
        R::Response: IntoIterator<Item = SocketAddr>,
        R::Error: Into<BoxError>,
        R::Future: Send,
    {
        self.transport.resolver = Some(Resolver::resolver(resolver));
        self
    }

    /// Sets the time for which the addresses of a name are used again by the dials of its origin.
    ///
    /// Default: 3 s. (Go: 0.) Zero has each dial look the name up. Dials that begin while a look-up is
    /// under way share its answer, whatever this is: a burst of a hundred dials asks the resolver
    /// once. A failure is for those alone who waited for it, and an answer of which no address
    /// connects is dropped, as is every answer by [`close_idle`](crate::Client::close_idle). The
    /// cost: for this time, dials go on to an address that the name has lost.
    pub fn dns_cache(mut self, keep: Duration) -> Self {
        self.settings.dns_cache = keep;
        self
    }

    /// Sets the interval at which the name of an origin is looked up again while it is used, so that
    /// connections follow the name: after a deploy, a failover, or a change of the number of servers.
    ///
    /// Default: 30 s. (Go: never.) `None` switches it off; zero is refused. An address is gone when
    /// three look-ups in a row lack it: idle connections to it close, and those in use close when they
    /// return, as [`CloseReason::AddressGone`](crate::CloseReason::AddressGone). A look-up that fails
    /// says nothing. Where no two of the last four answers agree, or three of the last sixteen bring an
    /// address back that was missing, the name rotates through more addresses than one answer holds:
    /// nothing is closed then, and [`explain`](crate::Client::explain) says so. An origin whose host is
    /// an address, and one that is reached by a connector or a Unix socket, is never looked up. The
    /// cost: one look-up an origin and interval, and none while no request comes.
    pub fn dns_refresh(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.dns_refresh = interval.into();
        self
    }

    /// Sets whether connections are opened to the addresses of a name in turn.
    ///
    /// Default: false, to the first address that answers, in the order of the resolver. (Go: the
    /// same.) With `true` each dial begins with the next address, within the family that answers, so
    /// that the connections of one client reach all servers behind a name. The cost: a connection
    /// that is kept serves one server, and the load of each is the number of its connections.
    pub fn spread_addresses(mut self, spread: bool) -> Self {
        self.settings.spread_addresses = spread;
        self
    }

    /// Sets the address that connections are made from. Go: `Dialer.LocalAddr`.
    ///
    /// Default: `None`, the kernel's choice for each destination. Addresses of the other family are
    /// not tried; the unspecified address (`0.0.0.0`, `::`) leaves the choice to the kernel within
    /// its family. The port is always the kernel's, and on Linux it is taken when connecting
    /// (`IP_BIND_ADDRESS_NO_PORT`): so each destination has all the ephemeral ports, where in Go
    /// the destinations share them. With an address that this host does not have each dial fails,
    /// at [`Stage::Connect`](crate::Stage::Connect). A multicast or broadcast address is refused,
    /// and so is a [`connector`](ClientBuilder::connector) or a Unix socket beside it. Connections
    /// of a client with another address are never used, as clients share none.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.transport.local_address = address.into();
        self
    }

    /// Sets a Unix socket that every connection of this client goes to, for any URL.
    /// Go: a `Transport.DialContext` that dials "unix".
    ///
    /// Default: `None`, TCP. The URL still determines `Host` and the pool, and with `https` the
    /// name in the server's certificate, and redirects go to the same socket too;
    /// `http://localhost/path` will do. On Linux a path that begins with `@` or with a zero byte is
    /// an abstract name, as in Go; write `./@name` for a file. A path that is empty, too long (108
    /// bytes on Linux) or has a zero byte is refused. Where the server's accept queue is full,
    /// connecting to a Unix socket fails at once (`EAGAIN`): this client tries again, at most every
    /// 50 ms, until [`connect_timeout`](ClientBuilder::connect_timeout). Settings of TCP do not
    /// apply ([`tcp_keepalive`](ClientBuilder::tcp_keepalive)); a
    /// [`connector`](ClientBuilder::connector) or a [`resolver`](ClientBuilder::resolver) beside it
    /// is refused. To use a socket for some origins only, write a connector.
    ///
    /// ```no_run
    /// # async fn example() -> keepwarm::Result<()> {
    /// let docker = keepwarm::Client::builder().unix_socket("/var/run/docker.sock").build()?;
    /// println!("{}", docker.get("http://docker/version").send().await?.text().await?);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.transport.unix_socket = Some(path.into());
        self
    }
}
