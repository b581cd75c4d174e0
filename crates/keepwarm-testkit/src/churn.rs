//! Connection churn with known truth: TCP connections over loopback, opened and closed in a chosen
//! [`Way`], one after the other, and the [`Truth`] about them.
//!
//! Owns both sockets of every connection, in one thread, so that the order of closes is the order
//! of the program. Each step waits until TCP itself shows the previous step (an end of file, an
//! ECONNRESET, a byte that can be peeked), never for time. Watches nothing.
//!
//! ```
//! use keepwarm_testkit::churn::{Family, Upstream, Way};
//! let mut upstream = Upstream::listen(Family::V4)?;
//! let truth = upstream.play(Way::ServerFin, 3, 2)?;
//! assert_eq!((truth.opened, truth.server_fin), (3, 3));
//! # Ok::<(), std::io::Error>(())
//! ```

mod hosts;
#[cfg(target_os = "linux")]
mod lost;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::AddAssign;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use self::hosts::{Hosts, await_end_behind_data};
#[cfg(target_os = "linux")]
pub use self::lost::{Lost, Silence};
use crate::kernel::is_named;

/// Address family of both sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 for both sockets; 127.0.0.1 on loopback.
    V4,
    /// IPv6 for both sockets; ::1 on loopback.
    V6,
    /// A dual-stack listener on `::`. Clients alternate between an IPv4 socket to its IPv4 address
    /// and an IPv6 socket to the mapped address (::ffff:127.0.0.1 on loopback).
    V4Mapped,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 3] = [Family::V4, Family::V6, Family::V4Mapped];
}

/// The way in which a connection ends. "Closes" means close(2) of a socket without unread data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The client closes, the server reads the end and closes.
    ClientFin,
    /// The server closes, the client reads the end and closes.
    ServerFin,
    /// The server closes; the client closes without having read the end.
    ServerFinUnnoticed,
    /// Client and server shut down sending before either can see the other's FIN (both send queues
    /// are full).
    Crossed,
    /// The client shuts down sending, the server reads the end and closes, the client reads the
    /// end and closes.
    ClientHalfClose,
    /// The server shuts down sending, the client reads the end and closes, the server reads the end
    /// and closes.
    ServerHalfClose,
    /// The client closes with SO_LINGER 0.
    ClientRst,
    /// The server closes with SO_LINGER 0.
    ServerRst,
    /// The client closes with SO_LINGER 0 while its last request is unread.
    ClientRstOnUnreadServer,
    /// The client closes with several bytes of a response unread.
    ClientUnread,
    /// The server closes with several bytes of a request unread.
    ServerUnread,
    /// The client closes; the server closes with several bytes of a request unread: an RST after
    /// a FIN.
    ClientFinServerUnread,
    /// The server closes, then the client sends a request: the keep-alive race, an RST after a FIN.
    ServerFinClientWrites,
}

impl Way {
    /// All ways.
    pub const ALL: [Way; 13] = [
        Way::ClientFin,
        Way::ServerFin,
        Way::ServerFinUnnoticed,
        Way::Crossed,
        Way::ClientHalfClose,
        Way::ServerHalfClose,
        Way::ClientRst,
        Way::ServerRst,
        Way::ClientRstOnUnreadServer,
        Way::ClientUnread,
        Way::ServerUnread,
        Way::ClientFinServerUnread,
        Way::ServerFinClientWrites,
    ];
}

/// Connections by the way in which they ended. The side that closed first is the one with the first
/// FIN, or with the RST if there was no FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Truth {
    /// Connections established.
    pub opened: u64,
    /// Closed by the client's FIN.
    pub client_fin: u64,
    /// Closed by the server's FIN.
    pub server_fin: u64,
    /// Closed by both at once.
    pub crossed_fin: u64,
    /// Aborted by the client.
    pub client_rst: u64,
    /// Aborted by the server.
    pub server_rst: u64,
    /// Given up by both sides, neither of which received anything from the other.
    pub timed_out: u64,
    /// Segments with data sent by the clients: requests, and the data that some ways of closing
    /// need. Unknown (0) for [`Way::Crossed`], which sends as much as the buffers take.
    pub client_segments: u64,
}

