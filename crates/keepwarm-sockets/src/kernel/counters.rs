//! Counters that the kernel keeps of TCP in this network namespace.
//!
//! Owns the parsing of /proc/net/snmp, /proc/net/netstat, /proc/net/sockstat and sockstat6. A
//! reading costs well under a millisecond and no privilege. The counters do not distinguish ports.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Operation};
use crate::kernel::proc::net;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $section:literal $name:literal, $kind:ident;)*) => {
        /// Single reading of the counters. A counter that the kernel does not have is `None`, never
        /// 0.
        ///
        /// Names in the text are the kernel's (net/ipv4/proc.c, include/uapi/linux/snmp.h).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $field: Option<u64>,)*
        }

        impl Counters {
            /// Returns the change between `earlier` and this reading: events are subtracted, levels
            /// (which describe this moment) are kept. A counter unknown in either is unknown.
            pub fn since(&self, earlier: &Counters) -> Counters {
                Counters { $($field: counters!(@since $kind self earlier $field),)* }
            }

            fn set(&mut self, section: &str, name: &str, value: u64) {
                match (section, name) {
                    $(($section, $name) => self.$field = Some(value),)*
                    _ => {}
                }
            }
        }
    };
    (@since event $self:ident $earlier:ident $field:ident) => {
        match ($self.$field, $earlier.$field) {
            (Some(now), Some(then)) => Some(now.saturating_sub(then)),
            _ => None,
        }
    };
    (@since level $self:ident $earlier:ident $field:ident) => { $self.$field };
}

counters! {
    /// Connections opened by connect(2), failed ones included (`ActiveOpens`).
    active_opens = "Tcp" "ActiveOpens", event;
    /// Connections opened by a peer's SYN (`PassiveOpens`).
    passive_opens = "Tcp" "PassiveOpens", event;
    /// Handshakes that failed (`AttemptFails`).
    attempt_fails = "Tcp" "AttemptFails", event;
    /// Sockets that left ESTABLISHED or CLOSE_WAIT straight for CLOSE (`EstabResets`).
    estab_resets = "Tcp" "EstabResets", event;
    /// Level: sockets in ESTABLISHED or CLOSE_WAIT now (`CurrEstab`).
    established = "Tcp" "CurrEstab", level;
    /// Segments received, of any kind and over either family (`InSegs`).
    segments_in = "Tcp" "InSegs", event;
    /// Segments sent, without those retransmitted (`OutSegs`).
    segments_out = "Tcp" "OutSegs", event;
    /// RSTs sent (`OutRsts`).
    out_resets = "Tcp" "OutRsts", event;
    /// Segments retransmitted (`RetransSegs`).
    retransmitted_segments = "Tcp" "RetransSegs", event;
    /// TIME_WAITs entered (`TW`; counted when the minisocket's timer is first set,
    /// `__inet_twsk_schedule`, net/ipv4/inet_timewait_sock.c).
    time_waits = "TcpExt" "TW", event;
    /// TIME_WAITs ended early by a connect(2) that reused the port (`TWRecycled`).
    time_waits_recycled = "TcpExt" "TWRecycled", event;
    /// TIME_WAITs that were not kept because of `net.ipv4.tcp_max_tw_buckets`
    /// (`TCPTimeWaitOverflow`).
    time_wait_overflow = "TcpExt" "TCPTimeWaitOverflow", event;
    /// Connections closed with data unread, hence by RST (`TCPAbortOnClose`).
    abort_on_close = "TcpExt" "TCPAbortOnClose", event;
    /// Connections closed with SO_LINGER 0, or that got data after close (`TCPAbortOnData`).
    abort_on_data = "TcpExt" "TCPAbortOnData", event;
    /// Connections given up after too many retransmissions or probes (`TCPAbortOnTimeout`).
    abort_on_timeout = "TcpExt" "TCPAbortOnTimeout", event;
    /// Orphaned sockets that were not given time for the peer's FIN: TCP_LINGER2 below 0, or too
    /// many orphans (`TCPAbortOnLinger`).
    abort_on_linger = "TcpExt" "TCPAbortOnLinger", event;
    /// RSTs that could not be sent (`TCPAbortFailed`).
    abort_failed = "TcpExt" "TCPAbortFailed", event;
    /// Retransmission timers that expired (`TCPTimeouts`).
    timeouts = "TcpExt" "TCPTimeouts", event;
    /// Connections dropped for lack of memory (`TCPAbortOnMemory`).
    abort_on_memory = "TcpExt" "TCPAbortOnMemory", event;
    /// Handshakes finished on a full accept queue (`ListenOverflows`).
    listen_overflows = "TcpExt" "ListenOverflows", event;
    /// SYNs dropped by listeners, overflows included (`ListenDrops`).
    listen_drops = "TcpExt" "ListenDrops", event;
    /// SYNs and SYN-ACKs retransmitted (`TCPSynRetrans`).
    syn_retransmits = "TcpExt" "TCPSynRetrans", event;
    /// Level: TIME_WAIT entries now, FIN_WAIT2 minisockets included (sockstat, `TCP: tw`).
    time_wait_now = "TCP" "tw", level;
    /// Level: TCP sockets over IPv4 now, without TIME_WAIT (sockstat, `TCP: inuse`).
    sockets_v4 = "TCP" "inuse", level;
    /// Level: TCP sockets over IPv6 now, without TIME_WAIT (sockstat6, `TCP6: inuse`).
    sockets_v6 = "TCP6" "inuse", level;
}

