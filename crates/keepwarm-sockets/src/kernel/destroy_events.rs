//! Destroy events: one kernel message for every TCP socket that dies, with its last numbers.
//!
//! Owns the subscription and the count of lost events. Judges nothing: see `classify`.
//!
//! Linux sends one message for each *full* socket at its death (`__sk_free`, net/core/sock.c;
//! `sock_diag_broadcast_destroy_work`, net/core/sock_diag.c), since 4.2, to every subscriber
//! without any privilege, for all TCP sockets of the network namespace. The socket that closes
//! first dies when it enters TIME_WAIT, the other when its FIN is acknowledged; the end of
//! TIME_WAIT makes no event. A socket whose file is still open does not die, in any TCP state.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::proc::net;
use crate::kernel::socket::Socket;
use crate::kernel::sys::{Datagrams, Netlink};
use crate::kernel::wire::diag::{decode_socket, is_socket, ports};
use crate::kernel::wire::netlink::{Message, Messages};

/// Multicast groups 1, `SKNLGRP_INET_TCP_DESTROY`, and 3, `SKNLGRP_INET6_TCP_DESTROY`
/// (include/uapi/linux/sock_diag.h). IPv4-mapped sockets are reported in group 3.
const GROUPS: u32 = 1 << 0 | 1 << 2;

const EAGAIN: i32 = 11;
const ENOBUFS: i32 = 105;

/// Events that one call reads.
const AT_ONCE: usize = 1 << 5;
/// Calls before the caller gets a turn: a thousand events.
const CALLS: usize = 1 << 5;

/// Longest time that an event waits for others: a wake-up per event would cost more than reading
/// it.
pub(crate) const MAX_DELAY: Duration = Duration::from_millis(20);
/// Longest wait of an event where one thread reads those of many namespaces, each of which has few.
pub(crate) const MAX_DELAY_OF_MANY: Duration = Duration::from_millis(100);
/// Longest wait where one of those namespaces has room for few events only: a burst may begin there while the
/// thread waits for others.
pub(crate) const MAX_DELAY_BESIDE_FEW: Duration = Duration::from_millis(50);
/// Longest time without a reading. It bounds how long ago the first event after a pause can have
/// happened: where a TIME_WAIT may be reused after a second, its absence must be proven within
/// 900 ms of the death. Costs four short system calls a second.
pub(crate) const READ_EVERY: Duration = Duration::from_millis(250);
/// Bytes that an event takes from the receive buffer, the kernel's overhead included.
const EVENT_COST: usize = 1280;
/// Events per second that the delay is sized for: those that arrive during it must fit into half of
/// the receive buffer.
const PEAK_RATE: usize = 100_000;

/// Subscription to the destroy events of one port, or of all ports.
#[derive(Debug)]
pub(crate) struct DestroyEvents {
    netlink: Netlink,
    /// `None` means every port.
    port: Option<u16>,
    port_id: u32,
    /// /proc/net/netlink of the namespace of this subscription, which a thread elsewhere may read.
    table: Option<File>,
    /// Longest time between the first event and reading it, by the size of the receive buffer.
    delay: Duration,
    /// True if the last read left no event behind.
    drained: bool,
    /// The beginning of the last reading that found no event.
    empty_at: Instant,
    /// The value of `empty_at` before the last batch was read.
    batch_since: Instant,
    overruns: u64,
}

impl DestroyEvents {
    pub(crate) fn subscribe(port: Option<u16>) -> Result<DestroyEvents, Error> {
        let netlink = Netlink::subscribe(GROUPS, port)?;
        let port_id = netlink.port_id()?;
        let delay = delay(netlink.receive_buffer());
        let now = Instant::now();
        Ok(DestroyEvents {
            netlink,
            port,
            port_id,
            table: net::open("netlink").ok(),
            delay,
            drained: true,
            empty_at: now,
            batch_since: now,
            overruns: 0,
        })
    }

    /// Returns the socket, to wait for its events.
    pub(crate) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Returns how long events may gather before they are read, not longer than `at_most`; nothing if the
    /// last reading has left some.
    pub(crate) fn delay(&self, at_most: Duration) -> Duration {
        if self.drained { self.delay.min(at_most) } else { Duration::ZERO }
    }

