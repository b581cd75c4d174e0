//! Dumps: one pass over the kernel's table of TCP sockets, IPv4 and IPv6 together. Lookups: single
//! sockets without a pass.
//!
//! Owns the requests and the loop over their replies. Keeps nothing between dumps and judges
//! nothing.
//!
//! Unprivileged. A dump costs the walk over the kernel's whole hash table, with any filter: a
//! filter saves only the copying of rows (`inet_diag_dump_icsk`, net/ipv4/inet_diag.c). A dump is
//! not atomic: sockets are created and die during the walk.

use crate::error::{Error, Operation};
use crate::kernel::socket::{Socket, States};
use crate::kernel::sys::{Datagrams, Netlink};
use crate::kernel::wire::diag::{
    Query, SocketLookup, decode_socket, encode_lookup, encode_query, is_socket,
};
use crate::kernel::wire::dump_filter::AddressFilter;
use crate::kernel::wire::netlink::{Message, Messages, sequence};

/// Size of the receive buffer. The kernel fills the reader's buffer, up to 32 KiB per datagram
/// (`netlink_recvmsg`, net/netlink/af_netlink.c).
const BUFFER_LEN: usize = 32 << 10;
/// Lookups sent in one message. Their replies wait in the receive buffer, about two kilobytes each;
/// the smallest default buffer has 208 kilobytes.
const LOOKUPS_AT_ONCE: usize = 64;
const ENOENT: i32 = 2;

/// Selection of the sockets to dump. Conditions are joined by *and*; the default selects all.
///
/// ```
/// use keepwarm_sockets::{Filter, State};
/// let filter = Filter::of_states(State::TimeWait).with_either_port(8081);
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only sockets in one of these states. Without LISTEN the kernel skips its second table.
    pub states: States,
    /// Only sockets with this local port. 0 means any port.
    pub local_port: Option<u16>,
    /// Only sockets with this remote port. 0 means any port.
    pub remote_port: Option<u16>,
    /// Only sockets with this port as local or remote port. Needs Linux 4.16.
    pub either_port: Option<u16>,
    /// Also fetches `tcp_info` of every row, at about three times the cost of a row.
    pub with_info: bool,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter {
            states: States::ALL,
            local_port: None,
            remote_port: None,
            either_port: None,
            with_info: false,
        }
    }
}

impl Filter {
    /// Selects sockets in one of these states.
    pub fn of_states(states: impl Into<States>) -> Filter {
        Filter { states: states.into(), ..Filter::default() }
    }

    /// Selects these states instead.
    #[must_use]
    pub fn with_states(self, states: impl Into<States>) -> Filter {
        Filter { states: states.into(), ..self }
    }

    /// Narrows the selection to a port, local or remote; `None` widens it to all. Needs Linux 4.16.
    #[must_use]
    pub fn with_either_port(self, port: impl Into<Option<u16>>) -> Filter {
        Filter { either_port: port.into(), ..self }
    }

    /// Narrows the selection to a local port; `None` widens it to all.
    #[must_use]
    pub fn with_local_port(self, port: impl Into<Option<u16>>) -> Filter {
        Filter { local_port: port.into(), ..self }
    }

    /// Narrows the selection to a remote port; `None` widens it to all.
    #[must_use]
    pub fn with_remote_port(self, port: impl Into<Option<u16>>) -> Filter {
        Filter { remote_port: port.into(), ..self }
    }

    /// Also fetches `tcp_info` of every row.
    #[must_use]
    pub fn with_info(self) -> Filter {
        Filter { with_info: true, ..self }
    }
}

/// Returns the sockets of this network namespace that pass `filter`, in the kernel's order.
///
/// # Errors
/// When a sandbox denies it, the system does not support it, or no file descriptor is left: see the
/// predicates of [`Error`].
pub fn dump(filter: &Filter) -> Result<Vec<Socket>, Error> {
    let mut sockets = Vec::new();
    Dumper::open()?.each(filter, |socket| sockets.push(socket.clone()))?;
    Ok(sockets)
}

/// A netlink socket that stays open between dumps.
#[derive(Debug)]
pub(crate) struct Dumper {
    netlink: Netlink,
    buffer: Vec<u8>,
    request: Vec<u8>,
}

impl Dumper {
    pub(crate) fn open() -> Result<Dumper, Error> {
        let (buffer, request) = (vec![0; BUFFER_LEN], Vec::new());
        Ok(Dumper { netlink: Netlink::open()?, buffer, request })
    }

    /// Looks up single sockets, many per system call, without a walk over the table. Hands each
    /// socket found to `visit`; for a pair of addresses without a connection that may be a
    /// listener. After an error the dumper must not be used again.
    pub(crate) fn look_up(
        &mut self,
        lookups: &[SocketLookup],
        mut visit: impl FnMut(&Socket),
    ) -> Result<(), Error> {
        // Sixteen replies find room in it. Memory of their own would be taken, cleared and given back each time.
        let mut replies = Datagrams::within(std::mem::take(&mut self.buffer));
        for some in lookups.chunks(LOOKUPS_AT_ONCE) {
            self.request.clear();
            for (lookup, number) in some.iter().zip(0..) {
                encode_lookup(lookup, number, &mut self.request);
            }
            self.netlink.send(&self.request)?;
            let mut number = 0;
            while number < some.len() {
                let received = self.netlink.receive_many(&mut replies, true);
                received.map_err(|errno| Error::os(Operation::Dump, errno))?;
                for reply in replies.iter() {
                    if sequence(reply) != u32::try_from(number).ok() {
                        return Err(malformed(&"a reply to another lookup"));
                    }
                    number += 1;
                    match decode_rows(reply, &mut visit) {
                        Err(error) if error.raw_os_error() == Some(ENOENT) => {}
                        done => drop(done?),
                    }
                }
            }
        }
        self.buffer = replies.into_memory();
        Ok(())
    }

