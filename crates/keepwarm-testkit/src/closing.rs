//! A server that closes its idle connections without a word, in the worst moments, and keeps the
//! truth: which requests reached it, how often each, and which of them it left unanswered. It runs
//! on a thread of its own. It judges nothing.
//!
//! Every request has a target of its own, which is its identity; the answer is that target. What is
//! closed is always a connection between two exchanges, from the server's point of view: no response
//! is ever begun and not finished.

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

/// How long a half-closed connection is read for what still comes.
const LINGER: Duration = Duration::from_secs(5);

/// When a server closes a connection that is idle. A connection's first request is waited for, and
/// answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// When it has been idle so long, up to a tenth longer but never more than 4 ms. The clock is
    /// looked at before the socket: a request that comes in that very moment is left unanswered.
    AfterIdle(Duration),
    /// At random: right behind a response, some milliseconds later, or when the next request is
    /// already there.
    AtRandom,
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// FIN; what comes afterwards is read, and counted.
    HalfClose,
    /// FIN, and a RST to what comes afterwards.
    Close,
    /// RST.
    Reset,
}

/// What becomes of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It serves the next request, whenever that comes.
    Keep,
    /// It ends after this time, unless a request comes before.
    EndAfter(Duration, End),
    /// It ends when the next request has come, instead of an answer.
    EndOnArrival(End),
}

/// What a [`ClosingServer`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that this server ended.
    pub closed: u64,
    /// Requests that reached it whole, answered or not.
    pub requests: u64,
    /// Requests that reached it whole, and were left unanswered by a close.
    pub unanswered: u64,
    /// POSTs that reached it more than once, each counted once.
    pub doubled_posts: u64,
    /// Requests of other methods that reached it more than once, each counted once.
    pub doubled_others: u64,
}

#[derive(Debug, Default)]
struct Book {
    accepted: u64,
    closed: u64,
    unanswered: u64,
    /// By request line.
    arrivals: HashMap<String, u64>,
}

/// A server that follows a [`Habit`].
#[derive(Debug)]
pub struct ClosingServer {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ClosingServer {
    /// Listens on a free port of 127.0.0.1. The same `seed` gives the same chances.
    #[must_use]
    pub fn start(habit: Habit, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("a bound address");
        let book = Arc::new(Mutex::new(Book::default()));
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&book);
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
        Self { address, book, end: Some(end), thread: Some(thread) }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it saw so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let book = lock(&self.book);
        let doubled = |posts: bool| {
            let lines = book.arrivals.iter();
            lines.filter(|(line, times)| **times > 1 && line.starts_with("POST ") == posts).count()
        };
        Seen {
            accepted: book.accepted,
            closed: book.closed,
            requests: book.arrivals.values().sum(),
            unanswered: book.unanswered,
            doubled_posts: doubled(true) as u64,
            doubled_others: doubled(false) as u64,
        }
    }
}

impl Drop for ClosingServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            drop(thread.join());
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept_all(
    listener: std::net::TcpListener,
    habit: Habit,
    seed: u64,
    book: Arc<Mutex<Book>>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        let nth = {
            let mut book = lock(&book);
            book.accepted += 1;
            book.accepted
        };
        let dice = Dice::new(seed ^ (nth << 32));
        let guest = Guest { stream, unread: Vec::new(), book: Arc::clone(&book) };
        // The client has gone, in its own way.
        tokio::spawn(async move { drop(guest.converse(habit, dice).await) });
    }
}

/// One connection.
struct Guest {
    stream: TcpStream,
    unread: Vec<u8>,
    book: Arc<Mutex<Book>>,
}

impl Guest {
    async fn converse(mut self, habit: Habit, mut dice: Dice) -> io::Result<()> {
        let mut served = 0;
        loop {
            let fate = habit.fate(served, &mut dice);
            if let Fate::EndAfter(delay, end) = fate {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(delay) => return self.end(end).await,
                    more = self.fill() => more?,
                }
            }
            let line = loop {
                match self.take_request() {
                    Some(line) => break line,
                    None => self.fill().await?,
                }
            };
            if let Fate::EndOnArrival(end) = fate {
                lock(&self.book).unanswered += 1;
                return self.end(end).await;
            }
            let target = line.split(' ').nth(1).unwrap_or_default();
            self.stream.write_all(ok(target).as_bytes()).await?;
            served += 1;
        }
    }

    /// Ends the connection, whatever has come or is coming.
    async fn end(mut self, end: End) -> io::Result<()> {
        lock(&self.book).closed += 1;
        self.look_once();
        match end {
            End::HalfClose => {
                self.stream.shutdown().await?;
                let rest = tokio::time::timeout(LINGER, async {
                    while self.fill().await.is_ok() {
                        self.leave_unanswered();
                    }
                });
                // Beyond that, it is closed with whatever is still to come.
                drop(rest.await);
            }
            End::Close => {}
            End::Reset => {
                socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(())
    }

    /// Counts what is in the socket already, without waiting.
    fn look_once(&mut self) {
        let mut bytes = [0; 4096];
        if let Ok(count) = self.stream.try_read(&mut bytes) {
            self.unread.extend_from_slice(&bytes[..count]);
        }
        self.leave_unanswered();
    }

    fn leave_unanswered(&mut self) {
        while self.take_request().is_some() {
            lock(&self.book).unanswered += 1;
        }
    }

    /// Reads more; the client's end is an error.
    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The request line of a request that is there whole, which is booked as arrived.
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
        *lock(&self.book).arrivals.entry(line.clone()).or_default() += 1;
        Some(line)
    }
}

impl Habit {
    fn fate(self, served: u64, dice: &mut Dice) -> Fate {
        match self {
            // What fails on a new connection nobody may send again.
            _ if served == 0 => Fate::Keep,
            Self::AfterIdle(time) => {
                let spread = (time / 10).min(Duration::from_millis(4));
                let spread_us = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX).max(1);
                let late = Duration::from_micros(dice.roll(spread_us));
                Fate::EndAfter(time + late, End::by_chance(dice))
            }
            Self::AtRandom => match dice.roll(100) {
                0..6 => Fate::EndAfter(Duration::ZERO, End::by_chance(dice)),
                6..26 => {
                    Fate::EndAfter(Duration::from_micros(dice.roll(5_000)), End::by_chance(dice))
                }
                26..31 => Fate::EndOnArrival(End::by_chance(dice)),
                _ => Fate::Keep,
            },
        }
    }
}

impl End {
    fn by_chance(dice: &mut Dice) -> Self {
        [Self::HalfClose, Self::Close, Self::Reset][dice.roll(3) as usize]
    }
}