impl Truth {
    /// Returns the number of connections closed.
    pub fn closed(&self) -> u64 {
        let fin = self.client_fin + self.server_fin + self.crossed_fin;
        fin + self.client_rst + self.server_rst + self.timed_out
    }

    /// Returns the truth about closing one connection in `way`.
    pub fn of_close(way: Way) -> Truth {
        let mut truth = Truth::default();
        *match way {
            Way::ClientFin | Way::ClientHalfClose | Way::ClientFinServerUnread => {
                &mut truth.client_fin
            }
            Way::ServerFin
            | Way::ServerFinUnnoticed
            | Way::ServerHalfClose
            | Way::ServerFinClientWrites => &mut truth.server_fin,
            Way::Crossed => &mut truth.crossed_fin,
            Way::ClientRst | Way::ClientRstOnUnreadServer | Way::ClientUnread => {
                &mut truth.client_rst
            }
            Way::ServerRst | Way::ServerUnread => &mut truth.server_rst,
        } = 1;
        truth.client_segments = match way {
            Way::ClientRstOnUnreadServer
            | Way::ServerUnread
            | Way::ClientFinServerUnread
            | Way::ServerFinClientWrites => 1,
            _ => 0,
        };
        truth
    }
}

impl AddAssign for Truth {
    fn add_assign(&mut self, other: Truth) {
        self.opened += other.opened;
        self.client_fin += other.client_fin;
        self.server_fin += other.server_fin;
        self.crossed_fin += other.crossed_fin;
        self.client_rst += other.client_rst;
        self.server_rst += other.server_rst;
        self.timed_out += other.timed_out;
        self.client_segments += other.client_segments;
    }
}

/// Longer than any step on loopback takes, so that a test that hangs fails and names the step.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener on a free port.
#[derive(Debug)]
pub struct Upstream {
    family: Family,
    hosts: Hosts,
    listener: TcpListener,
    /// Bound, never listening. Keeps the port number from every other socket of the host, of either
    /// family, so that all sockets seen on the port are those of the test.
    _reservation: Socket,
    port: u16,
    dials: u64,
}

/// Returns a port that no socket of this namespace has, held by a socket that never listens.
///
/// `bind` to port 0 may give a port whose last owner left sockets in TIME_WAIT, as local or remote
/// port. They would be counted with the test's own.
fn unused_port(wanted: u16) -> io::Result<(Socket, u16)> {
    let mut taken = Vec::new();
    for _ in 0..100 {
        let reservation = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        reservation.set_only_v6(false)?;
        reservation.set_reuse_address(true)?;
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), wanted);
        reservation.bind(&SockAddr::from(any))?;
        let reserved = reservation.local_addr()?.as_socket().map(|name| name.port());
        let port = reserved.ok_or_else(|| io::Error::other("a socket without a port"))?;
        if !is_named(port) {
            return Ok((reservation, port));
        }
        taken.push(reservation);
    }
    Err(io::Error::other("a hundred ports, each in use by another socket"))
}

