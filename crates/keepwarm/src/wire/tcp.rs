//! A TCP connection to a host: its addresses, and the race between them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(target_os = "linux")]
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result, Stage};
use crate::settings::Settings;
use crate::wire::lookup::{How, KnownAddresses, Lookups};

/// Time that an address has before the next one is tried beside it: the connection attempt delay
/// that RFC 8305, section 5, recommends. Go: `Dialer.FallbackDelay` is 300 ms.
const HEAD_START: Duration = Duration::from_millis(250);

/// The kernel reads `TCP_USER_TIMEOUT` as a signed number of milliseconds: 24.8 days.
#[cfg(target_os = "linux")]
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Returns the addresses of a host, in the order in which they are to be tried.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    lookups: &Lookups,
    how: How<'_>,
) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if let Some((address, zone)) = host.split_once('%') {
        let message = || format!("zone {zone:?} of {address}");
        let zoned = zoned(address, zone, port).await;
        return zoned
            .map(|address| vec![address])
            .map_err(|error| Error::failed(Stage::Resolve, error).with_message(message()));
    }
    lookups.addresses(host, port, how).await
}

/// Returns an IPv6 address with its zone: the name or the number of an interface.
#[cfg(target_os = "linux")]
#[expect(clippy::unused_async, reason = "elsewhere it has to wait")]
async fn zoned(address: &str, zone: &str, port: u16) -> io::Result<SocketAddr> {
    let address: Ipv6Addr = address.parse().map_err(io::Error::other)?;
    let scope = match zone.parse() {
        Ok(number) => number,
        Err(_) => nix::net::if_::if_nametoindex(zone)?,
    };
    Ok(SocketAddrV6::new(address, port, 0, scope).into())
}

/// Returns an IPv6 address with its zone, as the platform's resolver reads it.
#[cfg(not(target_os = "linux"))]
async fn zoned(address: &str, zone: &str, port: u16) -> io::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((format!("{address}%{zone}"), port)).await?;
    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The address family that answered for an origin. It is tried first for some minutes, so that a
/// host with two families of which one does not listen costs one refused connect, and not one a
/// dial (RFC 8305, 4: a client may remember).
#[derive(Debug, Default)]
pub(crate) struct KnownFamily(Mutex<Option<WonFamily>>);

#[derive(Clone, Copy, Debug)]
struct WonFamily {
    is_v6: bool,
    /// The moment when it was learned, which later answers do not move: the resolver's first choice
    /// gets its chance again.
    since: Instant,
}

impl KnownFamily {
    /// Time for which the family is known. RFC 6555, 4.2: "on the order of 10 minutes".
    const HOLDS: Duration = Duration::from_secs(600);

    fn get(&self) -> Option<bool> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|known| known.since.elapsed() < Self::HOLDS).map(|known| known.is_v6)
    }

    fn note(&self, is_v6: bool) {
        if self.get() != Some(is_v6) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(WonFamily { is_v6, since: Instant::now() });
        }
    }

    /// Forgets it: the network has changed.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Connects to the address that answers first, and sets the socket's options.
pub(crate) async fn connect(
    addresses: Vec<SocketAddr>,
    local: Option<IpAddr>,
    settings: &Settings,
    known: &KnownAddresses,
) -> Result<TcpStream> {
    let stream = match addresses[..] {
        [only] => connect_from(local, only).await.map_err(|error| refused(local, only, error))?,
        _ => {
            let turn = known.next_turn(settings.spread_addresses);
            let addresses = interleave(addresses, known.family.get(), turn);
            let (address, stream) = race(&addresses, local).await?;
            known.family.note(address.is_ipv6());
            stream
        }
    };
    let failed = |error| Error::failed(Stage::Connect, error);
    stream.set_nodelay(true).map_err(failed)?;
    set_liveness(&stream, settings).map_err(failed)?;
    Ok(stream)
}

