//! The kernel's table of TCP sockets, for systems without destroy events: read by dumps if those
//! work, else as text from `/proc/net/tcp` and `tcp6`.
//!
//! Owns the choice between the two, and the parsing of the text. The text has no `tcp_info` and no
//! cookie; a socket is then identified by its addresses and its inode. Compares no readings.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::{Error, Operation};
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::proc::net;
use crate::kernel::socket::{Socket, State};

/// Maximum number of rows in one reading, both files together.
const MAX_ROWS: usize = 1 << 20;
/// Size of the read buffer. The kernel returns one page per read(2) for any buffer size.
const BUFFER_LEN: usize = 64 << 10;
/// Unit of times in /proc: a hundredth of a second (USER_HZ).
const TICK_MS: u32 = 10;

/// Source that the table is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableSource {
    /// Dumps of sock_diag, each one pass in the kernel.
    Dump,
    /// The text of `/proc/net/tcp` and `/proc/net/tcp6`.
    Proc,
}

impl TableSource {
    /// Returns the name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            TableSource::Dump => "sock_diag",
            TableSource::Proc => "/proc/net/tcp",
        }
    }
}

/// Reader of the table that works on this system.
#[derive(Debug)]
pub(crate) enum SocketTable {
    Dump(Dumper),
    Proc,
}

impl SocketTable {
    /// Chooses dumps if a dump succeeds, and the text if dumps are denied or unsupported.
    pub(crate) fn open() -> Result<SocketTable, Error> {
        let none = Filter { local_port: Some(1), remote_port: Some(1), ..Filter::default() };
        let dumper = Dumper::open().and_then(|mut dumper| {
            dumper.each(&none, |_| {})?;
            Ok(dumper)
        });
        match dumper {
            Ok(dumper) => Ok(SocketTable::Dump(dumper)),
            Err(error) if error.is_denied() || error.is_unsupported() => {
                net::open("tcp").map_err(|error| Error::io(READ, &error))?;
                Ok(SocketTable::Proc)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn source(&self) -> TableSource {
        match self {
            SocketTable::Dump(_) => TableSource::Dump,
            SocketTable::Proc => TableSource::Proc,
        }
    }

    /// Hands every row that passes `filter` to `visit`. The rows are not one instant: sockets are
    /// created and die during the reading.
    pub(crate) fn each(
        &mut self,
        filter: &Filter,
        visit: impl FnMut(&Socket),
    ) -> Result<(), Error> {
        match self {
            SocketTable::Dump(dumper) => dumper.each(filter, visit),
            SocketTable::Proc => each_in_proc(filter, visit),
        }
    }
}

const READ: Operation = Operation::ReadProc("/proc/net/tcp");

/// Reads both files, the listeners first, as in a dump. Within a file the listeners come first.
fn each_in_proc(filter: &Filter, mut visit: impl FnMut(&Socket)) -> Result<(), Error> {
    let mut rows = 0;
    let mut visit = |row: Socket| {
        rows += 1;
        if rows > MAX_ROWS {
            return Err(Error::too_many(READ, "sockets to read", MAX_ROWS));
        }
        if passes(filter, &row) {
            visit(&row);
        }
        Ok(())
    };
    let is_listener = |row: &Socket| row.state == State::Listen;
    each_while("tcp6", is_listener, &mut visit)?;
    each_while("tcp", |_| true, &mut visit)?;
    each_while("tcp6", |_| true, |row| if is_listener(&row) { Ok(()) } else { visit(row) })
}

/// Reads the rows of a file up to the first for which `goes_on` is false.
fn each_while(
    name: &str,
    goes_on: impl Fn(&Socket) -> bool,
    mut visit: impl FnMut(Socket) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::io(READ, &error);
    let file = match net::open(name) {
        // The system has no IPv6.
        Err(error) if name == "tcp6" && error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.map_err(failed)?,
    };
    let mut reader = BufReader::with_capacity(BUFFER_LEN, file);
    let mut line = String::new();
    // The first line holds the column names.
    reader.read_line(&mut line).map_err(failed)?;
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        let row = parse(&line).ok_or_else(|| Error::malformed(READ, line.trim_end()))?;
        if !goes_on(&row) {
            return Ok(());
        }
        visit(row)?;
    }
}

fn passes(filter: &Filter, row: &Socket) -> bool {
    let is = |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| wanted == port);
    filter.states.contains(row.state)
        && is(filter.local_port, row.local.port())
        && is(filter.remote_port, row.remote.port())
        && filter
            .either_port
            .is_none_or(|port| row.local.port() == port || row.remote.port() == port)
}

/// Parses one line: `sl local remote st tx:rx tr:when retrnsmt uid timeout inode ...`
/// (`tcp4_seq_show`, net/ipv4/tcp_ipv4.c).
pub(crate) fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = State::from_kernel(u8::from_str_radix(fields.next()?, 16).ok()?)?;
    let (wqueue, rqueue) = pair(fields.next()?)?;
    let (timer, ticks) = pair(fields.next()?)?;
    let mut rest = fields.skip(1);
    let uid = rest.next()?.parse().ok()?;
    let inode = rest.nth(1)?.parse().ok()?;
    let mut identity = DefaultHasher::new();
    (local, remote, inode).hash(&mut identity);
    Some(Socket {
        state,
        local,
        remote,
        cookie: identity.finish(),
        rqueue,
        wqueue,
        inode,
        uid,
        timer: u8::try_from(timer).ok()?,
        expires_ms: ticks.saturating_mul(TICK_MS),
        interface: 0,
        info: None,
    })
}