impl Counters {
    /// Reads the counters of this network namespace.
    ///
    /// # Errors
    /// When /proc is not mounted. A counter that the kernel does not have is not an error.
    pub fn read() -> Result<Counters, Error> {
        let operation = Operation::ReadProc("/proc/net/snmp");
        if cfg!(not(target_os = "linux")) {
            return Err(Error::unsupported(operation, "this system is not Linux"));
        }
        let mut counters = Counters::default();
        let snmp = net::read("snmp").map_err(|error| Error::io(operation, &error))?;
        counters.add_pairs_of_lines(&snmp);
        let optional = |name| net::read(name).unwrap_or_default();
        counters.add_pairs_of_lines(&optional("netstat"));
        counters.add_pairs_of_words(&optional("sockstat"));
        counters.add_pairs_of_words(&optional("sockstat6"));
        Ok(counters)
    }

    /// Reads snmp and netstat: a line of names, a line of numbers, both headed by the section.
    /// Columns differ between kernels, so a counter is found by its name, never by its column.
    pub(crate) fn add_pairs_of_lines(&mut self, text: &str) {
        let mut names: Option<(&str, &str)> = None;
        for line in text.lines() {
            let Some((section, rest)) = line.split_once(':') else {
                continue;
            };
            if !SECTIONS.contains(&section) {
                names = None;
                continue;
            }
            match names.take() {
                Some((head, titles)) if head == section => {
                    let values = rest.split_ascii_whitespace();
                    for (name, value) in titles.split_ascii_whitespace().zip(values) {
                        // Tcp MaxConn is -1, which is not a count.
                        if let Ok(value) = value.parse() {
                            self.set(section, name, value);
                        }
                    }
                }
                _ => names = Some((section, rest)),
            }
        }
    }

    /// Reads sockstat: a section, then names and numbers in turn.
    pub(crate) fn add_pairs_of_words(&mut self, text: &str) {
        for line in text.lines() {
            let Some((section, rest)) = line.split_once(':') else {
                continue;
            };
            let mut words = rest.split_whitespace();
            while let (Some(name), Some(value)) = (words.next(), words.next()) {
                if let Ok(value) = value.parse() {
                    self.set(section, name, value);
                }
            }
        }
    }
}

/// Sections of snmp and netstat that have counters of TCP.
const SECTIONS: [&str; 2] = ["Tcp", "TcpExt"];
/// Size of the buffer that the text of a counter file is read into; it grows with the text. The
/// netstat of Linux 6.18 has some 5 kB.
const TEXT_LEN: usize = 8 << 10;
/// Largest text that is read.
const MAX_TEXT: usize = 1 << 20;

/// The files of the counters that a watch reads several times a second, opened once: opening one of
/// them costs as much as reading it.
#[derive(Debug)]
pub(crate) struct CounterFiles {
    snmp: Option<File>,
    netstat: Option<File>,
    text: Vec<u8>,
}

impl CounterFiles {
    /// Opens the files of the calling thread's network namespace, which any thread may read then.
    pub(crate) fn open() -> CounterFiles {
        let [snmp, netstat] = ["snmp", "netstat"].map(|name| net::open(name).ok());
        CounterFiles { snmp, netstat, text: vec![0; TEXT_LEN] }
    }

    /// Reads the counters of connections and segments (/proc/net/snmp).
    pub(crate) fn read_connections(&mut self) -> Option<Counters> {
        read(self.snmp.as_ref()?, &mut self.text)
    }

    /// Reads the counters of /proc/net/netstat; all unknown if they are not to be had.
    pub(crate) fn read_extended(&mut self) -> Counters {
        let file = self.netstat.as_ref();
        file.and_then(|file| read(file, &mut self.text)).unwrap_or_default()
    }
}

