//! Connections as `tcpdump -w` has them on one host: opened by whom, and whose FIN or RST came first
//! there.
//!
//! A FIN that has arrived need not have been processed: where this host sends its own later and does
//! not acknowledge the other, its own was first.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use keepwarm_testkit::mortal;
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::wire::DEVICE;

use crate::common::{kill, wait};
use crate::situation::Side;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A running tcpdump.
pub(crate) struct Capture {
    process: Child,
    bytes: JoinHandle<Vec<u8>>,
}

impl Capture {
    /// Returns once packets of the host's device are seen.
    pub(crate) fn start(host: &Namespace) -> Capture {
        let mut command = mortal::command("tcpdump", "KILL");
        command
            .args(["-i", DEVICE, "-nn", "-U", "-s", "100", "-B", "16384", "--immediate-mode"])
            .args(["-w", "-", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = host.inside(|| command.spawn()).expect("tcpdump starts");
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "tcpdump ended at once");
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let mut stdout = process.stdout.take().unwrap();
        let bytes = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Capture { process, bytes }
    }

    /// Returns the connections to services at `port`, on this side, that were over at a time.
    pub(crate) fn finish(mut self, port: u16, side: Side, end: SystemTime) -> Packets {
        kill(self.process.id(), "INT");
        wait(&mut self.process).expect("tcpdump ends");
        let end = end.duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let mut connections = Connections { port, ..Connections::default() };
        connections.read(&self.bytes.join().unwrap());
        connections.count(side, end)
    }
}

/// First end of a connection, by the first packet with FIN or RST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ClientFin,
    ServerFin,
    ClientRst,
    ServerRst,
}

#[derive(Debug, Default)]
struct Connection {
    answered: bool,
    /// As the client's host has it, and as the server's does: a client that resets a connection in
    /// the place of its first acknowledgement has opened it for itself alone.
    opened: [bool; 2],
    end: Option<End>,
    /// The sender of that packet (the client: 0), and the sequence number behind it.
    first: Option<(usize, u32)>,
    /// The other side's first FIN or RST, if it does not acknowledge the first.
    unaware: Option<(usize, End)>,
    /// FINs by the client, and by the server.
    fins: [bool; 2],
    reset: bool,
    /// Time of the packet that made it over, in microseconds since 1970.
    over_at: Option<u64>,
}

/// Connections to one port that were opened, as the capture's host has it. "Ended" are those with a
/// FIN or RST, "over" those with an RST or the FINs of both, by the end of the watches.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Packets {
    pub(crate) opened: u64,
    pub(crate) client_fin: u64,
    pub(crate) server_fin: u64,
    pub(crate) client_rst: u64,
    pub(crate) server_rst: u64,
    pub(crate) over: u64,
}

impl Packets {
    pub(crate) const fn ended(&self) -> u64 {
        self.client_fin + self.server_fin + self.client_rst + self.server_rst
    }
}

type Socket = (IpAddr, u16);

#[derive(Default)]
struct Connections {
    port: u16,
    /// By the client's socket and the server's; a SYN with another sequence number begins a new one.
    current: HashMap<(Socket, Socket), (u32, usize)>,
    all: Vec<Connection>,
}

impl Connections {
    /// Reads a capture of raw IP packets (pcap, link type 12 or 101).
    fn read(&mut self, bytes: &[u8]) {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert!(bytes.len() >= 24 && word(0) == 0xA1B2_C3D4, "a pcap of this host's byte order");
        assert!(matches!(word(20), 12 | 101), "raw IP, not link type {}", word(20));
        let mut at = 24;
        while at + 16 <= bytes.len() {
            let length = word(at + 8) as usize;
            let Some(packet) = bytes.get(at + 16..at + 16 + length) else { break };
            self.see(packet, u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4)));
            at += 16 + length;
        }
    }

    fn see(&mut self, packet: &[u8], time: u64) {
        let Some((from, to, start)) = addresses(packet) else { return };
        let Some(tcp) = packet.get(start..start + 20) else { return };
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let (from, to) = ((from, port(0)), (to, port(2)));
        let (flags, by_client) = (tcp[13], to.1 == self.port);
        if !by_client && from.1 != self.port {
            return;
        }
        let key = if by_client { (from, to) } else { (to, from) };
        if by_client && flags & (SYN | ACK) == SYN {
            let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
            if self.current.get(&key).is_none_or(|(known, _)| *known != sequence) {
                self.current.insert(key, (sequence, self.all.len()));
                self.all.push(Connection::default());
            }
            return;
        }
        let Some((_, index)) = self.current.get(&key) else { return };
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let data = length(packet).saturating_sub(start + usize::from(tcp[12] >> 4) * 4);
        let behind = word(4).wrapping_add(u32::try_from(data).unwrap_or(0) + 1);
        let segment = Segment { flags, by_client, behind, acknowledged: word(8), time };
        self.all[*index].see(segment);
    }

    fn count(&self, side: Side, end: u64) -> Packets {
        let opened = || self.all.iter().filter(|one| one.opened[usize::from(side == Side::Server)]);
        let of = |end| opened().filter(|one| one.end_at(side) == Some(end)).count() as u64;
        Packets {
            opened: opened().count() as u64,
            client_fin: of(End::ClientFin),
            server_fin: of(End::ServerFin),
            client_rst: of(End::ClientRst),
            server_rst: of(End::ServerRst),
            over: opened().filter(|one| one.over_at.is_some_and(|over| over < end)).count() as u64,
        }
    }
}