/// Parses two hexadecimal numbers with a colon between them.
fn pair(field: &str) -> Option<(u32, u32)> {
    let (first, second) = field.split_once(':')?;
    Some((u32::from_str_radix(first, 16).ok()?, u32::from_str_radix(second, 16).ok()?))
}

/// Parses `0100007F:1F90`: the address as 32-bit words in the byte order of the machine, the port
/// as a number.
fn address(field: &str) -> Option<SocketAddr> {
    let (address, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (place, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(place * 8)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::States;

    const LISTENER: &str = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 1126 1 00000000394701b2 100 0 0 10 0";
    const TIME_WAIT: &str = "  12: 0100007F:D431 0100007F:1F90 06 00000000:00000000 03:000012C0 00000000     0        0 0 3 000000004a1e5c0a";

    #[cfg(target_endian = "little")]
    #[test]
    fn a_kernel_line_is_parsed() {
        let listener = parse(LISTENER).unwrap();
        assert_eq!(listener.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((listener.state, listener.inode, listener.rqueue), (State::Listen, 1126, 2));
        let held = parse(TIME_WAIT).unwrap();
        assert_eq!((held.state, held.remote), (State::TimeWait, listener.local));
        // 48 of 60 s are left.
        assert_eq!((held.expires_ms, held.time_wait_age_ms()), (48_000, Some(12_000)));
        assert!(held.is_minisocket());
        let mapped = "0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:D431 01 00000000:00000000 00:00000000 00000000 1000 0 7 1 0";
        let mapped = parse(mapped).unwrap();
        assert_eq!(mapped.local, listener.local, "mapped addresses are IPv4");
        assert_eq!((mapped.uid, mapped.inode), (1000, 7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn text_and_dump_describe_the_same_sockets() {
        use keepwarm_testkit::churn::{Family, Upstream, Way};
        for family in Family::ALL {
            let mut upstream = Upstream::listen(family).unwrap();
            upstream.play(Way::ClientFin, 5, 1).unwrap();
            upstream.play(Way::ServerFin, 5, 1).unwrap();
            let _open: Vec<_> = (0..3).map(|_| upstream.connect().unwrap()).collect();
            let filter = Filter { either_port: Some(upstream.port()), ..Filter::default() };
            // On other addresses of loopback the port may belong to another process.
            let ours: [IpAddr; 3] = ["127.0.0.1", "::1", "::"].map(|ip| ip.parse().unwrap());
            let rows = |mut table: SocketTable| {
                let mut rows = Vec::new();
                let visit = |row: &Socket| {
                    if ours.contains(&row.local.ip()) {
                        let timer = (row.timer, row.expires_ms > 0);
                        let numbers = (row.rqueue, row.inode, row.uid, timer);
                        rows.push((row.state as u8, (row.local, row.remote), numbers));
                    }
                };
                table.each(&filter, visit).unwrap();
                rows.sort();
                rows
            };
            let (dumped, read) = (rows(SocketTable::open().unwrap()), rows(SocketTable::Proc));
            assert_eq!(dumped.len(), 1 + 10 + 6, "{family:?} {dumped:#?}");
            assert_eq!(read, dumped, "{family:?}");
        }
    }

    #[test]
    fn no_cut_or_changed_line_panics() {
        for line in [LISTENER, TIME_WAIT] {
            for end in 0..line.len() {
                let _ = parse(&line[..end]);
                let mut changed = line.as_bytes().to_vec();
                for byte in [b'0', b'F', b':', b' ', b'Z', b'-'] {
                    changed[end] = byte;
                    let _ = parse(std::str::from_utf8(&changed).unwrap());
                }
            }
        }
        for line in ["", "x", "0: \u{e9}\u{e9}\u{e9}\u{e9}:1 2 3"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn text_is_filtered_like_dumps() {
        let row = parse(TIME_WAIT).unwrap();
        let filter = Filter { states: State::TimeWait.into(), ..Filter::default() };
        assert!(passes(&filter, &row));
        assert!(passes(&Filter { either_port: Some(8080), ..filter }, &row));
        assert!(passes(&Filter { either_port: Some(0xd431), ..filter }, &row));
        assert!(passes(&Filter { remote_port: Some(8080), ..filter }, &row));
        assert!(!passes(&Filter { local_port: Some(8080), ..filter }, &row));
        assert!(!passes(&Filter { either_port: Some(1), ..filter }, &row));
        assert!(!passes(
            &Filter { states: States::CONNECTED, local_port: Some(1), ..filter },
            &row
        ));
    }
}
