//! Requests per connection off loopback: bodies of any size in both directions, at any loss, plain and
//! behind handshakes of TLS, as each side's host counts them. `just widths` prints how wide the bounds are.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]
// The table is for the reader of a run.
#![allow(clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use keepwarm_sockets::{Destination, HostReport, Scope, Side, Watch};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::{Conditions, Wire};

const SETTLE: Duration = Duration::from_secs(20);
/// Heads, and bodies of up to 1 MiB behind them.
const SIZES: [usize; 5] = [90, 700, 1_300, 30_000, 1 << 20];
/// Connections of each kind at once, and one after the other.
const CONNECTIONS: u64 = 2;
/// For so long those of a kind follow one another in `just widths`, as those of a service do.
const SPAN: Duration = Duration::from_secs(20);

/// Connections that each carry so many requests and answers of these sizes.
#[derive(Debug, Clone, Copy)]
struct Kind {
    port: u16,
    request: usize,
    answer: usize,
    requests: u64,
    /// No two requests in succession are as long.
    is_uneven: bool,
    /// In front of the requests, and a farewell behind them.
    handshake: Option<Handshake>,
}

/// Sizes of the messages of a handshake of TLS.
#[derive(Debug, Clone, Copy)]
struct Handshake {
    hello: usize,
    /// Hello, certificate and Finished of the server.
    certificate: usize,
    /// Messages of the client before its first request, each in a segment of its own.
    finished: &'static [usize],
    /// Finished of the server's, which the client of TLS 1.2 waits for; 0: none.
    reply: usize,
    /// Tickets of the server, each in a segment of its own.
    tickets: &'static [usize],
    /// The client's close_notify; 0: it says none.
    farewell: usize,
}

/// As OpenSSL, Go with post-quantum keys, Java with TLS 1.2, and a session that is resumed send them.
const HANDSHAKES: [Handshake; 4] = [
    Handshake {
        hello: 517,
        certificate: 1_290,
        finished: &[80],
        reply: 0,
        tickets: &[255, 255],
        farewell: 0,
    },
    Handshake {
        hello: 1_730,
        certificate: 2_400,
        finished: &[64],
        reply: 0,
        tickets: &[200],
        farewell: 24,
    },
    Handshake {
        hello: 280,
        certificate: 3_100,
        finished: &[75, 6, 45],
        reply: 51,
        tickets: &[],
        farewell: 31,
    },
    Handshake {
        hello: 790,
        certificate: 240,
        finished: &[80],
        reply: 0,
        tickets: &[],
        farewell: 24,
    },
];

impl Kind {
    /// Returns the bytes of a request by its number.
    fn request(&self, number: u64) -> usize {
        const BYTES: [usize; 5] = [0, 13, 41, 5, 29];
        let more = usize::try_from(number).map_or(0, |number| BYTES[number % BYTES.len()]);
        self.request + if self.is_uneven { more } else { 0 }
    }

    /// Every message fits one segment of 1,448 bytes.
    fn is_exact(&self) -> bool {
        self.request.max(self.answer) <= 1_448
    }

    /// Returns how many connections there were.
    fn play(&self, wire: &Wire) -> u64 {
        let address = SocketAddr::new(wire.server_ip(false), self.port);
        let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
        let (begun, mut count) = (Instant::now(), 0);
        while count == 0 || (is_long() && begun.elapsed() < SPAN) {
            count += CONNECTIONS;
            thread::scope(|scope| {
                for _ in 0..CONNECTIONS {
                    let client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
                    let (server, _) = listener.accept().unwrap();
                    scope.spawn(|| self.ask(client));
                    scope.spawn(|| self.answer(server));
                }
            });
        }
        count
    }

    fn ask(&self, mut client: TcpStream) {
        client.set_nodelay(true).unwrap();
        let mut answer = vec![0; self.answer];
        if let Some(handshake) = self.handshake {
            client.write_all(&vec![22; handshake.hello]).unwrap();
            client.read_exact(&mut vec![0; handshake.certificate]).unwrap();
            for size in handshake.finished {
                client.write_all(&vec![22; *size]).unwrap();
            }
            client.read_exact(&mut vec![0; handshake.reply]).unwrap();
        }
        let mut tickets = self.handshake.map_or(0, |one| one.tickets.iter().sum::<usize>());
        for number in 0..self.requests {
            client.write_all(&vec![b'?'; self.request(number)]).unwrap();
            client.read_exact(&mut vec![0; std::mem::take(&mut tickets)]).unwrap();
            client.read_exact(&mut answer).unwrap();
        }
        if let Some(handshake) = self.handshake {
            client.write_all(&vec![21; handshake.farewell]).unwrap();
        }
    }