/// Reads a counter file from its beginning, where the kernel writes its text anew.
fn read(file: &File, text: &mut Vec<u8>) -> Option<Counters> {
    let mut length = 0;
    loop {
        if length == text.len() {
            if length >= MAX_TEXT {
                return None;
            }
            text.resize(2 * length.max(TEXT_LEN), 0);
        }
        match file.read_at(&mut text[length..], length as u64).ok()? {
            0 => break,
            more => length += more,
        }
    }
    let mut counters = Counters::default();
    counters.add_pairs_of_lines(std::str::from_utf8(&text[..length]).ok()?);
    Some(counters)
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;

    use super::*;

    const TCP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 11 12 13 14 15 16 17 18 19 20 21
";

    fn of(snmp: &str, sockstat: &str) -> Counters {
        let mut counters = Counters::default();
        counters.add_pairs_of_lines(snmp);
        counters.add_pairs_of_words(sockstat);
        counters
    }

    #[test]
    fn counters_are_found_by_name() {
        let counters = of(TCP, "sockets: used 9\nTCP: inuse 3 orphan 0 tw 7 alloc 4 mem 1\n");
        assert_eq!(counters.active_opens, Some(11));
        assert_eq!(counters.established, Some(15));
        assert_eq!(counters.out_resets, Some(20));
        assert_eq!(counters.time_wait_now, Some(7));
        assert_eq!(counters.sockets_v4, Some(3));
    }

    #[test]
    fn a_missing_counter_is_unknown() {
        let counters = of(TCP, "");
        assert_eq!(counters.time_waits, None);
        assert_eq!(counters.time_wait_now, None);
        assert_eq!(counters.since(&counters).time_waits, None);
        assert_eq!(counters.since(&counters).active_opens, Some(0));
    }

    #[test]
    fn names_belong_to_their_section() {
        let counters = of("TcpX: ActiveOpens\nTcpX: 5\nTcp: ActiveOpens\nTcpExt: TW\n", "");
        assert_eq!(counters, Counters::default());
    }

    #[test]
    fn events_are_subtracted_levels_are_kept() {
        let earlier = Counters {
            active_opens: Some(10),
            established: Some(100),
            listen_drops: Some(7),
            ..Counters::default()
        };
        let later = Counters {
            active_opens: Some(25),
            established: Some(40),
            time_waits: Some(3),
            listen_drops: Some(2),
            ..Counters::default()
        };
        let change = later.since(&earlier);
        assert_eq!(change.active_opens, Some(15));
        assert_eq!(change.established, Some(40));
        assert_eq!(change.time_waits, None);
        assert_eq!(change.listen_drops, Some(0));
    }

    /// Mutates the tables of the running kernel.
    #[cfg(target_os = "linux")]
    #[test]
    fn hostile_tables_never_panic() {
        let mut dice = Dice::new(1);
        let read = |name| net::read(name).unwrap_or_default();
        let (lines, words) = (read("snmp") + &read("netstat"), read("sockstat"));
        let whole = of(&lines, &words);
        assert!(whole.active_opens.is_some() && whole.sockets_v4.is_some());
        for _ in 0..300 {
            let hostile = of(&mutate::text(&mut dice, &lines), &mutate::text(&mut dice, &words));
            let _ = (whole.since(&hostile), hostile.since(&whole));
        }
        for _ in 0..10_000 {
            let hostile = of(&mutate::text(&mut dice, TCP), "");
            // A lost or doubled column shifts the columns after it, at most to the end of the line.
            let known = |count| count >= 10 || count <= 1;
            assert!(hostile.active_opens.is_none_or(known), "{hostile:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn kept_files_show_later_counts() {
        let mut files = CounterFiles::open();
        let opens = |files: &mut CounterFiles| files.read_connections().unwrap().active_opens;
        let before = opens(&mut files);
        assert_eq!(before.is_some(), Counters::read().unwrap().active_opens.is_some());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(opens(&mut files) > before, "{before:?}");
        assert!(files.read_extended().time_waits.is_some());
        // A text that is longer than the buffer is read to its end.
        files.text = vec![0; 16];
        assert!(opens(&mut files) > before && files.text.len() > 16);
    }

    #[test]
    fn a_cut_table_is_read_partly() {
        for end in 0..TCP.len() {
            let counters = of(&TCP[..end], "");
            assert!(counters.active_opens.is_none_or(|n| n == 11 || n == 1), "{end}");
        }
    }
}
