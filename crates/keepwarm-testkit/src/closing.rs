//! A server that closes its idle connections unannounced, in the worst moments, and keeps the
//! truth: the requests that reached it, how often each, and the ones it left unanswered. Runs on a
//! thread of its own. Judges nothing.
//!
//! Every request has a target of its own, which is its identity; the answer is that target. From
//! the server's point of view it always closes between two exchanges: it finishes every response
//! that it begins.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::dice::Dice;
use crate::scripted::ok;

/// Time for which a half-closed connection is still read.
const LINGER: Duration = Duration::from_secs(5);

/// The rule by which a server closes idle connections. It waits for the first request of each
/// connection, and answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Closes after this idle time, or up to a tenth later, but never more than 4 ms later. The
    /// server checks the clock before the socket: a request that arrives at that moment stays
    /// unanswered.
    AfterIdle(Duration),
    /// Closes at random: right behind a response, some milliseconds later, or when the next request
    /// has already arrived.
    AtRandom,
}

/// The way in which the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseKind {
    /// FIN. Later requests are read and counted.
    HalfClose,
    /// FIN, and an RST in answer to later bytes.
    Close,
    /// RST.
    Reset,
}

/// The fate of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdleFate {
    /// Serves the next request, at any time.
    Keep,
    /// Closes after this time, unless a request arrives before.
    CloseAfter(Duration, CloseKind),
    /// Closes instead of answering when the next request has arrived.
    CloseOnArrival(CloseKind),
}

/// The truth that a [`ClosingServer`] has kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed by this server.
    pub closed: u64,
    /// Requests that reached the server whole, answered or not.
    pub requests: u64,
    /// Requests that reached the server whole, and were left unanswered by a close.
    pub unanswered: u64,
    /// POSTs that reached the server more than once, each counted once.
    pub doubled_posts: u64,
    /// Requests of other methods that reached the server more than once, each counted once.
    pub doubled_others: u64,
}

/// The counters behind [`Seen`].
#[derive(Debug, Default)]
struct Log {
    accepted: u64,
    closed: u64,
    unanswered: u64,
    /// Arrivals of each request line.
    arrivals: HashMap<String, u64>,
}

/// A server that follows a [`Habit`].
#[derive(Debug)]
pub struct ClosingServer {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ClosingServer {
    /// Listens on a free port of 127.0.0.1. Equal seeds give equal choices.
    #[must_use]
    pub fn start(habit: Habit, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("a bound address");
        let log = Arc::new(Mutex::new(Log::default()));
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&log);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept_all(listener, habit, seed, shared) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, log, end: Some(end), thread: Some(thread) }
    }

    /// Returns `http://127.0.0.1:port`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the truth so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let log = lock(&self.log);
        let doubled = |posts: bool| {
            let lines = log.arrivals.iter();
            lines.filter(|(line, times)| **times > 1 && line.starts_with("POST ") == posts).count()
        };
        Seen {
            accepted: log.accepted,
            closed: log.closed,
            requests: log.arrivals.values().sum(),
            unanswered: log.unanswered,
            doubled_posts: doubled(true) as u64,
            doubled_others: doubled(false) as u64,
        }
    }
}

impl Drop for ClosingServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            drop(thread.join());
        }
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept_all(
    listener: std::net::TcpListener,
    habit: Habit,
    seed: u64,
    log: Arc<Mutex<Log>>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        let nth = {
            let mut log = lock(&log);
            log.accepted += 1;
            log.accepted
        };
        let dice = Dice::new(seed ^ (nth << 32));
        let guest = Guest { stream, unread: Vec::new(), log: Arc::clone(&log) };
        // An error means that the client has gone.
        tokio::spawn(async move { drop(guest.converse(habit, dice).await) });
    }
}

/// A connection of a client.
struct Guest {
    stream: TcpStream,
    unread: Vec<u8>,
    log: Arc<Mutex<Log>>,
}

impl Guest {
    async fn converse(mut self, habit: Habit, mut dice: Dice) -> io::Result<()> {
        let mut served = 0;
        loop {
            let fate = habit.fate(served, &mut dice);
            if let IdleFate::CloseAfter(delay, kind) = fate {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(delay) => return self.close(kind).await,
                    more = self.fill() => more?,
                }
            }
            let line = loop {
                match self.take_request() {
                    Some(line) => break line,
                    None => self.fill().await?,
                }
            };
            if let IdleFate::CloseOnArrival(kind) = fate {
                lock(&self.log).unanswered += 1;
                return self.close(kind).await;
            }
            let target = line.split(' ').nth(1).unwrap_or_default();
            self.stream.write_all(ok(target).as_bytes()).await?;
            served += 1;
        }
    }

    /// Closes the connection, even if requests have arrived or are on their way.
    async fn close(mut self, kind: CloseKind) -> io::Result<()> {
        lock(&self.log).closed += 1;
        self.read_without_waiting();
        match kind {
            CloseKind::HalfClose => {
                self.stream.shutdown().await?;
                let rest = tokio::time::timeout(LINGER, async {
                    while self.fill().await.is_ok() {
                        self.leave_unanswered();
                    }
                });
                // After that time it is closed, even if more requests are on their way.
                drop(rest.await);
            }
            CloseKind::Close => {}
            CloseKind::Reset => {
                socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(())
    }

    /// Counts requests that are in the socket already.
    fn read_without_waiting(&mut self) {
        let mut bytes = [0; 4096];
        if let Ok(count) = self.stream.try_read(&mut bytes) {
            self.unread.extend_from_slice(&bytes[..count]);
        }
        self.leave_unanswered();
    }

    fn leave_unanswered(&mut self) {
        while self.take_request().is_some() {
            lock(&self.log).unanswered += 1;
        }
    }

    /// Reads more bytes. Returns an error at the client's end.
    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Takes a request that has arrived whole, counts it, and returns its request line.
    fn take_request(&mut self) -> Option<String> {
        let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().expect("a length"));
        if self.unread.len() < end + length {
            return None;
        }
        self.unread.drain(..end + length);
        let line = head.lines().next().unwrap_or_default().to_owned();
        *lock(&self.log).arrivals.entry(line.clone()).or_default() += 1;
        Some(line)
    }
}

impl Habit {
    fn fate(self, served: u64, dice: &mut Dice) -> IdleFate {
        match self {
            // A client may not resend a request that fails on a new connection.
            _ if served == 0 => IdleFate::Keep,
            Self::AfterIdle(time) => {
                let spread = (time / 10).min(Duration::from_millis(4));
                let spread_us = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX).max(1);
                let late = Duration::from_micros(dice.roll(spread_us));
                IdleFate::CloseAfter(time + late, CloseKind::by_chance(dice))
            }
            Self::AtRandom => match dice.roll(100) {
                0..6 => IdleFate::CloseAfter(Duration::ZERO, CloseKind::by_chance(dice)),
                6..26 => {
                    let delay = Duration::from_micros(dice.roll(5_000));
                    IdleFate::CloseAfter(delay, CloseKind::by_chance(dice))
                }
                26..31 => IdleFate::CloseOnArrival(CloseKind::by_chance(dice)),
                _ => IdleFate::Keep,
            },
        }
    }
}

impl CloseKind {
    fn by_chance(dice: &mut Dice) -> Self {
        [Self::HalfClose, Self::Close, Self::Reset][dice.roll(3) as usize]
    }
}
