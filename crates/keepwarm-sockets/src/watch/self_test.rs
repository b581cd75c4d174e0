//! Self-test: closes a few loopback connections in known ways and checks that this kernel reports
//! them as expected.
//!
//! Owns the test's connections, its verdict on each rule of the classifier, and the removal of
//! results that rest on a rule that failed ([`SelfTest::apply`]). Does not classify: it runs an
//! ordinary [`Watch`]. The kernel does not promise the content of a destroy event; the rules rest
//! on its practice, so each one is tested before it is believed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::socket::Side;
use crate::report::closes::SocketCloses;
use crate::report::destination::Destination;
use crate::report::histogram::Histogram;
use crate::report::host::{HostReport, Scope};
use crate::tracker::self_test_sockets::SELF_TEST_IP;
use crate::watch::host::Watch;

/// Time limit of each step: longer than a step on loopback takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Verdict of the self-test on each rule of the classifier: true if the rule holds on this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelfTest {
    /// The socket whose FIN came first is recognised.
    pub closer: bool,
    /// An abort by SO_LINGER 0 is recognised, and the socket that aborted.
    pub abort: bool,
    /// An abort because data was left unread is recognised.
    pub unread: bool,
    /// Requests are counted correctly from the segments with data.
    pub requests: bool,
}

impl SelfTest {
    /// Opens five connections on loopback, closes them in known ways, and checks what the kernel
    /// reports. Takes about half a second, and needs no privilege. If a rule fails, the whole test
    /// runs again and the second result counts: a storm of closes on the host may drown one test.
    ///
    /// # Errors
    /// No watch can be started, or no connection opened on loopback.
    pub fn check() -> Result<SelfTest, Error> {
        match SelfTest::check_once()? {
            result if result.passed() => Ok(result),
            _ => SelfTest::check_once(),
        }
    }