    /// Returns whether the receive buffer has room for what may come in this time.
    pub(crate) fn has_room_for(&self, time: Duration) -> bool {
        self.delay >= time
    }

    /// Takes that there was no event to read at `at`.
    pub(crate) fn handle_empty(&mut self, at: Instant) {
        self.empty_at = at;
    }

    /// Returns the memory that events of any subscription are read by.
    pub(crate) fn datagrams() -> Datagrams {
        Datagrams::new(AT_ONCE)
    }

    /// Appends a batch of the events that may concern the port.
    pub(crate) fn read(
        &mut self,
        datagrams: &mut Datagrams,
        into: &mut Vec<Socket>,
    ) -> Result<(), Error> {
        self.batch_since = self.empty_at;
        self.drained = false;
        for _ in 0..CALLS {
            let before = Instant::now();
            let received = self.netlink.receive_many(datagrams, false);
            if received.is_ok() {
                datagrams.iter().try_for_each(|one| self.decode(one, into))?;
            }
            match received {
                Ok(()) if datagrams.is_full() => {}
                Ok(()) | Err(EAGAIN) => {
                    (self.drained, self.empty_at) = (true, before);
                    break;
                }
                // The kernel dropped messages because this socket's buffer was full. The messages
                // still in the buffer are valid.
                Err(ENOBUFS) => self.overruns += 1,
                Err(errno) => return Err(Error::os(Operation::ReadEvents, errno)),
            }
        }
        Ok(())
    }

    /// Returns a time before every event of the last batch: then there was none to read.
    pub(crate) fn batch_since(&self) -> Instant {
        self.batch_since
    }

    /// Returns how often recv(2) reported dropped events.
    pub(crate) fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Returns the number of events, of any port, that the kernel could not deliver: its own count
    /// for this socket in /proc/net/netlink, and at least one per reported overrun.
    pub(crate) fn lost(&self) -> u64 {
        let dropped = self.table().and_then(|table| dropped(&table, self.port_id));
        dropped.unwrap_or(0).max(self.overruns)
    }

    fn table(&self) -> Option<String> {
        let (mut file, mut text) = (self.table.as_ref()?, String::new());
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn decode(&self, datagram: &[u8], into: &mut Vec<Socket>) -> Result<(), Error> {
        let malformed = |error: &dyn std::fmt::Display| {
            Error::malformed(Operation::ReadEvents, error.to_string())
        };
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

/// Returns how long events may gather in a receive buffer of this size.
fn delay(buffer: usize) -> Duration {
    let half = u64::try_from(buffer / 2 / EVENT_COST).unwrap_or(0);
    Duration::from_micros(half * 1_000_000 / PEAK_RATE as u64)
}

/// Returns true if an event may concern `port`. A socket that was aborted by tcp_disconnect() has
/// lost its remote port, and a fence has no port at all, so events without a remote port pass.
fn concerns(port: u16, body: &[u8]) -> bool {
    ports(body).is_some_and(|(local, remote)| local == port || remote == port || remote == 0)
}

/// Reads the column Drops of the NETLINK_SOCK_DIAG socket with this port id from /proc/net/netlink
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
    fn a_small_buffer_shortens_the_delay() {
        assert_eq!(delay(0), Duration::ZERO);
        assert_eq!(delay(2 * 212_992), Duration::from_micros(1660));
        assert!(delay(32 << 20) > MAX_DELAY_OF_MANY);
    }

    #[test]
    fn drops_belong_to_our_netlink_socket() {
        assert_eq!(dropped(TABLE, 4711), Some(1207));
        assert_eq!(dropped(TABLE, 0), Some(6));
        assert_eq!(dropped(TABLE, 471), None);
        assert_eq!(dropped("", 0), None);
    }

    #[test]
    fn a_hostile_table_invents_no_drops() {
        let mut dice = Dice::new(1);
        for _ in 0..20_000 {
            let table = mutate::text(&mut dice, TABLE);
            if let Some(drops) = dropped(&table, 4711) {
                assert!(table.contains(&drops.to_string()), "{drops} of {table}");
            }
        }
    }
}
