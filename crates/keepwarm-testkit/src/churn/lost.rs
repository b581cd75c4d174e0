//! Ways of ending that take a [`Wire`]: FINs that cross, SYNs that nobody answers, and peers that
//! are gone.
//!
//! Owns both ends, as [`churn`](super) does, and the wire while it plays. What costs seconds of the
//! kernel's timers is played for all connections at once.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket, TcpKeepalive};

use super::place::Place;
use super::{Connection, EINPROGRESS, Family, PATIENCE, Truth, Upstream, client_socket};
use crate::kernel::is_named;
use crate::wire::{Flag, Wire};

/// FINs that are held at once.
const CROSSING: u64 = 50;

/// What an end does when the other one is gone. Both ends do the same, for each is gone for the
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It has sent data, and gives up after a second without an acknowledgement
    /// (TCP_USER_TIMEOUT).
    Data,
    /// It is idle; two keep-alive probes in a row have no answer.
    Idle,
    /// It has closed; its FIN has no answer, nor have those that follow it.
    Fin,
}

impl Silence {
    /// All of them.
    pub const ALL: [Silence; 3] = [Silence::Data, Silence::Idle, Silence::Fin];
}

impl Wire {
    /// Settings by which what takes the kernel many minutes takes it a few seconds: a SYN is
    /// repeated once, the FIN of a closed socket twice.
    ///
    /// # Errors
    /// What the system says.
    pub fn hurry(&self) -> io::Result<()> {
        for host in [&self.client, &self.server] {
            host.set("tcp_syn_retries", "1")?;
            host.set("tcp_orphan_retries", "2")?;
            // Before Linux 6.5 there was none: each wait was twice the one before.
            match host.set("tcp_syn_linear_timeouts", "0") {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Upstream {
    /// Listens at the server's end of a wire; its clients are at the other end.
    ///
    /// # Errors
    /// What the system says.
    pub fn across(wire: &Arc<Wire>, family: Family) -> io::Result<Upstream> {
        Upstream::listen_at(Place::Across(Arc::clone(wire)), family)
    }

    fn wire(&self) -> io::Result<Arc<Wire>> {
        match &self.place {
            Place::Across(wire) => Ok(Arc::clone(wire)),
            Place::Loopback => Err(io::Error::other("loopback is no wire")),
        }
    }

    /// Opens `count` connections, has `requests` exchanges on each, and lets both ends send their
    /// FIN before either can get the other's.
    ///
    /// # Errors
    /// What the system says, or a step that TCP did not show.
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
            // Not the acknowledgements yet: each end has the other's FIN, and none for its own.
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

    /// Opens `count` connections with one exchange on each.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&mut self, count: u64, requests: u64) -> io::Result<Vec<Connection>> {
        let open = |_| {
            let mut connection = self.connect()?;
            connection.exchange(requests)?;
            Ok(connection)
        };
        (0..count).map(open).collect()
    }
}

/// Ends that will find their peer gone, and connects that will find nobody; on one wire.
#[derive(Debug)]
pub struct Lost {
    wire: Arc<Wire>,
    silent: Vec<(Silence, Connection)>,
    connecting: Vec<Socket>,
    /// Of those that close, to wait until the kernel has no socket of theirs.
    ports: Vec<u16>,
}

impl Lost {
    /// Of nobody yet.
    #[must_use]
    pub fn on(wire: &Arc<Wire>) -> Lost {
        let wire = Arc::clone(wire);
        Lost { wire, silent: Vec::new(), connecting: Vec::new(), ports: Vec::new() }
    }

    /// Opens `count` connections to `upstream` with one exchange on each, which will end by
    /// `silence`.
    ///
    /// # Errors
    /// What the system says.
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

    /// Cuts the wire, has each end act into it, and `connects` times somebody connect to each of
    /// the upstreams; returns, with the wire mended, when the kernel has given all of them up.
    ///
    /// # Errors
    /// What the system says, or an end that was not given up.
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
    let socket = upstream.place.at_client(|| client_socket(upstream.family, turn))?;
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

/// The kernel's timers take seconds: asks now and then.
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
