//! Names of remote services by reverse DNS: `--resolve`.
//!
//! Owns the thread that asks, and the bounds: a watch never waits for a name. An address is asked for
//! once, with one second for an answer and one more try; the name is in the reports from then on. Asks the
//! name servers of `/etc/resolv.conf` directly: getnameinfo(3) may wait for half a minute.

mod ptr;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// Names that are kept.
const MAX_NAMES: usize = 1 << 10;
/// Addresses that wait to be asked for.
const MAX_WAITING: usize = 1 << 8;
/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions for an address, to one name server after the other.
const TRIES: usize = 2;
/// Pause between two addresses: ten a second.
const PAUSE: Duration = Duration::from_millis(100);
/// Name servers that are used, as resolv.conf(5) has it.
const MAX_SERVERS: usize = 3;
const DNS: u16 = 53;

/// Names by reverse DNS, found by a thread beside the watch.
#[derive(Debug)]
pub(super) struct Resolver {
    asking: SyncSender<IpAddr>,
    found: Receiver<(IpAddr, Option<String>)>,
    names: HashMap<IpAddr, String>,
    asked: HashSet<IpAddr>,
}

impl Resolver {
    /// Starts the thread. `config`: the text of resolv.conf(5).
    pub(super) fn start(config: &str) -> io::Result<Self> {
        let servers = servers(config);
        let (asking, addresses) = mpsc::sync_channel(MAX_WAITING);
        let (answers, found) = mpsc::channel();
        std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            for address in addresses {
                if answers.send((address, ask(&servers, address))).is_err() {
                    return;
                }
                // The pause is the limit: no name server is flooded.
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(Self { asking, found, names: HashMap::new(), asked: HashSet::new() })
    }

    /// Returns the name of an address, if it is known by now; else has it asked for.
    pub(super) fn name(&mut self, address: IpAddr) -> Option<String> {
        while let Ok((address, name)) = self.found.try_recv() {
            self.names.extend(name.map(|name| (address, name)));
        }
        if let Some(name) = self.names.get(&address) {
            return Some(name.clone());
        }
        if is_asked_for(address) && self.asked.len() < MAX_NAMES && !self.asked.contains(&address) {
            match self.asking.try_send(address) {
                Ok(()) => drop(self.asked.insert(address)),
                // Later, when there is room.
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        None
    }
}

/// Returns true if an address may have a name that others know.
fn is_asked_for(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

/// Reads the name servers of resolv.conf(5); without one, that of this host.
fn servers(config: &str) -> Vec<SocketAddr> {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next()).flatten()?;
        // A scope (fe80::1%eth0) is not in an address of the standard library.
        Some(SocketAddr::new(address.parse().ok()?, DNS))
    };
    let found: Vec<SocketAddr> = config.lines().filter_map(of_line).take(MAX_SERVERS).collect();
    if found.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], DNS))] } else { found }
}

/// Asks one server after the other.
fn ask(servers: &[SocketAddr], address: IpAddr) -> Option<String> {
    let all = servers.iter().cycle().take(TRIES.max(servers.len()));
    for server in all {
        if let Ok(answer) = ask_one(*server, address) {
            return answer;
        }
    }
    None
}

/// Asks one server. An error: it has not answered.
fn ask_one(server: SocketAddr, address: IpAddr) -> io::Result<Option<String>> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(own)?;
    socket.connect(server)?;
    let (id, question) = (ptr::random_id(), ptr::name_of(address));
    socket.send(&ptr::encode(id, &question))?;
    let deadline = Instant::now() + TIMEOUT;
    let mut buffer = [0; 1_500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        // An answer to another question is not ours.
        if let Some(answer) = ptr::decode(&buffer[..length], id, &question) {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_come_from_the_file() {
        let found = servers(
            "# x\nsearch a b\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver ::1\n",
        );
        assert_eq!(
            found,
            ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse::<SocketAddr>().unwrap()]
        );
        assert_eq!(servers("nonsense"), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn unanswered_questions_hold_nothing_up() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let begun = Instant::now();
        let answer = ask(&[silent.local_addr().unwrap()], "10.0.0.5".parse().unwrap());
        assert_eq!(answer, None);
        assert!(begun.elapsed() >= TIMEOUT, "it was asked");
        let mut resolver = Resolver::start("").unwrap();
        for last in 1..=u8::MAX {
            for third in 0..20 {
                assert_eq!(resolver.name([10, 0, third, last].into()), None);
            }
        }
        assert!(resolver.asked.len() <= MAX_NAMES, "{}", resolver.asked.len());
        assert_eq!(resolver.name([127, 0, 0, 1].into()), None);
        assert!(!resolver.asked.contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
