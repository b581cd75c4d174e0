//! Destroy events: the kernel's word on every TCP socket that dies, with its last numbers.
//!
//! Owns the subscription and the count of what was lost. Judges nothing: see `classify`.
//!
//! Linux sends one message for each *full* socket at its death (`__sk_free`, net/core/sock.c;
//! `sock_diag_broadcast_destroy_work`, net/core/sock_diag.c), since 4.2, to anyone who asks, for
//! all TCP sockets of the network namespace. The side that closes first dies when it enters
//! TIME_WAIT, the other when its FIN is acknowledged; the end of TIME_WAIT makes no event. A socket
//! whose file is still open does not die, whatever its TCP state.

use std::fs;
use std::time::Duration;

use crate::error::{Error, Operation};
use crate::kernel::socket::Socket;
use crate::kernel::sys::{Netlink, Ready, Waker};
use crate::kernel::wire::diag::{decode_socket, is_socket, ports};
use crate::kernel::wire::netlink::{Message, Messages};

/// `SKNLGRP_INET_TCP_DESTROY` is group 1, `SKNLGRP_INET6_TCP_DESTROY` group 3
/// (include/uapi/linux/sock_diag.h); v4-mapped sockets come in the latter.
const GROUPS: u32 = 1 << 0 | 1 << 2;

const EAGAIN: i32 = 11;
const ENOBUFS: i32 = 105;

/// An event is 380 bytes on Linux 6.18 and grows with `tcp_info`.
const BUFFER_LEN: usize = 8 << 10;

/// Read no more than this between two looks at the world.
const BATCH: usize = 1 << 10;

/// An event may wait for others for this long: to wake up for each would cost more than to read it.
pub(crate) const MOST_DELAY: Duration = Duration::from_millis(20);
/// What an event takes of the receive buffer, the kernel's own needs included.
const EVENT_COST: usize = 1280;
/// Events a second of which half a buffer has to hold what comes during the delay.
const FASTEST: usize = 100_000;

/// A subscription to the deaths of one port's sockets, or of all.
#[derive(Debug)]
pub(crate) struct Destroyed {
    netlink: Netlink,
    /// `None`: every port.
    port: Option<u16>,
    port_id: u32,
    buffer: Vec<u8>,
    /// From the first event to the reading of it and what has come since.
    delay: Duration,
    /// Nothing was left after the last reading.
    drained: bool,
    overruns: u64,
}

impl Destroyed {
    pub(crate) fn subscribe(port: Option<u16>) -> Result<Destroyed, Error> {
        let netlink = Netlink::subscribe(GROUPS, port)?;
        let port_id = netlink.port_id()?;
        let delay = delay(netlink.receive_buffer());
        let (buffer, drained, overruns) = (vec![0; BUFFER_LEN], true, 0);
        Ok(Destroyed { netlink, port, port_id, buffer, delay, drained, overruns })
    }

    /// Sleeps until there are events, lets some more gather, then appends a batch of those that may
    /// concern the port. False: woken, no more reading.
    pub(crate) fn read(&mut self, waker: &Waker, into: &mut Vec<Socket>) -> Result<bool, Error> {
        if self.netlink.wait(waker)? == Ready::Woken {
            return Ok(false);
        }
        if std::mem::take(&mut self.drained) {
            std::thread::sleep(self.delay);
        }
        for _ in 0..BATCH {
            match self.netlink.receive_now(&mut self.buffer) {
                Ok(length) => self.keep(length, into)?,
                Err(EAGAIN) => {
                    self.drained = true;
                    break;
                }
                // Messages were dropped because this socket's buffer was full. What is still in
                // it is good.
                Err(ENOBUFS) => self.overruns += 1,
                Err(errno) => return Err(Error::os(Operation::ReadEvents, errno)),
            }
        }
        Ok(true)
    }

    /// How often the kernel said that it dropped events.
    pub(crate) fn overruns(&self) -> u64 {
        self.overruns
    }

    /// How many events, of any port, the kernel could not deliver: its own count for this socket
    /// in /proc/net/netlink, or at least one for each time it complained.
    pub(crate) fn lost(&self) -> u64 {
        let dropped = fs::read_to_string("/proc/thread-self/net/netlink")
            .ok()
            .and_then(|table| dropped(&table, self.port_id))
            .unwrap_or(0);
        dropped.max(self.overruns)
    }

    fn keep(&self, length: usize, into: &mut Vec<Socket>) -> Result<(), Error> {
        let malformed = |error: &dyn std::fmt::Display| {
            Error::malformed(Operation::ReadEvents, error.to_string())
        };
        let datagram = self
            .buffer
            .get(..length)
            .ok_or_else(|| malformed(&format!("an event of {length} bytes")))?;
        for message in Messages::of(datagram) {
            let Message::Data { kind, body } = message.map_err(|error| malformed(&error))? else {
                continue;
            };
            if is_socket(kind) && self.port.is_none_or(|port| concerns(port, body)) {
                into.push(decode_socket(body).map_err(|error| malformed(&error))?);
            }
        }
        Ok(())
    }
}

/// How long events may gather in a buffer of this size.
fn delay(buffer: usize) -> Duration {
    let half = u64::try_from(buffer / 2 / EVENT_COST).unwrap_or(0);
    Duration::from_micros(half * 1_000_000 / FASTEST as u64).min(MOST_DELAY)
}

/// Whether an event may be about `port`. A socket that was aborted by tcp_disconnect() has lost
/// its remote port, and a fence has no port at all, so these pass too.
fn concerns(port: u16, body: &[u8]) -> bool {
    ports(body).is_some_and(|(local, remote)| local == port || remote == port || remote == 0)
}

/// The column Drops of the NETLINK_SOCK_DIAG socket with this port id in /proc/net/netlink
/// (`netlink_native_seq_show`, net/netlink/af_netlink.c).
fn dropped(table: &str, port_id: u32) -> Option<u64> {
    const SOCK_DIAG: &str = "4";
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next()?.split_whitespace().collect();
    let column = |name: &str| header.iter().position(|title| *title == name);
    let (protocol, id, drops) = (column("Eth")?, column("Pid")?, column("Drops")?);
    lines.find_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let ours = *cells.get(protocol)? == SOCK_DIAG && *cells.get(id)? == port_id.to_string();
        if ours { cells.get(drops)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    const TABLE: &str = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000b657c126 0   4711       00000000 0        0        0     2        5        4
00000000e80c9c55 4   0          00000000 0        0        0     2        6        496
00000000e80c9c55 4   4711       00000005 1280     0        0     2        1207     4969
";

    #[test]
    fn a_small_buffer_is_read_sooner() {
        assert_eq!(delay(0), Duration::ZERO);
        assert_eq!(delay(2 * 212_992), Duration::from_micros(1660));
        assert_eq!(delay(32 << 20), MOST_DELAY);
    }

    #[test]
    fn drops_are_those_of_our_protocol_and_port_id() {
        assert_eq!(dropped(TABLE, 4711), Some(1207));
        assert_eq!(dropped(TABLE, 0), Some(6));
        assert_eq!(dropped(TABLE, 471), None);
        assert_eq!(dropped("", 0), None);
    }

    #[test]
    fn a_hostile_table_gives_a_number_that_stands_in_it_or_none() {
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let table = mutate::text(&mut dice, TABLE);
            if let Some(drops) = dropped(&table, 4711) {
                assert!(table.contains(&drops.to_string()), "{drops} of {table}");
            }
        }
    }
}