/// Sets the options by which the kernel notices that the peer is gone without a FIN or RST.
fn set_liveness(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    let socket = SockRef::from(stream);
    if let Some(interval) = settings.tcp_keepalive {
        let keepalive = TcpKeepalive::new().with_time(interval).with_interval(interval);
        let keepalive = keepalive.with_retries(settings.tcp_keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = settings.tcp_user_timeout {
        socket.set_tcp_user_timeout(Some(timeout.min(MAX_USER_TIMEOUT)))?;
    }
    Ok(())
}

/// Races the addresses of a host (RFC 8305): the families take turns, each attempt has a head start
/// over the next one, and a failure starts the next one at once. The first connection wins;
/// attempts still under way are dropped, which before the handshake costs the server nothing. If
/// all fail, the last failure is the one reported.
async fn race(addresses: &[SocketAddr], local: Option<IpAddr>) -> Result<(SocketAddr, TcpStream)> {
    let mut addresses = addresses.iter().copied();
    let mut failure = Error::new(Stage::Connect, Kind::Failed);
    let mut attempts = JoinSet::new();
    loop {
        let next = addresses.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.spawn(async move { (address, connect_from(local, address).await) });
        }
        let finished = tokio::select! {
            finished = attempts.join_next() => finished,
            () = tokio::time::sleep(HEAD_START), if more => continue,
        };
        match finished {
            Some(Ok((address, Ok(stream)))) => return Ok((address, stream)),
            Some(Ok((address, Err(error)))) => failure = refused(local, address, error),
            Some(Err(error)) => failure = Error::failed(Stage::Connect, error),
            None => return Err(failure),
        }
    }
}

fn refused(local: Option<IpAddr>, address: SocketAddr, error: io::Error) -> Error {
    Error::failed(Stage::Connect, error).with_message(match local {
        Some(local) => format!("{address} from {local}"),
        None => match address {
            // connect(2): EINVAL. The same address may exist on each link.
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                format!("{address} needs a zone, as in http://[fe80::1%25eth0]/")
            }
            _ => address.to_string(),
        },
    })
}

async fn connect_from(local: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(local) = local else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without the option bind(2) takes a port for itself, and all destinations together have as
    // many connections as there are ephemeral ports. A kernel before 4.2 does not know the option;
    // there that limit stays.
    #[cfg(target_os = "linux")]
    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(address).await
}

