//! A test of the rules by which closes are told apart, on sockets of our own.
//!
//! What a destroy event carries is no promise of the kernel's, only its practice. So a few
//! connections are opened on loopback and closed in known ways, and a rule that does not find what
//! was done is not used: [`SelfTest::apply`] degrades by rule, and says so.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::socket::Side;
use crate::report::histogram::Histogram;
use crate::report::host::{Destination, HostReport, Scope, SocketCloses};
use crate::tracker::self_test_sockets::SELF_TEST_IP;
use crate::watch::host::Watch;

/// Longer than a step on loopback takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which rules hold on this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    /// Which end's FIN came first.
    pub closer: bool,
    /// An abort by SO_LINGER 0, and by whom.
    pub abort: bool,
    /// An abort because data was left unread.
    pub unread: bool,
    /// Requests, from the segments with data.
    pub requests: bool,
}

impl SelfTest {
    /// Opens five connections on loopback, closes them in known ways, and looks whether the kernel
    /// tells. Takes about half a second, and needs no privilege. A rule is called broken when it
    /// failed twice: a host in a storm of closes may drown one test.
    ///
    /// # Errors
    /// When there can be no watch, or no connection on loopback.
    pub fn check() -> Result<SelfTest, Error> {
        match SelfTest::check_once()? {
            rules if rules.hold() => Ok(rules),
            _ => SelfTest::check_once(),
        }
    }

    fn check_once() -> Result<SelfTest, Error> {
        let failed = |error: io::Error| Error::io(Operation::Watch, &error);
        let listener = TcpListener::bind((SELF_TEST_IP, 0)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let watch =
            Watch::start(Scope { port: Some(port), ip: Some(SELF_TEST_IP.into()), side: None })?;
        play(&listener).map_err(failed)?;
        let traffic = watch.finish(PATIENCE)?;
        let end = |side| traffic.destinations.iter().find(|one| one.side == side);
        Ok(SelfTest::judge(end(Side::Client), end(Side::Server)))
    }

    fn judge(client: Option<&Destination>, server: Option<&Destination>) -> SelfTest {
        let closed = |end: Option<&Destination>| end.map(|end| end.closed).unwrap_or_default();
        let (ours, theirs) = (closed(client), closed(server));
        let requests = server.and_then(|server| server.requests.max());
        SelfTest {
            closer: (ours.local_fin, ours.remote_fin) == (1, 1)
                && (theirs.local_fin, theirs.remote_fin) == (1, 1),
            abort: (ours.local_rst, ours.remote_rst) == (1, 1) && theirs.local_rst == 1,
            unread: ours.undrained == 1 && theirs.remote_rst == 2,
            requests: requests == Some(REQUESTS),
        }
    }

    /// Whether all of them hold.
    pub fn hold(&self) -> bool {
        self.broken().is_empty()
    }

    /// Those that do not, in words.
    pub fn broken(&self) -> Vec<&'static str> {
        let rules = [
            (self.closer, "who closed first"),
            (self.abort, "who aborted"),
            (self.unread, "data left unread"),
            (self.requests, "requests per connection"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
    }

    /// Takes back what rests on a rule that does not hold.
    pub fn apply(&self, traffic: &mut HostReport) {
        for one in &mut traffic.destinations {
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

/// Requests on one of the connections.
const REQUESTS: u32 = 3;

/// Each step waits for TCP to show the one before.
fn play(listener: &TcpListener) -> io::Result<()> {
    let connect = || -> io::Result<(TcpStream, TcpStream)> {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_nodelay(true)?;
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
    close_then_read_the_end(client, server)?;
    // The server does.
    let (client, server) = connect()?;
    close_then_read_the_end(server, client)?;
    // Each aborts, with nothing unread.
    let (client, server) = connect()?;
    abort_then_read_the_end(client, server)?;
    let (client, server) = connect()?;
    abort_then_read_the_end(server, client)?;
    // The client leaves data unread.
    let (client, mut server) = connect()?;
    server.write_all(b"never read")?;
    let deadline = Instant::now() + PATIENCE;
    while client.peek(&mut [0; 16])? < 10 && Instant::now() < deadline {}
    drop(client);
    let _ = server.read(&mut [0; 1]);
    Ok(())
}

fn close_then_read_the_end(first: TcpStream, mut second: TcpStream) -> io::Result<()> {
    drop(first);
    second.read(&mut [0; 1]).map(drop)
}

fn abort_then_read_the_end(first: TcpStream, mut second: TcpStream) -> io::Result<()> {
    crate::kernel::sys::abort_on_close(&first)?;
    drop(first);
    // ECONNRESET is what was waited for.
    let _ = second.read(&mut [0; 1]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn every_rule_holds_on_this_kernel() {
        let rules = SelfTest::check().unwrap();
        assert!(rules.hold(), "{:?}", rules.broken());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_left_of_the_test_is_in_nobodys_traffic() {
        SelfTest::check().unwrap();
        let look = |scope| crate::look_once(scope).unwrap().destinations;
        let on_stage = Scope { ip: Some(SELF_TEST_IP.into()), ..Scope::default() };
        assert!(!look(on_stage).is_empty(), "there is something left");
        let services = look(Scope::default()).into_iter().filter_map(|one| one.service);
        assert!(services.into_iter().all(|service| service.ip() != SELF_TEST_IP));
    }

    #[test]
    fn a_kernel_that_tells_nothing_breaks_every_rule() {
        let rules = SelfTest::judge(None, None);
        assert_eq!(rules.broken().len(), 4);
        assert!(!rules.hold());
    }
}
