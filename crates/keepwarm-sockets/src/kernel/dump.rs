//! Dumps: one pass over the kernel's table of TCP sockets, IPv4 and IPv6 together.
//!
//! Owns the request and the loop over its replies. Keeps nothing between dumps and judges nothing.
//!
//! Unprivileged. The cost is the walk over the kernel's whole hash table, whatever the filter: a
//! filter saves only the copying of rows (`inet_diag_dump_icsk`, net/ipv4/inet_diag.c). A dump is
//! not atomic: sockets are born and die while it walks.

use crate::error::{Error, Operation};
use crate::kernel::socket::{Socket, States};
use crate::kernel::sys::Netlink;
use crate::kernel::wire::condition::Condition;
use crate::kernel::wire::diag::{
    Exact, Query, decode_socket, encode_exact, encode_query, is_socket,
};
use crate::kernel::wire::netlink::{Message, Messages, sequence};

/// The kernel fills what the reader offers, up to 32 KiB a datagram and no more (`netlink_recvmsg`,
/// net/netlink/af_netlink.c).
const BUFFER_LEN: usize = 32 << 10;
/// Single sockets asked for in one message. The answers wait in the receive buffer, about two
/// kilobytes each, of which the smallest default has 208.
const ASKED_AT_ONCE: usize = 64;
const ENOENT: i32 = 2;

/// Which sockets to dump. Conditions are joined by *and*; the default is all of them.
///
/// ```
/// use keepwarm_sockets::{Filter, State};
/// let filter = Filter { states: State::TimeWait.into(), either_port: Some(8081), ..Filter::default() };
/// # let _ = filter;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Only sockets in one of these states. Without LISTEN the kernel skips its second table.
    pub states: States,
    /// Only sockets with this local port. 0 is no condition.
    pub local_port: Option<u16>,
    /// Only sockets with this remote port. 0 is no condition.
    pub remote_port: Option<u16>,
    /// Only sockets with this port at either end. Needs Linux 4.16.
    pub either_port: Option<u16>,
    /// Also fetch `tcp_info` of every row, at about three times the cost of a row.
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

/// The sockets of this network namespace that pass `filter`, in the kernel's order.
///
/// # Errors
/// Denied by a sandbox, unsupported by the system, or no file descriptor to be had: see the
/// predicates of [`Error`].
pub fn dump(filter: &Filter) -> Result<Vec<Socket>, Error> {
    let mut sockets = Vec::new();
    Dumper::open()?.each(filter, |socket| sockets.push(socket))?;
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

    /// Asks for single sockets: many in one system call, and no walk over the table. Each answer
    /// goes to `visit`: what is there on the pair of addresses, which may be a listener. After an
    /// error the dumper must not be used again.
    pub(crate) fn ask(
        &mut self,
        questions: &[Exact],
        mut visit: impl FnMut(Socket),
    ) -> Result<(), Error> {
        for some in questions.chunks(ASKED_AT_ONCE) {
            self.request.clear();
            for (ask, number) in some.iter().zip(0..) {
                encode_exact(ask, number, &mut self.request);
            }
            self.netlink.send(&self.request)?;
            for number in 0..some.len() {
                let answer = self.receive()?;
                if sequence(answer) != u32::try_from(number).ok() {
                    return Err(malformed(&"an answer to another question"));
                }
                match fold(answer, &mut visit) {
                    Err(error) if error.raw_os_error() == Some(ENOENT) => {}
                    done => drop(done?),
                }
            }
        }
        Ok(())
    }

    /// Hands every row to `visit`. After an error the dumper must not be used again: rows of the
    /// failed dump may still be under way.
    pub(crate) fn each(
        &mut self,
        filter: &Filter,
        mut visit: impl FnMut(Socket),
    ) -> Result<(), Error> {
        self.ask_all(&filter.query(None))?;
        while !fold(self.receive()?, &mut visit)? {}
        Ok(())
    }

    /// How many rows there are, of those that also fulfil `condition` instead of the filter's own
    /// on either port. Nothing but these crosses the border, and none is decoded.
    pub(crate) fn count(
        &mut self,
        filter: &Filter,
        condition: Option<Condition>,
    ) -> Result<u64, Error> {
        self.ask_all(&filter.query(condition))?;
        let mut found = 0;
        while !walk(self.receive()?, |_| {
            found += 1;
            Ok(())
        })? {}
        Ok(found)
    }

    fn ask_all(&mut self, query: &Query) -> Result<(), Error> {
        self.netlink.send(&encode_query(query))
    }

    fn receive(&mut self) -> Result<&[u8], Error> {
        let received = self.netlink.receive(&mut self.buffer);
        let length = received.map_err(|errno| Error::os(Operation::Dump, errno))?;
        Ok(&self.buffer[..length])
    }
}