/// Orders addresses as the resolver did, but with the families taking turns, beginning with the
/// family that is known to answer, or that of the first address (RFC 8305, section 4). The first
/// `turn` addresses of each family are moved behind the others of that family.
fn interleave(
    addresses: Vec<SocketAddr>,
    known_is_v6: Option<bool>,
    turn: usize,
) -> Vec<SocketAddr> {
    let first_is_v6 =
        known_is_v6.unwrap_or_else(|| addresses.first().is_some_and(SocketAddr::is_ipv6));
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = [first, second];
    for family in turns.iter_mut().filter(|family| !family.is_empty()) {
        family.rotate_left(turn % family.len());
    }
    let mut ordered = Vec::new();
    while turns.iter().any(|family| !family.is_empty()) {
        ordered.extend(turns.iter_mut().filter_map(VecDeque::pop_front));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::http_server::RefusedPort;
    use keepwarm_testkit::scripted::{self, within};
    use keepwarm_testkit::skipped;

    use super::*;

    #[tokio::test]
    async fn hanging_address_delays_no_other() {
        let hanging = scripted::Stage::open_narrow();
        let _filled = hanging.fill().await;
        let open = scripted::Stage::open().await;
        let [hanging, open] =
            [&hanging, &open].map(|stage| SocketAddr::from(([127, 0, 0, 1], stage.port())));
        let raced = within("the race", race(&[hanging, open], None)).await;
        let (winner, stream) = raced.expect("a connection");
        assert_eq!((winner, stream.peer_addr().expect("connected")), (open, open));
    }

    /// If no address connects, the last failure is the error.
    #[tokio::test]
    async fn last_failure_is_reported() {
        let dead = [RefusedPort::new(), RefusedPort::new()];
        let addresses = dead.each_ref().map(|port| port.address());
        let error =
            within("the race", race(&addresses, None)).await.expect_err("no server listens");
        let text = error.to_string();
        assert!(text.contains("Connection refused"), "{text}");
        assert!(addresses.iter().any(|address| text.contains(&address.to_string())), "{text}");
    }

    /// Two destinations can then share a local port, as they can without a local address.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn local_address_reserves_no_port() {
        use nix::sys::socket::getsockopt;
        for local in ["127.0.0.7", "::1"] {
            let local: IpAddr = local.parse().expect("an address");
            let Ok(listener) = tokio::net::TcpListener::bind((local, 0)).await else {
                skipped::because(&format!("this host does not have {local}"));
                continue;
            };
            let to = listener.local_addr().expect("bound");
            let stream = within("a connection", connect_from(Some(local), to)).await;
            let stream = stream.expect("connected");
            assert_eq!(stream.local_addr().expect("connected").ip(), local);
            assert_eq!(getsockopt(&stream, IpBindAddressNoPort), Ok(true), "{local}");
        }
    }

    /// As the kernel has them.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn sockets_have_the_liveness_options() {
        let stage = scripted::Stage::open().await;
        let to = vec![SocketAddr::from(([127, 0, 0, 1], stage.port()))];
        let off = Settings { tcp_keepalive: None, tcp_user_timeout: None, ..Settings::default() };
        let huge = Settings { tcp_user_timeout: Some(Duration::MAX), ..Settings::default() };
        let seconds = |count| Some(Duration::from_secs(count));
        for (settings, probes, user_timeout) in [
            (Settings::default(), Some((seconds(15), seconds(15), 3)), seconds(30)),
            (Settings::go_defaults(), Some((seconds(30), seconds(30), 9)), None),
            (off, None, None),
            (huge, Some((seconds(15), seconds(15), 3)), Some(MAX_USER_TIMEOUT)),
        ] {
            let stream = within(
                "a connection",
                connect(to.clone(), None, &settings, &KnownAddresses::default()),
            )
            .await;
            let stream = stream.expect("connected");
            let socket = SockRef::from(&stream);
            assert_eq!(socket.keepalive().expect("an option"), probes.is_some());
            if let Some((time, interval, count)) = probes {
                assert_eq!(socket.tcp_keepalive_time().ok(), time);
                assert_eq!(socket.tcp_keepalive_interval().ok(), interval);
                assert_eq!(socket.tcp_keepalive_retries().ok(), Some(count));
            }
            assert_eq!(socket.tcp_user_timeout().expect("an option"), user_timeout);
        }
    }

    #[test]
    fn address_families_take_turns() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let resolved = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let raced = addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(resolved.clone(), None, 0), raced);
        assert_eq!(interleave(resolved.clone(), Some(true), 0), raced);
        let known = addresses(&["127.0.0.1:1", "[::1]:1", "127.0.0.2:1", "[::2]:1", "[::3]:1"]);
        let resolved_again = resolved.clone();
        assert_eq!(interleave(resolved, Some(false), 0), known);
        let spread = addresses(&["[::2]:1", "127.0.0.1:1", "[::3]:1", "127.0.0.2:1", "[::1]:1"]);
        assert_eq!(interleave(resolved_again, None, 4), spread, "each family turns by itself");
        let one_family = addresses(&["127.0.0.2:1", "127.0.0.1:1"]);
        for known in [None, Some(true), Some(false)] {
            assert_eq!(interleave(one_family.clone(), known, 0), one_family);
        }
        assert_eq!(interleave(Vec::new(), None, 0), Vec::new());
    }

    #[tokio::test(start_paused = true)]
    async fn family_is_known_for_ten_minutes() {
        let family = KnownFamily::default();
        assert_eq!(family.get(), None);
        family.note(false);
        tokio::time::advance(Duration::from_secs(599)).await;
        family.note(false);
        assert_eq!(family.get(), Some(false));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(family.get(), None, "answers since then have not made it younger");
        family.note(true);
        family.note(false);
        assert_eq!(family.get(), Some(false), "the latest answer counts");
        family.forget();
        assert_eq!(family.get(), None);
    }
}