    fn answer(&self, mut server: TcpStream) {
        server.set_nodelay(true).unwrap();
        let answer = vec![b'!'; self.answer];
        if let Some(handshake) = self.handshake {
            server.read_exact(&mut vec![0; handshake.hello]).unwrap();
            server.write_all(&vec![22; handshake.certificate]).unwrap();
            server.read_exact(&mut vec![0; handshake.finished.iter().sum()]).unwrap();
            server.write_all(&vec![22; handshake.reply]).unwrap();
            for size in handshake.tickets {
                server.write_all(&vec![22; *size]).unwrap();
            }
        }
        for number in 0..self.requests {
            server.read_exact(&mut vec![0; self.request(number)]).unwrap();
            server.write_all(&answer).unwrap();
        }
        let farewell = self.handshake.map_or(0, |handshake| handshake.farewell);
        server.read_exact(&mut vec![0; farewell]).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }

    /// Checks what one side's host has counted. Returns the upper bound, as a multiple of the lower.
    fn check(&self, seen: &Destination, connections: u64, loss: u32) -> f64 {
        let context = format!("{self:?} at {:?}, loss {loss} %", seen.side);
        let (least, most) = (&seen.requests, &seen.requests_at_most);
        assert_eq!((least.count(), most.count()), (connections, connections), "{context}");
        let truth = u32::try_from(self.requests).unwrap();
        let (least_max, most_min) = (least.max().unwrap(), most.quantile(0.0).unwrap());
        assert!(least_max <= truth, "{context}: at least {least_max}");
        // Above 128 a histogram rounds by 1.6 %.
        assert!(most_min >= truth, "{context}: at most {most_min}");
        if loss == 0 && self.is_exact() && self.handshake.is_none() {
            let all = u64::from(truth) * connections;
            assert_eq!((least.total(), most.total()), (all, all), "{context}");
        }
        most.total() as f64 / least.total() as f64
    }
}

fn is_long() -> bool {
    std::env::var_os("KEEPWARM_WIDTHS").is_some()
}

fn watch(host: &Namespace) -> Watch {
    host.inside(|| Ok(Watch::start(Scope::default()).unwrap())).unwrap()
}

fn only(report: &HostReport, side: Side, port: u16) -> &Destination {
    let is_it = |one: &&Destination| {
        one.side == side && one.service.is_some_and(|service| service.port() == port)
    };
    report.destinations.iter().find(is_it).unwrap()
}

/// Plays requests and answers of every pair of sizes. Returns the widths that each side's host has told,
/// behind their kinds.
fn widths(
    wire: &Wire,
    loss: u32,
    handshake: Option<usize>,
    is_uneven: bool,
) -> Vec<(Kind, Side, f64)> {
    let watches = [&wire.client, &wire.server].map(watch);
    wire.set(Conditions::delay(Duration::from_millis(1)).losing(loss, 7));
    let sizes = SIZES.into_iter().flat_map(|of| SIZES.map(|answer| (of, answer)));
    let first = 5_000 + 100 * handshake.map_or(0, |one| u16::try_from(one + 1).unwrap());
    let kinds: Vec<Kind> = (first..)
        .zip(sizes)
        .map(|(port, (request, answer))| {
            let requests = if request.max(answer) > 100_000 { 3 } else { 24 };
            let handshake = handshake.map(|one| HANDSHAKES[one]);
            Kind { port, request, answer, requests, is_uneven, handshake }
        })
        .collect();
    let counts: Vec<u64> = thread::scope(|scope| {
        let plays: Vec<_> = kinds.iter().map(|kind| scope.spawn(|| kind.play(wire))).collect();
        plays.into_iter().map(|play| play.join().unwrap()).collect()
    });
    let reports = watches.map(|watch| watch.finish(SETTLE).unwrap());
    let sides = reports.iter().zip([Side::Client, Side::Server]);
    sides
        .flat_map(|(report, side)| {
            let check = |(kind, count): (&Kind, &u64)| {
                (*kind, side, kind.check(only(report, side, kind.port), *count, loss))
            };
            kinds.iter().zip(&counts).map(check).collect::<Vec<_>>()
        })
        .collect()
}