impl Filter {
    fn query(&self, condition: Option<Condition>) -> Query {
        Query {
            states: self.states,
            local_port: self.local_port,
            remote_port: self.remote_port,
            either_port: self.either_port,
            condition,
            with_info: self.with_info,
        }
    }
}

/// Reads one datagram of a dump. True at the dump's end.
pub(crate) fn fold(datagram: &[u8], visit: &mut impl FnMut(Socket)) -> Result<bool, Error> {
    walk(datagram, |body| {
        visit(decode_socket(body).map_err(|error| malformed(&error))?);
        Ok(())
    })
}

/// The same, with rows as they came.
fn walk(datagram: &[u8], mut visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<bool, Error> {
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
    // A helper of a test is a test: a panic is its answer.
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::kernel::socket::State;

    /// What stands on these pairs, as far as anything does.
    fn ask(questions: &[Exact]) -> Vec<Socket> {
        let mut found = Vec::new();
        Dumper::open().unwrap().ask(questions, |row| found.push(row)).unwrap();
        found
    }

    fn pair_of(end: &TcpStream) -> Exact {
        let canonical = |address: std::net::SocketAddr| {
            std::net::SocketAddr::new(address.ip().to_canonical(), address.port())
        };
        let (local, remote) = (end.local_addr().unwrap(), end.peer_addr().unwrap());
        Exact { local: canonical(local), remote: canonical(remote), interface: 0 }
    }

    #[test]
    fn a_connection_a_time_wait_a_listener_and_nothing_are_told_apart() {
        for (listens, connects) in
            [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("[::]", "127.0.0.1")]
        {
            let listener = TcpListener::bind(format!("{listens}:0")).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("{connects}:{port}")).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (ours, theirs) = (pair_of(&client), pair_of(&server));
            for (question, row) in [ours, theirs].iter().zip(ask(&[ours, theirs])) {
                let seen = (row.state, row.local, row.remote);
                assert_eq!(seen, (State::Established, question.local, question.remote));
            }
            drop(client);
            drop(server);
            let states =
                || -> Vec<State> { ask(&[ours, theirs]).iter().map(|row| row.state).collect() };
            // The kernel takes the end that closed second a moment after the first.
            let begun = std::time::Instant::now();
            while states() != [State::TimeWait, State::Listen] {
                assert!(begun.elapsed().as_secs() < 60, "{:?} on {listens}", states());
            }
            let waiting = &ask(&[ours])[0];
            assert!(waiting.is_minisocket() && waiting.local == ours.local, "{waiting:?}");
            drop(listener);
            assert!(ask(&[theirs]).is_empty());
        }
    }

    #[test]
    fn more_questions_than_go_into_one_message_are_all_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ends: Vec<TcpStream> = (0..2 * ASKED_AT_ONCE + 1)
            .map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .collect();
        let questions: Vec<Exact> = ends.iter().map(pair_of).collect();
        let found = ask(&questions);
        assert!(found.iter().map(|row| row.local).eq(questions.iter().map(|ask| ask.local)));
    }
}
