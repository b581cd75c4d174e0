//! A TCP connection to a host: its addresses, and the race between them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::error::{Error, Kind, Result, Stage};
use crate::settings::Settings;
use crate::wire::connect::{Name, Resolver};

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
    resolver: Option<&Resolver>,
) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = match resolver {
        None => match tokio::net::lookup_host((host, port)).await {
            Ok(found) => Ok(found.collect()),
            Err(error) => Err(error.into()),
        },
        Some(resolver) => resolver.call(Name::new(host)).await,
    };
    let mut found = found.map_err(|error| {
        Error::failed(Stage::Resolve, error).with_message(format!("cannot resolve {host}"))
    })?;
    for address in &mut found {
        if address.port() == 0 {
            address.set_port(port);
        }
    }
    if found.is_empty() {
        return Err(Error::failed(Stage::Resolve, format!("{host} resolves to no address")));
    }
    Ok(interleave(found))
}

/// Connects to the address that answers first, and sets the socket's options.
pub(crate) async fn connect(
    addresses: &[SocketAddr],
    local: Option<IpAddr>,
    settings: &Settings,
) -> Result<TcpStream> {
    let stream = match addresses {
        [only] => connect_from(local, *only).await.map_err(|error| refused(local, *only, error))?,
        several => race(several, local).await?,
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
async fn race(addresses: &[SocketAddr], local: Option<IpAddr>) -> Result<TcpStream> {
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
            Some(Ok((_, Ok(stream)))) => return Ok(stream),
            Some(Ok((address, Err(error)))) => failure = refused(local, address, error),
            Some(Err(error)) => failure = Error::failed(Stage::Connect, error),
            None => return Err(failure),
        }
    }
}

fn refused(local: Option<IpAddr>, address: SocketAddr, error: io::Error) -> Error {
    Error::failed(Stage::Connect, error).with_message(match local {
        Some(local) => format!("{address} from {local}"),
        None => address.to_string(),
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

/// Orders addresses as the resolver did, but with the families taking turns, beginning with that of
/// the first address (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = [first, second];
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
        let stream = within("the race", race(&[hanging, open], None)).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("connected"), open);
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
        let to = [SocketAddr::from(([127, 0, 0, 1], stage.port()))];
        let off = Settings { tcp_keepalive: None, tcp_user_timeout: None, ..Settings::default() };
        let huge = Settings { tcp_user_timeout: Some(Duration::MAX), ..Settings::default() };
        let seconds = |count| Some(Duration::from_secs(count));
        for (settings, probes, user_timeout) in [
            (Settings::default(), Some((seconds(15), seconds(15), 3)), seconds(45)),
            (Settings::go_defaults(), Some((seconds(30), seconds(30), 9)), None),
            (off, None, None),
            (huge, Some((seconds(15), seconds(15), 3)), Some(MAX_USER_TIMEOUT)),
        ] {
            let stream = within("a connection", connect(&to, None, &settings)).await;
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
        assert_eq!(interleave(resolved), raced);
        let one_family = addresses(&["127.0.0.2:1", "127.0.0.1:1"]);
        assert_eq!(interleave(one_family.clone()), one_family);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }
}
