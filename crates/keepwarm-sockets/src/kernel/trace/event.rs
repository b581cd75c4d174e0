//! Decoder of trace records: the three events of TCP sockets.
//!
//! Owns the meaning of their fields. Pure; `event_format` knows the offsets of the fields. Relates
//! no two events: see `traced_sockets`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::event_format::{Field, Format, symbols};
use crate::kernel::socket::State;

/// Bits of `common_flags` under which the running task has nothing to do with the event: hard and
/// soft interrupt, NMI, and soft interrupts switched off (include/linux/trace_events.h). The last is a
/// program that writes packets into a TUN device: the kernel receives them in its thread.
const INTERRUPTED: u64 = 0x08 | 0x10 | 0x40 | 0x80;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Traced event of a socket. Addresses are local and remote as this socket sees them, IPv4-mapped
/// ones as IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// `sock:inet_sock_set_state`.
    State(Change),
    /// `tcp:tcp_send_reset`, by a socket, or by the kernel for a connection without a socket.
    SentReset { local: SocketAddr, remote: SocketAddr, reason: Arc<str> },
    /// `tcp:tcp_receive_reset`, before the state changes.
    ReceivedReset { socket: u64 },
}

/// Change of a socket from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The kernel's address of the socket, which identifies it until it is closed.
    pub(crate) socket: u64,
    pub(crate) from: State,
    pub(crate) to: State,
    /// Port 0 if connect(2) has not chosen a port yet.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The thread that caused the change. `None` in an interrupt, which runs in an unrelated
    /// thread.
    pub(crate) task: Option<u32>,
}

/// Layouts of this kernel's records.
#[derive(Debug, Clone)]
pub(crate) struct Layouts {
    common_type: Field,
    common_flags: Field,
    common_pid: Field,
    state: StateLayout,
    /// `None` on older kernels, whose event has no reason or does not exist.
    sent: Option<SentLayout>,
    received: Option<(u64, Field)>,
}

#[derive(Debug, Clone)]
struct StateLayout {
    id: u64,
    socket: Field,
    from: Field,
    to: Field,
    protocol: Field,
    local_port: Field,
    remote_port: Field,
    local: Field,
    remote: Field,
}

#[derive(Debug, Clone)]
struct SentLayout {
    id: u64,
    local: Field,
    remote: Field,
    reason: Field,
    reasons: BTreeMap<u64, Arc<str>>,
}

impl Layouts {
    /// Reads the `format` texts of `inet_sock_set_state`, `tcp_send_reset` and `tcp_receive_reset`.
    /// The first is required.
    pub(crate) fn parse(state: &str, sent: &str, received: &str) -> Option<Layouts> {
        let format = Format::parse(state);
        let field = |name| format.field(name);
        let layout = StateLayout {
            id: format.id,
            socket: field("skaddr")?,
            from: field("oldstate")?,
            to: field("newstate")?,
            protocol: field("protocol")?,
            local_port: field("sport")?,
            remote_port: field("dport")?,
            local: field("saddr_v6").filter(|field| field.size == 16)?,
            remote: field("daddr_v6").filter(|field| field.size == 16)?,
        };
        let received = Format::parse(received);
        Some(Layouts {
            common_type: field("common_type")?,
            common_flags: field("common_flags")?,
            common_pid: field("common_pid")?,
            state: layout,
            sent: SentLayout::parse(sent),
            received: received.field("skaddr").map(|socket| (received.id, socket)),
        })
    }

    /// Decodes a record; `None` for another event, another protocol, or a record cut short.
    pub(crate) fn decode(&self, record: &[u8]) -> Option<Event> {
        let kind = self.common_type.number(record)?;
        if kind == self.state.id {
            return self.decode_state(record).map(Event::State);
        }
        if let Some((_, socket)) = self.received.filter(|(id, _)| *id == kind) {
            return Some(Event::ReceivedReset { socket: socket.number(record)? });
        }
        self.sent.as_ref().filter(|sent| sent.id == kind)?.decode(record)
    }

    fn decode_state(&self, record: &[u8]) -> Option<Change> {
        const TCP: u64 = 6;
        let layout = &self.state;
        if layout.protocol.number(record)? != TCP {
            return None;
        }
        let state = |field: &Field| State::from_kernel(u8::try_from(field.number(record)?).ok()?);
        let address = |ip: &Field, port: &Field| {
            // For an IPv4 socket the field holds the IPv4-mapped address.
            let ip: [u8; 16] = ip.bytes(record)?.try_into().ok()?;
            let port = u16::try_from(port.number(record)?).ok()?;
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)).to_canonical(), port))
        };
        let flags = self.common_flags.number(record)?;
        let task = u32::try_from(self.common_pid.number(record)?).ok()?;
        Some(Change {
            socket: layout.socket.number(record)?,
            from: state(&layout.from)?,
            to: state(&layout.to)?,
            local: address(&layout.local, &layout.local_port)?,
            remote: address(&layout.remote, &layout.remote_port)?,
            task: (flags & INTERRUPTED == 0 && task != 0).then_some(task),
        })
    }
}

