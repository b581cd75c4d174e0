//! Ways of ending that take a [`Wire`]: FINs that cross, SYNs without an answer, and peers that
//! have vanished.
//!
//! Owns both sockets of each connection, as [`churn`](super) does, and the wire while it plays.
//! Endings that take seconds of the kernel's timers are played for all connections at once.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket, TcpKeepalive};

use super::hosts::Hosts;
use super::{Connection, EINPROGRESS, Family, PATIENCE, Truth, Upstream, client_socket};
use crate::kernel::is_named;
use crate::wire::{Flag, Wire};

/// The most FINs that are held at once.
const CROSSING: u64 = 50;

/// Action of a socket whose peer has vanished. Both sockets of a connection do the same, because
/// each has vanished for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Sends data, and gives up after a second without an acknowledgement (TCP_USER_TIMEOUT).
    Data,
    /// Stays idle; two keep-alive probes in a row have no answer.
    Idle,
    /// Closes; its FIN has no answer, nor have the repeated FINs.
    Fin,
}

impl Silence {
    /// All silences.
    pub const ALL: [Silence; 3] = [Silence::Data, Silence::Idle, Silence::Fin];
}

impl Wire {
    /// Shortens the kernel's timeouts from many minutes to a few seconds: a SYN is repeated once,
    /// the FIN of a closed socket twice.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn hurry(&self) -> io::Result<()> {
        for host in [&self.client, &self.server] {
            host.set("tcp_syn_retries", "1")?;
            host.set("tcp_orphan_retries", "2")?;
            // Linux before 6.5 lacks this setting, and doubles each wait.
            match host.set("tcp_syn_linear_timeouts", "0") {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Upstream {
    /// Listens on the server's host of a wire. Its clients are on the other host.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn across(wire: &Arc<Wire>, family: Family) -> io::Result<Upstream> {
        Upstream::listen_at(Hosts::Across(Arc::clone(wire)), family)
    }

    fn wire(&self) -> io::Result<Arc<Wire>> {
        match &self.hosts {
            Hosts::Across(wire) => Ok(Arc::clone(wire)),
            Hosts::Loopback => Err(io::Error::other("loopback is no wire")),
        }
    }

    /// Opens `count` connections, makes `requests` exchanges on each, and lets both sockets send
    /// their FIN before either receives the other's.
    ///
    /// # Errors
    /// The operating system's error, or a step that TCP did not show.
    pub fn cross(&mut self, count: u64, requests: u64) -> io::Result<Truth> {
        let wire = self.wire()?;
        let mut left = count;
        while left > 0 {
            let batch = left.min(CROSSING);
            let open = self.open(batch, requests)?;
            wire.hold();
            for Connection { client, server } in &open {
                client.shutdown(Shutdown::Write)?;
                server.shutdown(Shutdown::Write)?;
            }
            let fins = usize::try_from(batch).map_err(io::Error::other)?;
            wire.wait_for_held(Flag::Fin, fins)?;
            // Passes the FINs, not yet the acknowledgements: each socket has the other's FIN, and
            // no acknowledgement of its own.
            wire.pass()?;
            wire.release()?;
            for Connection { mut client, mut server } in open {
                super::read_end(&mut client)?;
                super::read_end(&mut server)?;
            }
            left -= batch;
        }
        let client_segments = count * requests;
        Ok(Truth { opened: count, crossed_fin: count, client_segments, ..Truth::default() })
    }

    /// Opens `count` connections and makes `requests` exchanges on each.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(&mut self, count: u64, requests: u64) -> io::Result<Vec<Connection>> {
        let open = |_| {
            let mut connection = self.connect()?;
            connection.exchange(requests)?;
            Ok(connection)
        };
        (0..count).map(open).collect()
    }
}

/// Connections on one wire whose peers will vanish, and connects that will have no answer.
#[derive(Debug)]
pub struct Lost {
    wire: Arc<Wire>,
    silent: Vec<(Silence, Connection)>,
    connecting: Vec<Socket>,
    /// Ports of the connections that close, to wait until the kernel has no socket of them.
    ports: Vec<u16>,
}

impl Lost {
    /// Makes an empty set.
    #[must_use]
    pub fn on(wire: &Arc<Wire>) -> Lost {
        let wire = Arc::clone(wire);
        Lost { wire, silent: Vec::new(), connecting: Vec::new(), ports: Vec::new() }
    }

    /// Opens `count` connections to `upstream`, which will end by `silence`, and makes one exchange
    /// on each.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn add(
        &mut self,
        upstream: &mut Upstream,
        silence: Silence,
        count: u64,
    ) -> io::Result<Truth> {
        for connection in upstream.open(count, 1)? {
            for end in [&connection.client, &connection.server] {
                prepare(end, silence)?;
            }
            self.silent.push((silence, connection));
        }
        if silence == Silence::Fin && count > 0 {
            self.ports.push(upstream.port());
        }
        Ok(Truth { opened: count, timed_out: count, client_segments: count, ..Truth::default() })
    }

    /// Cuts the wire, lets each socket act, and starts `connects` connects to each of the
    /// upstreams. Returns when the kernel has given all of them up; the wire is mended then.
    ///
    /// # Errors
    /// The operating system's error, or a socket that was not given up.
    pub fn play(mut self, connects: u64, to: &[Upstream]) -> io::Result<()> {
        self.wire.cut();
        for upstream in to {
            for turn in 0..connects {
                self.connecting.push(begin(upstream, turn)?);
            }
        }
        let mut waiting = Vec::new();
        for (silence, Connection { client, server }) in self.silent {
            match silence {
                Silence::Data => {
                    for mut end in [&client, &server] {
                        io::Write::write_all(&mut end, b"lost")?;
                    }
                    waiting.extend([client, server]);
                }
                Silence::Idle => waiting.extend([client, server]),
                Silence::Fin => drop((client, server)),
            }
        }
        for end in &waiting {
            given_up(&SockRef::from(end))?;
        }
        for socket in &self.connecting {
            given_up(&SockRef::from(socket))?;
        }
        for host in [&self.wire.client, &self.wire.server] {
            for port in &self.ports {
                until("the kernel's last FIN", || Ok(!host.inside(|| Ok(is_named(*port)))?))?;
            }
        }
        self.wire.mend()
    }
}

fn prepare(end: &TcpStream, silence: Silence) -> io::Result<()> {
    let second = Duration::from_secs(1);
    let socket = SockRef::from(end);
    match silence {
        Silence::Data => socket.set_tcp_user_timeout(Some(second)),
        Silence::Idle => {
            let often = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(2);
            socket.set_tcp_keepalive(&often)
        }
        Silence::Fin => Ok(()),
    }
}

fn begin(upstream: &Upstream, turn: u64) -> io::Result<Socket> {
    let socket = upstream.hosts.at_client(|| client_socket(upstream.family, turn))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&upstream.target(turn)) {
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => Ok(socket),
        other => Err(io::Error::other(format!("a connect into a cut wire: {other:?}"))),
    }
}

fn given_up(socket: &SockRef<'_>) -> io::Result<()> {
    let mut error = None;
    until("a timeout", || {
        error = socket.take_error()?;
        Ok(error.is_some())
    })?;
    match error {
        Some(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
        other => Err(io::Error::other(format!("expected a timeout, got {other:?}"))),
    }
}

/// Waits until `met` returns true, with pauses of 2 ms, because the kernel's timers take seconds.
fn until(what: &str, mut met: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !met()? {
        if Instant::now() > deadline {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("{what} did not come")));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