/// A segment of a connection.
#[derive(Debug, Clone, Copy)]
struct Segment {
    flags: u8,
    by_client: bool,
    /// The sequence number behind its data and its FIN.
    behind: u32,
    acknowledged: u32,
    time: u64,
}

impl Connection {
    /// Returns how it ended first for the TCP of one host.
    fn end_at(&self, side: Side) -> Option<End> {
        let own = self.unaware.filter(|(sender, _)| *sender == usize::from(side == Side::Server));
        own.map(|(_, end)| end).or(self.end)
    }

    fn see(&mut self, segment: Segment) {
        let Segment { flags, by_client, time, .. } = segment;
        self.answered |= !by_client && flags & (SYN | ACK) == SYN | ACK;
        if !self.answered {
            return;
        }
        if by_client && flags & ACK != 0 {
            // The abort of an open socket has an ACK; the answer of a host without one has none.
            let at_server = flags & RST == 0;
            self.opened = [true, self.opened[1] || at_server];
        }
        self.reset |= flags & RST != 0;
        self.fins[usize::from(!by_client)] |= flags & FIN != 0;
        if self.reset || self.fins == [true; 2] {
            self.over_at = self.over_at.or(Some(time));
        }
        let end = match (flags & RST != 0, flags & FIN != 0, by_client) {
            (true, _, true) => End::ClientRst,
            (true, _, false) => End::ServerRst,
            (_, true, true) => End::ClientFin,
            (_, true, false) => End::ServerFin,
            _ => return,
        };
        self.end = self.end.or(Some(end));
        let sender = usize::from(!by_client);
        let (first, behind) = *self.first.get_or_insert((sender, segment.behind));
        let is_aware = (segment.acknowledged.wrapping_sub(behind) as i32) >= 0;
        if first != sender && flags & ACK != 0 && !is_aware {
            self.unaware.get_or_insert((sender, end));
        }
    }
}

/// Returns the length of an IP packet, of which a capture has the beginning.
fn length(packet: &[u8]) -> usize {
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 4 { word(2) } else { 40 + word(4) }
}

/// Returns the addresses of an IP packet, and where its TCP header begins.
fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    let four = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(IpAddr::from);
    let sixteen = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(IpAddr::from);
    match packet.first()? >> 4 {
        4 => Some((four(12)?, four(16)?, usize::from(packet[0] & 15) * 4)),
        6 => Some((sixteen(8)?, sixteen(24)?, 40)),
        _ => None,
    }
}

mod tests {
    use super::*;

    /// Plays segments of one connection, each by the client (`>`) or the server (`<`), which
    /// acknowledge all before them.
    fn played(segments: &[(char, u8)]) -> [Packets; 2] {
        let segments: Vec<_> = segments.iter().map(|(from, flags)| (*from, *flags, 1)).collect();
        played_with(&segments)
    }

    /// As [`played`], each with the number that it acknowledges.
    fn played_with(segments: &[(char, u8, u8)]) -> [Packets; 2] {
        let mut connections = Connections { port: 8080, ..Connections::default() };
        for (time, (from, flags, acknowledged)) in segments.iter().enumerate() {
            let mut packet = [0_u8; 40];
            (packet[0], packet[3], packet[31], packet[32], packet[33]) =
                (0x45, 40, *acknowledged, 0x50, *flags);
            let (client, server) = ((1_u8, 40_000_u16), (2_u8, 8_080_u16));
            let (from, to) = if *from == '>' { (client, server) } else { (server, client) };
            (packet[15], packet[19]) = (from.0, to.0);
            packet[20..22].copy_from_slice(&from.1.to_be_bytes());
            packet[22..24].copy_from_slice(&to.1.to_be_bytes());
            connections.see(&packet, time as u64);
        }
        Side::ALL.map(|side| connections.count(side, u64::MAX))
    }

    const OPEN: [(char, u8); 3] = [('>', SYN), ('<', SYN | ACK), ('>', ACK)];

    #[test]
    fn first_fin_or_rst_ends_a_connection() {
        let ends = [('<', FIN | ACK), ('>', FIN | ACK), ('<', ACK)];
        let [client, server] = played(&[&OPEN[..], &ends].concat());
        for seen in [client, server] {
            assert_eq!((seen.opened, seen.server_fin, seen.ended(), seen.over), (1, 1, 1, 1));
        }
        let [half, _] = played(&[&OPEN[..], &[('>', FIN | ACK), ('<', ACK)]].concat());
        assert_eq!((half.client_fin, half.over), (1, 0), "the server has not closed");
    }

    #[test]
    fn fin_that_ignores_another_was_first_at_its_host() {
        let open = OPEN.map(|(from, flags)| (from, flags, 0));
        let ends = [('<', FIN | ACK, 0), ('>', FIN | ACK, 0), ('<', ACK, 1)];
        let [client, server] = played_with(&[&open[..], &ends].concat());
        assert_eq!((client.client_fin, client.server_fin), (1, 0));
        assert_eq!((server.client_fin, server.server_fin), (0, 1));
        let aborts = [('<', FIN | ACK, 0), ('>', RST | ACK, 0)];
        let [client, server] = played_with(&[&open[..], &aborts].concat());
        assert_eq!((client.client_rst, server.server_fin), (1, 1));
    }

    #[test]
    fn probe_is_open_for_its_client_alone() {
        let [client, server] = played(&[('>', SYN), ('<', SYN | ACK), ('>', RST | ACK)]);
        assert_eq!((client.opened, client.client_rst), (1, 1));
        assert_eq!((server.opened, server.ended()), (0, 0));
        let [refused, _] = played(&[('>', SYN), ('<', RST | ACK)]);
        assert_eq!(refused.opened, 0);
    }
}