    /// Dumps, and hands every row to `visit`. After an error the dumper must not be used again:
    /// rows of the failed dump may still arrive.
    pub(crate) fn each(
        &mut self,
        filter: &Filter,
        mut visit: impl FnMut(&Socket),
    ) -> Result<(), Error> {
        self.send_query(&filter.query(None))?;
        while !decode_rows(self.receive()?, &mut visit)? {}
        Ok(())
    }

    /// Counts the rows that pass `filter` and `address`, which replaces the filter's `either_port`.
    /// The kernel sends no other rows, and none is decoded.
    pub(crate) fn count(
        &mut self,
        filter: &Filter,
        address: Option<AddressFilter>,
    ) -> Result<u64, Error> {
        self.send_query(&filter.query(address))?;
        let mut found = 0;
        while !walk_rows(self.receive()?, |_| {
            found += 1;
            Ok(())
        })? {}
        Ok(found)
    }

    fn send_query(&mut self, query: &Query) -> Result<(), Error> {
        self.netlink.send(&encode_query(query))
    }

    fn receive(&mut self) -> Result<&[u8], Error> {
        let received = self.netlink.receive(&mut self.buffer);
        let length = received.map_err(|errno| Error::os(Operation::Dump, errno))?;
        Ok(&self.buffer[..length])
    }
}

impl Filter {
    fn query(&self, address: Option<AddressFilter>) -> Query {
        Query {
            states: self.states,
            local_port: self.local_port,
            remote_port: self.remote_port,
            either_port: self.either_port,
            address,
            with_info: self.with_info,
        }
    }
}

/// Decodes one datagram of a dump and hands its rows to `visit`. Returns true at the dump's end.
pub(crate) fn decode_rows(datagram: &[u8], visit: &mut impl FnMut(&Socket)) -> Result<bool, Error> {
    walk_rows(datagram, |body| {
        // A match on the place: `?` would copy each row's 300 bytes.
        match decode_socket(body) {
            Ok(row) => visit(&row),
            Err(error) => return Err(malformed(&error)),
        }
        Ok(())
    })
}

/// Hands the undecoded rows of one datagram to `visit`. Returns true at the dump's end.
fn walk_rows(
    datagram: &[u8],
    mut visit: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<bool, Error> {
    if datagram.is_empty() {
        return Err(malformed(&"an empty datagram"));
    }
    for message in Messages::of(datagram) {
        match message.map_err(|error| malformed(&error))? {
            Message::Data { kind, body } if is_socket(kind) => {
                visit(body)?;
            }
            Message::Data { .. } | Message::Noop | Message::Error { errno: 0 } => {}
            Message::Done => return Ok(true),
            Message::Error { errno } => return Err(Error::os(Operation::Dump, errno)),
        }
    }
    Ok(false)
}

fn malformed(what: &dyn std::fmt::Display) -> Error {
    Error::malformed(Operation::Dump, what.to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    // A test helper fails by a panic, as a test does.
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::kernel::socket::State;

    /// Looks up each pair; a pair without a socket gives nothing.
    fn look_up(lookups: &[SocketLookup]) -> Vec<Socket> {
        let mut found = Vec::new();
        Dumper::open().unwrap().look_up(lookups, |row| found.push(row.clone())).unwrap();
        found
    }

    fn pair_of(stream: &TcpStream) -> SocketLookup {
        let canonical = |address: std::net::SocketAddr| {
            std::net::SocketAddr::new(address.ip().to_canonical(), address.port())
        };
        let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        SocketLookup {
            local: canonical(local),
            remote: canonical(remote),
            interface: 0,
            with_info: false,
        }
    }

    #[test]
    fn a_lookup_finds_what_a_segment_meets() {
        for (listens, connects) in
            [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("[::]", "127.0.0.1")]
        {
            let listener = TcpListener::bind(format!("{listens}:0")).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("{connects}:{port}")).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (ours, theirs) = (pair_of(&client), pair_of(&server));
            for (wanted, row) in [ours, theirs].iter().zip(look_up(&[ours, theirs])) {
                let seen = (row.state, row.local, row.remote);
                assert_eq!(seen, (State::Established, wanted.local, wanted.remote));
            }
            drop(client);
            drop(server);
            let states =
                || -> Vec<State> { look_up(&[ours, theirs]).iter().map(|row| row.state).collect() };
            // The kernel removes the socket that closed second a moment after the first.
            let begun = std::time::Instant::now();
            while states() != [State::TimeWait, State::Listen] {
                assert!(begun.elapsed().as_secs() < 60, "{:?} on {listens}", states());
            }
            let waiting = &look_up(&[ours])[0];
            assert!(waiting.is_minisocket() && waiting.local == ours.local, "{waiting:?}");
            drop(listener);
            assert!(look_up(&[theirs]).is_empty());
        }
    }

    #[test]
    fn lookups_beyond_one_message_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let streams: Vec<TcpStream> = (0..2 * LOOKUPS_AT_ONCE + 1)
            .map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .collect();
        let lookups: Vec<SocketLookup> = streams.iter().map(pair_of).collect();
        let found = look_up(&lookups);
        assert!(found.iter().map(|row| row.local).eq(lookups.iter().map(|lookup| lookup.local)));
    }
}