fn median(widths: &[(Kind, Side, f64)]) -> f64 {
    let mut widths: Vec<f64> = widths.iter().map(|(.., width)| *width).collect();
    widths.sort_by(f64::total_cmp);
    widths[widths.len() / 2]
}

#[test]
fn bounds_contain_the_requests() {
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    let kinds: &[(Option<usize>, bool)] = match is_long() {
        true => &[
            (None, false),
            (Some(0), false),
            (Some(1), false),
            (Some(2), false),
            (Some(3), false),
            (Some(1), true),
        ],
        false => &[(None, false), (Some(1), false), (Some(3), true)],
    };
    let (mut plain, mut over_tls, mut uneven) = (Vec::new(), Vec::new(), Vec::new());
    println!("loss  kind                 median  widest  exact");
    for loss in [0, 2, 5] {
        for (handshake, is_uneven) in kinds.iter().copied() {
            let these = widths(&wire, loss, handshake, is_uneven);
            let widest = these.iter().map(|(.., width)| *width).fold(1.0, f64::max);
            let exact = these.iter().filter(|(.., width)| *width == 1.0).count();
            let name = handshake.map_or("plain".to_owned(), |one| format!("handshake {one}"));
            let name = if is_uneven { name + ", uneven" } else { name };
            let (median, all) = (median(&these), these.len());
            println!("{loss} %   {name:<20} {median:>6.2} {widest:>7.1}  {exact} of {all}");
            if loss == 0 && handshake.is_none() {
                assert!(median <= 2.0, "without losses: {median}");
            }
            match handshake {
                None => plain.extend(these),
                Some(_) if is_uneven => uneven.extend(these),
                Some(_) => over_tls.extend(these),
            }
        }
    }
    let [plain, over_tls, uneven] = [plain, over_tls, uneven].map(|widths| median(&widths));
    println!(
        "median: plain {plain:.2}, behind handshakes {over_tls:.2}, uneven requests {uneven:.2}"
    );
    // Losses widen what no connection shows for certain.
    assert!(plain <= 2.5, "plain: {plain}");
    // Three requests behind a handshake may be one: a handshake takes up to six segments.
    let over_tls = over_tls.max(uneven);
    assert!(over_tls <= 5.0, "behind handshakes of TLS: {over_tls}");
}