impl SentLayout {
    fn parse(text: &str) -> Option<SentLayout> {
        let format = Format::parse(text);
        Some(SentLayout {
            id: format.id,
            local: format.field("saddr")?,
            remote: format.field("daddr")?,
            reason: format.field("reason")?,
            reasons: symbols(text, "reason")
                .into_iter()
                .map(|(n, name)| (n, name.into()))
                .collect(),
        })
    }

    fn decode(&self, record: &[u8]) -> Option<Event> {
        let reason = self.reason.number(record)?;
        let name = self.reasons.get(&reason);
        Some(Event::SentReset {
            local: socket_address(self.local.bytes(record)?)?,
            remote: socket_address(self.remote.bytes(record)?)?,
            reason: name.cloned().unwrap_or_else(|| format!("reason {reason}").into()),
        })
    }
}

/// Decodes a `struct sockaddr_in` or `sockaddr_in6`.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let ip = match family {
        AF_INET => IpAddr::from(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?)),
        AF_INET6 => IpAddr::from(Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    // A test helper fails by a panic, as a test does.
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::kernel::trace::ring_page::PageLayout;
    use crate::tests::captured_trace as captured;

    fn layouts() -> Layouts {
        Layouts::parse(captured::SET_STATE, captured::SEND_RESET, captured::RECEIVE_RESET).unwrap()
    }

    fn records() -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let layout = PageLayout::parse(captured::HEADER_PAGE).unwrap();
        layout.each(captured::PAGE, |_, record| records.push(record.to_vec()));
        records
    }

    #[test]
    fn captured_records_match_the_printed_trace() {
        let layouts = layouts();
        let events: Vec<Event> =
            records().iter().map(|record| layouts.decode(record).unwrap()).collect();
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let Event::State(first) = &events[0] else { panic!("{:?}", events[0]) };
        assert_eq!((first.from, first.to), (State::Established, State::FinWait1));
        let addresses = (address("127.0.0.1:18999"), address("127.0.0.1:41962"));
        assert_eq!((first.local, first.remote), addresses);
        assert_eq!(first.task, Some(13468));
        let Event::State(accepted) = &events[8] else { panic!("{:?}", events[8]) };
        assert_eq!((accepted.to, accepted.task), (State::Established, None), "in a softirq");
        let refused = Event::SentReset {
            local: address("127.0.0.1:18998"),
            remote: address("127.0.0.1:59252"),
            reason: "NO_SOCKET".into(),
        };
        assert_eq!(events[3], refused);
        let reasons: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                Event::SentReset { reason, .. } => Some(&**reason),
                _ => None,
            })
            .collect();
        assert_eq!(
            reasons,
            ["NO_SOCKET", "TCP_ABORT_ON_CLOSE", "TCP_STATE", "TCP_TIMEWAIT_SOCKET"]
        );
        assert!(matches!(events[4], Event::ReceivedReset { socket } if socket != 0));
    }

    #[test]
    fn no_cut_or_garbled_record_panics() {
        let layouts = layouts();
        for record in records() {
            (0..record.len()).for_each(|length| drop(layouts.decode(&record[..length])));
            for at in 0..record.len() {
                for byte in [0, 1, 10, 0x7f, 0xff] {
                    let mut garbled = record.clone();
                    garbled[at] = byte;
                    drop(layouts.decode(&garbled));
                }
            }
        }
        assert_eq!(layouts.decode(&[]), None);
    }

    #[test]
    fn fields_follow_the_format_text() {
        let moved = captured::SET_STATE
            .replace("skaddr;\toffset:8;", "skaddr;\toffset:80;")
            .replace("ID: 2287", "ID: 7");
        let layouts = Layouts::parse(&moved, "", "").unwrap();
        let mut record = records().swap_remove(0);
        record[..2].copy_from_slice(&7_u16.to_le_bytes());
        record.resize(88, 0xab);
        let Some(Event::State(change)) = layouts.decode(&record) else { panic!("not decoded") };
        assert_eq!(change.socket, 0xabab_abab_abab_abab);
        assert!(Layouts::parse(&captured::SET_STATE.replace("oldstate", "x"), "", "").is_none());
    }
}