impl Upstream {
    /// Listens on a port of the kernel's choice.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn listen(family: Family) -> io::Result<Upstream> {
        Upstream::listen_at(Hosts::Loopback, family)
    }

    fn listen_at(hosts: Hosts, family: Family) -> io::Result<Upstream> {
        let (domain, ip) = match family {
            Family::V4 => (Domain::IPV4, hosts.server_ip(false)),
            Family::V6 => (Domain::IPV6, hosts.server_ip(true)),
            Family::V4Mapped => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let (reservation, port, socket) = hosts.at_server(|| {
            let (reservation, port) = unused_port(hosts.port())?;
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            Ok((reservation, port, socket))
        })?;
        socket.set_reuse_address(true)?;
        if family == Family::V4Mapped {
            socket.set_only_v6(false)?;
        }
        socket.bind(&SockAddr::from(SocketAddr::new(ip, port)))?;
        socket.listen(128)?;
        let listener = socket.into();
        Ok(Upstream { family, hosts, listener, _reservation: reservation, port, dials: 0 })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection and accepts it.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn connect(&mut self) -> io::Result<Connection> {
        let client = self.dial()?;
        let name = client.local_addr()?;
        let (server, peer) = self.listener.accept()?;
        if peer.port() != name.port() {
            return Err(io::Error::other(format!("accepted {peer}, expected {name}")));
        }
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
        }
        Ok(Connection { client, server })
    }

    /// Opens `count` connections, makes `requests` exchanges on each, and closes each in `way`.
    ///
    /// # Errors
    /// The operating system's error, or a step that TCP did not show.
    pub fn play(&mut self, way: Way, count: u64, requests: u64) -> io::Result<Truth> {
        let mut truth = Truth::default();
        for _ in 0..count {
            let mut connection = self.connect()?;
            connection.exchange(requests)?;
            truth.opened += 1;
            truth += connection.close(way)?;
            truth.client_segments += requests;
        }
        Ok(truth)
    }

    /// Stops listening and lets `count` connects be refused, alternating between blocking and
    /// non-blocking connect(2). Returns no truth, because no connection was opened.
    ///
    /// # Errors
    /// A connect was not refused.
    pub fn refuse(self, count: u64) -> io::Result<()> {
        let Upstream { family, hosts, listener, port, _reservation, .. } = self;
        drop(listener);
        for turn in 0..count {
            let socket = hosts.at_client(|| client_socket(family, turn))?;
            socket.set_nonblocking(turn % 2 == 1)?;
            let connected = socket.connect(&target(&hosts, family, port, turn));
            let error = match connected {
                Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {
                    wait_for("a refusal", || socket.take_error().ok().flatten())?
                }
                Err(error) => error,
                Ok(()) => return Err(io::Error::other("a connect without a listener succeeded")),
            };
            if error.kind() != ErrorKind::ConnectionRefused {
                return Err(error);
            }
        }
        Ok(())
    }

    fn dial(&mut self) -> io::Result<TcpStream> {
        self.dials += 1;
        let socket = self.hosts.at_client(|| client_socket(self.family, self.dials))?;
        socket.connect(&self.target(self.dials))?;
        Ok(socket.into())
    }

    /// Returns the address to which dial number `turn` connects.
    fn target(&self, turn: u64) -> SockAddr {
        target(&self.hosts, self.family, self.port, turn)
    }
}

const EINPROGRESS: i32 = 115;

fn client_socket(family: Family, turn: u64) -> io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
        Family::V4Mapped if turn.is_multiple_of(2) => Domain::IPV4,
        Family::V4Mapped => Domain::IPV6,
    };
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
}

fn target(hosts: &Hosts, family: Family, port: u16, turn: u64) -> SockAddr {
    let ip = match (hosts.server_ip(family == Family::V6), family) {
        (IpAddr::V4(ip), Family::V4Mapped) if !turn.is_multiple_of(2) => ip.to_ipv6_mapped().into(),
        (ip, _) => ip,
    };
    SockAddr::from(SocketAddr::new(ip, port))
}

/// Both sockets of an established connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket that connected.
    pub client: TcpStream,
    /// The socket that was accepted.
    pub server: TcpStream,
}

impl Connection {
    /// Makes `count` small exchanges, one after the other: a segment each way.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn exchange(&mut self, count: u64) -> io::Result<()> {
        let mut buffer = [0; 16];
        for _ in 0..count {
            self.client.write_all(b"request")?;
            self.server.read_exact(&mut buffer[..7])?;
            self.server.write_all(b"response")?;
            self.client.read_exact(&mut buffer[..8])?;
        }
        Ok(())
    }

    /// Closes both sockets in `way`. Both files are closed on return.
    ///
    /// # Errors
    /// The operating system's error, or a step that TCP did not show.
    pub fn close(self, way: Way) -> io::Result<Truth> {
        let Connection { mut client, mut server } = self;
        match way {
            Way::ClientFin => first_closes(client, &mut server)?,
            Way::ServerFin => first_closes(server, &mut client)?,
            Way::ServerFinUnnoticed => {
                drop(server);
                peek_end(&client)?;
            }
            Way::Crossed => crossed(&mut client, &mut server)?,
            Way::ClientHalfClose => half_close(&mut client, server)?,
            Way::ServerHalfClose => half_close(&mut server, client)?,
            Way::ClientRst => aborts(client, &mut server)?,
            Way::ServerRst => aborts(server, &mut client)?,
            Way::ClientRstOnUnreadServer => {
                send_unread(&mut client, &server)?;
                abort(client)?;
                // A reset leaves the queue as it was; the error shows after the queue has been
                // read. Here the server must never read, so this asks for the error alone.
                reset_shown(&server)?;
            }
            Way::ClientUnread => leaves_unread(client, &mut server)?,
            Way::ServerUnread => leaves_unread(server, &mut client)?,
            Way::ClientFinServerUnread => {
                send_unread(&mut client, &server)?;
                drop(client);
                await_end_behind_data(&server)?;
                drop(server);
            }
            Way::ServerFinClientWrites => {
                drop(server);
                read_end(&mut client)?;
                client.write_all(b"request")?;
                reset_shown(&client)?;
            }
        }
        Ok(Truth::of_close(way))
    }
}

