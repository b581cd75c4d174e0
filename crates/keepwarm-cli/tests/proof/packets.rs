//! Connections as tcpdump sees them: each with its SYN, and with who sent the first FIN or RST.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use keepwarm_testkit::mortal;

use crate::common::{PATIENCE, dead_port, kill};

/// A running tcpdump.
pub(crate) struct Capture {
    process: Child,
    lines: mpsc::Receiver<String>,
    reader: JoinHandle<()>,
    said: BufReader<std::process::ChildStderr>,
}

/// The connections to one port, by how they began and ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Packets {
    /// SYNs of clients.
    pub(crate) attempts: u64,
    /// Attempts that were answered with SYN and ACK.
    pub(crate) opened: u64,
    /// By the first packet with FIN or RST.
    pub(crate) client_fin: u64,
    pub(crate) server_fin: u64,
    pub(crate) client_rst: u64,
    pub(crate) server_rst: u64,
    /// Opened, and without an end.
    pub(crate) endless: u64,
    /// Ends that have sent a FIN, once or again.
    pub(crate) fins: u64,
    /// RSTs.
    pub(crate) rsts: u64,
}

impl Packets {
    pub(crate) const fn client_first(&self) -> u64 {
        self.client_fin + self.client_rst
    }
}

impl Capture {
    /// Returns once packets of the device are seen, in the network namespace of this thread.
    pub(crate) fn start(device: &str) -> Self {
        let mut process = mortal::command("tcpdump", "KILL")
            .args(["-i", device, "-nn", "-l", "-s", "96", "-B", "8192", "--immediate-mode", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let mut said = BufReader::new(process.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(said.read_line(&mut line).expect("readable") > 0, "tcpdump ended at once");
        }
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, lines, reader, said }
    }

    /// Everything that was sent over loopback before now, of connections to `port`.
    pub(crate) fn finish(self, port: u16) -> Packets {
        // A SYN to a port without a listener: tcpdump prints it after all earlier packets.
        let sentinel = SocketAddr::from((Ipv4Addr::LOCALHOST, dead_port()));
        assert!(TcpStream::connect(sentinel).is_err());
        self.finish_at(sentinel, port)
    }

    /// Everything up to a SYN that was sent to `sentinel`, of connections to `port`.
    pub(crate) fn finish_at(mut self, sentinel: SocketAddr, port: u16) -> Packets {
        let ends = format!("> {}.{}: Flags [S]", sentinel.ip(), sentinel.port());
        let mut connections = Connections { port, ..Connections::default() };
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("tcpdump sees the last packet");
            if line.contains(&ends) {
                break;
            }
            connections.see(&line);
        }
        kill(self.process.id(), "INT");
        let status = self.process.wait().expect("a child to wait for");
        drop(self.lines);
        self.reader.join().expect("the reader ends");
        let mut summary = String::new();
        while self.said.read_line(&mut summary).expect("readable") > 0 {}
        assert!(status.success(), "{summary}");
        assert!(summary.contains("\n0 packets dropped by kernel"), "{summary}");
        connections.count()
    }
}

#[derive(Default)]
struct Connections {
    port: u16,
    /// By the client's port; a SYN begins a new one.
    current: HashMap<String, usize>,
    all: Vec<Connection>,
}

#[derive(Default)]
struct Connection {
    answered: bool,
    end: Option<End>,
    /// By the client, and by the server.
    fins: [bool; 2],
    rsts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    ClientFin,
    ServerFin,
    ClientRst,
    ServerRst,
}

impl Connections {
    /// `12:00:00.000000 IP 127.0.0.1.40000 > 127.0.0.1.8081: Flags [P.], seq ...`
    fn see(&mut self, line: &str) {
        let mut words = line.split(' ').skip(2);
        let (Some(from), Some(">"), Some(to)) = (words.next(), words.next(), words.next()) else {
            panic!("not a packet: {line}");
        };
        let flags = line.split_once("Flags [").and_then(|(_, rest)| rest.split_once(']'));
        let (flags, _) = flags.unwrap_or_else(|| panic!("no flags: {line}"));
        let ours = format!(".{}", self.port);
        let (from_client, peer) = match (from.ends_with(&ours), to.trim_end_matches(':')) {
            (true, peer) => (false, peer),
            (false, to) if to.ends_with(&ours) => (true, from),
            _ => return,
        };
        if flags == "S" {
            self.current.insert(peer.to_owned(), self.all.len());
            self.all.push(Connection::default());
            return;
        }
        let Some(&index) = self.current.get(peer) else {
            panic!("a packet of no connection: {line}");
        };
        let connection = &mut self.all[index];
        connection.answered |= flags == "S." && !from_client;
        connection.rsts += u64::from(flags.contains('R'));
        connection.fins[usize::from(!from_client)] |= flags.contains('F');
        let end = match (flags.contains('R'), flags.contains('F'), from_client) {
            (true, _, true) => End::ClientRst,
            (true, _, false) => End::ServerRst,
            (_, true, true) => End::ClientFin,
            (_, true, false) => End::ServerFin,
            _ => return,
        };
        connection.end = connection.end.or(Some(end));
    }

    fn count(&self) -> Packets {
        let opened = || self.all.iter().filter(|connection| connection.answered);
        let ended = |end| opened().filter(|connection| connection.end == end).count() as u64;
        Packets {
            attempts: self.all.len() as u64,
            opened: opened().count() as u64,
            client_fin: ended(Some(End::ClientFin)),
            server_fin: ended(Some(End::ServerFin)),
            client_rst: ended(Some(End::ClientRst)),
            server_rst: ended(Some(End::ServerRst)),
            endless: ended(None),
            fins: opened().flat_map(|connection| connection.fins).map(u64::from).sum(),
            rsts: opened().map(|connection| connection.rsts).sum(),
        }
    }
}
