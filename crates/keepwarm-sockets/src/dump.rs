//! Dumps: one pass over the kernel's table of TCP sockets, IPv4 and IPv6 together.
//!
//! Owns the request and the loop over its replies. Keeps nothing between dumps and judges nothing.
//!
//! Unprivileged. The cost is the walk over the kernel's whole hash table, whatever the filter: a
//! filter saves only the copying of rows (`inet_diag_dump_icsk`, net/ipv4/inet_diag.c). A dump is
//! not atomic: sockets are born and die while it walks.

use crate::error::{Error, Operation};
use crate::socket::{Socket, States};
use crate::sys::Netlink;
use crate::wire::condition::Condition;
use crate::wire::diag::{Query, decode_socket, encode_query, is_socket};
use crate::wire::netlink::{Message, Messages};

/// The kernel fills what the reader offers, up to 32 KiB a datagram and no more (`netlink_recvmsg`,
/// net/netlink/af_netlink.c).
const BUFFER_LEN: usize = 32 << 10;

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
}

impl Dumper {
    pub(crate) fn open() -> Result<Dumper, Error> {
        Ok(Dumper { netlink: Netlink::open(0)?, buffer: vec![0; BUFFER_LEN] })
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