fn first_closes(first: TcpStream, second: &mut TcpStream) -> io::Result<()> {
    drop(first);
    read_end(second)
}

fn half_close(first: &mut TcpStream, mut second: TcpStream) -> io::Result<()> {
    first.shutdown(Shutdown::Write)?;
    read_end(&mut second)?;
    drop(second);
    read_end(first)
}

fn aborts(first: TcpStream, second: &mut TcpStream) -> io::Result<()> {
    abort(first)?;
    match second.read(&mut [0; 16]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => Err(io::Error::other(format!("expected a reset, got {other:?}"))),
    }
}

fn abort(end: TcpStream) -> io::Result<()> {
    let socket = Socket::from(end);
    socket.set_linger(Some(Duration::ZERO))
}

fn leaves_unread(first: TcpStream, second: &mut TcpStream) -> io::Result<()> {
    send_unread(second, &first)?;
    drop(first);
    match second.read(&mut [0; 16]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => Err(io::Error::other(format!("expected a reset, got {other:?}"))),
    }
}

/// Sends several bytes, which arrive and stay unread.
fn send_unread(from: &mut TcpStream, to: &TcpStream) -> io::Result<()> {
    from.write_all(b"unread")?;
    match to.peek(&mut [0; 16])? {
        6 => Ok(()),
        other => Err(io::Error::other(format!("peeked {other} of 6 bytes"))),
    }
}

fn read_end(end: &mut TcpStream) -> io::Result<()> {
    match end.read(&mut [0; 16])? {
        0 => Ok(()),
        some => Err(io::Error::other(format!("{some} bytes instead of the end"))),
    }
}

fn peek_end(end: &TcpStream) -> io::Result<()> {
    match end.peek(&mut [0; 16])? {
        0 => Ok(()),
        some => Err(io::Error::other(format!("{some} bytes instead of the end"))),
    }
}

fn reset_shown(end: &TcpStream) -> io::Result<()> {
    wait_for("a reset", || end.take_error().ok().flatten()).map(|_| ())
}

/// Fills both send queues against a full window of fixed size (a window that grows would let all
/// data out), then shuts both sockets down: neither FIN can leave. When the client has read
/// everything, the server's FIN has arrived on a client that has already closed.
fn crossed(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    for end in [&*client, &*server] {
        SockRef::from(end).set_recv_buffer_size(1 << 18)?;
    }
    for end in [&mut *client, &mut *server] {
        end.set_nonblocking(true)?;
        let block = [0; 1 << 16];
        loop {
            match end.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        end.set_nonblocking(false)?;
    }
    client.shutdown(Shutdown::Write)?;
    server.shutdown(Shutdown::Write)?;
    for end in [client, server] {
        io::copy(end, &mut io::sink())?;
    }
    Ok(())
}

/// Repeats `ask` until it returns an answer. Gives up after [`PATIENCE`].
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> io::Result<T> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if std::time::Instant::now() > deadline {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("{what} did not come")));
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_works_over_every_family() {
        for family in Family::ALL {
            let mut upstream = Upstream::listen(family).unwrap();
            for way in Way::ALL {
                let truth = upstream.play(way, 2, 1).unwrap_or_else(|error| {
                    panic!("{way:?} {family:?}: {error}");
                });
                assert_eq!((truth.opened, truth.closed()), (2, 2), "{way:?} {family:?}");
            }
            upstream.refuse(4).unwrap();
        }
    }
}