/// The sizes of TLS 1.3 as OpenSSL and Go send them, at a port where it is usual; `hello`: that of the
/// client, `farewell`: whether it says close_notify.
fn over_tls(wire: &Wire, port: u16, requests: usize, hello: usize, farewell: bool) {
    let address = SocketAddr::new(wire.server_ip(false), port);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let mut client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    [&client, &server].iter().for_each(|one| one.set_nodelay(true).unwrap());
    let mut send = |by_client: bool, bytes: usize| {
        let (from, to) =
            if by_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.write_all(&vec![22; bytes]).unwrap();
        to.read_exact(&mut vec![0; bytes]).unwrap();
    };
    send(true, hello);
    send(false, 1_200);
    send(true, 80);
    send(false, 250);
    for _ in 0..requests {
        send(true, 180);
        send(false, 900);
    }
    if farewell {
        send(true, 24);
    }
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

#[test]
fn handshakes_are_no_requests_where_tls_is_usual() {
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    const PORT: u16 = 8_443;
    for requests in [1, 2, 5, 20, 100] {
        let watches = [&wire.client, &wire.server].map(watch);
        for (hello, farewell) in [(300, false), (517, true), (1_800, false), (1_800, true)] {
            over_tls(&wire, PORT, requests, hello, farewell);
        }
        for (watch, side) in watches.into_iter().zip([Side::Client, Side::Server]) {
            let report = watch.finish(SETTLE).unwrap();
            let seen = only(&report, side, PORT);
            let (least, most) = (&seen.requests, &seen.requests_at_most);
            let context = format!("{requests} requests at {side:?}: {least:?} to {most:?}");
            assert_eq!((least.count(), most.count()), (4, 4), "{context}");
            let truth = u32::try_from(requests).unwrap();
            assert!(least.max().unwrap() <= truth, "{context}");
            assert!(most.quantile(0.0).unwrap() >= truth, "{context}");
            let width = most.quantile(0.5).unwrap() as f64 / least.quantile(0.5).unwrap() as f64;
            // How many segments a handshake took is not known: one to four, and a farewell.
            assert!(width <= if requests < 10 { 7.0 } else { 2.0 }, "{context}");
        }
    }
}

/// Asks so many times behind a handshake of TLS 1.3, as OpenSSL sends it, and says farewell.
fn ask_over_tls(client: TcpStream, requests: usize) {
    let mut client = client;
    client.set_nodelay(true).unwrap();
    let mut exchange = |sent: &[usize], received: usize| {
        sent.iter().for_each(|bytes| client.write_all(&vec![22; *bytes]).unwrap());
        client.read_exact(&mut vec![0; received]).unwrap();
    };
    exchange(&[517], 1_290);
    exchange(&[80, 180], 255 + 900);
    (1..requests).for_each(|_| exchange(&[180], 900));
    client.write_all(&[21; 24]).unwrap();
}

fn answer_over_tls(server: TcpStream) {
    let mut server = server;
    server.set_nodelay(true).unwrap();
    server.read_exact(&mut [0; 517]).unwrap();
    server.write_all(&[22; 1_290]).unwrap();
    server.read_exact(&mut [0; 80]).unwrap();
    server.write_all(&[22; 255]).unwrap();
    let mut request = [0; 180];
    while server.read_exact(&mut request).is_ok() {
        server.write_all(&[23; 900]).unwrap();
    }
}

/// A service whose connections carry one request each, or three, until each host's watch has followed
/// enough of them from their first segment to their last.
#[test]
fn followed_connections_make_requests_over_tls_exact() {
    const PATIENCE: Duration = Duration::from_secs(180);
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    wire.set(Conditions::delay(Duration::from_millis(10)));
    let address = SocketAddr::new(wire.server_ip(false), 5_000);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let watches = [&wire.client, &wire.server].map(watch);
    let is_known = |watch: &Watch, side: Side| {
        let report = watch.snapshot();
        let is_it = |one: &&Destination| one.side == side && one.service == Some(address);
        let seen = report.destinations.iter().find(is_it);
        seen.is_some_and(|seen| {
            seen.handshake == keepwarm_sockets::Handshake::Tls && seen.requests.count() > 8
        })
    };
    let (asked, is_over, is_served) =
        (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok((server, _)) = listener.accept() {
                if is_served.load(SeqCst) {
                    return;
                }
                scope.spawn(|| answer_over_tls(server));
            }
        });
        let clients = [1, 1, 3].map(|requests| {
            let (asked, is_over, wire) = (&asked, &is_over, &wire);
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    let client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
                    ask_over_tls(client, requests);
                    asked.fetch_add(requests, SeqCst);
                }
            })
        });
        let are_known =
            || is_known(&watches[0], Side::Client) && is_known(&watches[1], Side::Server);
        while !are_known() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(100));
        }
        is_over.store(true, SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
        is_served.store(true, SeqCst);
        wire.client.inside(|| TcpStream::connect(address)).unwrap();
    });
    for (watch, side) in watches.into_iter().zip([Side::Client, Side::Server]) {
        let report = watch.finish(SETTLE).unwrap();
        let seen = only(&report, side, 5_000);
        let truth = asked.load(SeqCst) as u64;
        let (least, most) = (seen.requests.total(), seen.requests_at_most.total());
        let context = format!("{truth} requests at {side:?}: {least} to {most}");
        assert!(least <= truth && truth <= most, "{context}");
        assert_eq!(seen.handshake, keepwarm_sockets::Handshake::Tls, "{context}");
        // A busy machine sends some segments twice: those connections have bounds.
        assert!(most * 10 <= least * 13, "{context}");
    }
}