    fn check_once() -> Result<SelfTest, Error> {
        let failed = |error: io::Error| Error::io(Operation::Watch, &error);
        let listener = TcpListener::bind((SELF_TEST_IP, 0)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let watch =
            Watch::start(Scope { port: Some(port), ip: Some(SELF_TEST_IP.into()), side: None })?;
        let held = close_in_known_ways(&listener).map_err(failed)?;
        let report = watch.finish(PATIENCE)?;
        // Without success the port is free in a minute.
        let _ = release_port(&listener, held);
        let seen_from = |side| report.destinations.iter().find(|one| one.side == side);
        Ok(SelfTest::judge(seen_from(Side::Client), seen_from(Side::Server)))
    }

    fn judge(client: Option<&Destination>, server: Option<&Destination>) -> SelfTest {
        let closed = |side: Option<&Destination>| side.map(|one| one.closed).unwrap_or_default();
        let (client_closes, server_closes) = (closed(client), closed(server));
        let requests = server.and_then(|server| server.requests.max());
        SelfTest {
            closer: (client_closes.local_fin, client_closes.remote_fin) == (1, 1)
                && (server_closes.local_fin, server_closes.remote_fin) == (1, 1),
            abort: (client_closes.local_rst, client_closes.remote_rst) == (1, 1)
                && server_closes.local_rst == 1,
            unread: client_closes.undrained == 1 && server_closes.remote_rst == 2,
            requests: requests == Some(REQUESTS),
        }
    }

    /// Returns true if every rule holds.
    pub fn passed(&self) -> bool {
        self.failures().is_empty()
    }

    /// Names the rules that failed, in words for a reader.
    pub fn failures(&self) -> Vec<&'static str> {
        let rules = [
            (self.closer, "who closed first"),
            (self.abort, "who aborted"),
            (self.unread, "data left unread"),
            (self.requests, "requests per connection"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
    }

    /// Removes from a report the results that rest on a failed rule: closes become unclassified (or
    /// lose the mark of unread data), requests become unknown.
    pub fn apply(&self, report: &mut HostReport) {
        for one in &mut report.destinations {
            self.degrade(one);
        }
    }

    fn degrade(&self, one: &mut Destination) {
        self.degrade_closes(&mut one.closed);
        self.degrade_closes(&mut one.server_only.closed);
        if !self.requests {
            one.requests = Histogram::default();
            one.server_only.requests = Histogram::default();
        }
    }

    fn degrade_closes(&self, closed: &mut SocketCloses) {
        if !self.unread {
            closed.local_rst += std::mem::take(&mut closed.undrained);
        }
        if !self.abort {
            let SocketCloses { local_rst, remote_rst, undrained, .. } = *closed;
            closed.unclassified += local_rst + remote_rst + undrained;
            (closed.local_rst, closed.remote_rst, closed.undrained) = (0, 0, 0);
        }
        if !self.closer {
            closed.unclassified += closed.local_fin + closed.remote_fin;
            (closed.local_fin, closed.crossed_fin, closed.remote_fin) = (0, 0, 0);
        }
    }
}

/// Requests on the connection that the client closes first.
const REQUESTS: u32 = 3;

/// Opens and closes the five connections. Each step waits until TCP shows the result of the step
/// before it. Returns the client's address of the connection that the server closed first.
fn close_in_known_ways(listener: &TcpListener) -> io::Result<SocketAddr> {
    let connect = || -> io::Result<(TcpStream, TcpStream)> {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_nodelay(true)?;
        }
        Ok((client, server))
    };
    // The client closes first, after some requests.
    let (mut client, mut server) = connect()?;
    for _ in 0..REQUESTS {
        client.write_all(b"ping")?;
        server.read_exact(&mut [0; 4])?;
        server.write_all(b"pong")?;
        client.read_exact(&mut [0; 4])?;
    }
    close_then_await_eof(client, server)?;
    // The server closes first.
    let (client, server) = connect()?;
    let held = client.local_addr()?;
    close_then_await_eof(server, client)?;
    // The client aborts with nothing unread, then the server does on another connection.
    let (client, server) = connect()?;
    abort_then_await_reset(client, server)?;
    let (client, server) = connect()?;
    abort_then_await_reset(server, client)?;
    // The client closes with data unread.
    let (client, mut server) = connect()?;
    server.write_all(b"never read")?;
    let deadline = Instant::now() + PATIENCE;
    while client.peek(&mut [0; 16])? < 10 && Instant::now() < deadline {}
    drop(client);
    let _ = server.read(&mut [0; 1]);
    Ok(held)
}

/// Ends the TIME_WAIT that the server holds. It would keep the listener's port, one of the ephemeral
/// range, from every connect(2) of the network namespace for a minute: a port that bind(2) chose is
/// shared with none (`__inet_hash_connect`, net/ipv4/inet_hashtables.c), so the last of the range
/// would never be taken. A SYN from the same address ends the TIME_WAIT, and an abort leaves none.
fn release_port(listener: &TcpListener, client: SocketAddr) -> io::Result<()> {
    let again = crate::kernel::sys::connect_from(client, listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    abort_then_await_reset(again, server)
}

fn close_then_await_eof(first: TcpStream, mut second: TcpStream) -> io::Result<()> {
    drop(first);
    second.read(&mut [0; 1]).map(drop)
}

fn abort_then_await_reset(first: TcpStream, mut second: TcpStream) -> io::Result<()> {
    crate::kernel::sys::abort_on_close(&first)?;
    drop(first);
    // The expected result is ECONNRESET.
    let _ = second.read(&mut [0; 1]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enters a network namespace without the sockets that other tests, and their self-tests, leave.
    #[cfg(target_os = "linux")]
    fn namespace() -> Option<keepwarm_testkit::namespace::Namespace> {
        let Ok(namespace) = keepwarm_testkit::namespace::Namespace::make() else {
            keepwarm_testkit::skipped::because("this user may not make a network namespace");
            return None;
        };
        namespace.enter().unwrap();
        Some(namespace)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_rule_holds_on_this_kernel() {
        let result = SelfTest::check().unwrap();
        assert!(result.passed(), "{:?}", result.failures());
    }

    /// A TIME_WAIT of the test has two ports that the kernel chose: the scope alone shows which one
    /// is the service's.
    #[cfg(target_os = "linux")]
    #[test]
    fn no_report_counts_self_test_sockets() {
        let Some(_namespace) = namespace() else { return };
        // One in two has the lower port on the client's side.
        for tests in 1..=4 {
            let result = SelfTest::check().unwrap();
            assert!(result.passed(), "{:?}", result.failures());
            let dump = |scope| crate::dump_once(scope).unwrap().destinations;
            let scope_of_test = Scope { ip: Some(SELF_TEST_IP.into()), ..Scope::default() };
            let left: u64 = dump(scope_of_test).iter().map(|one| one.time_wait).sum();
            assert!(left >= tests, "{left} TIME_WAITs of {tests} tests");
            assert_eq!(dump(Scope::default()), [], "no other socket is here");
        }
    }

    /// TIME_WAITs left by the test have the client's ports, which connect(2) chose and may choose
    /// again for any other destination.
    #[cfg(target_os = "linux")]
    #[test]
    fn self_test_releases_its_listeners_port() {
        use crate::kernel::dump::{Dumper, Filter};
        let Some(_namespace) = namespace() else { return };
        let left = || {
            let mut left = Vec::new();
            let add = |row: &crate::kernel::socket::Socket| {
                if crate::tracker::self_test_sockets::is_of_self_test(row) {
                    left.push(row.local.ip() == SELF_TEST_IP && row.remote.ip() != SELF_TEST_IP);
                }
            };
            let filter = Filter {
                states: crate::kernel::socket::State::TimeWait.into(),
                ..Filter::default()
            };
            Dumper::open().unwrap().each(&filter, add).unwrap();
            left
        };
        assert!(SelfTest::check().unwrap().passed());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = left();
            assert!(!left.is_empty(), "the client that closed first holds one");
            if !left.contains(&true) {
                return;
            }
            assert!(Instant::now() < deadline, "a server's TIME_WAIT");
        }
    }

    #[test]
    fn missing_evidence_fails_every_rule() {
        let result = SelfTest::judge(None, None);
        assert_eq!(result.failures().len(), 4);
        assert!(!result.passed());
    }
}
