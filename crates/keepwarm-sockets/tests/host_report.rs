//! Reports of many destinations against connections whose truth is known by construction.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keepwarm_sockets::{
    ConnectionCloses, Destination, HostReport, Owner, OwnerEvidence, Scope, Side, SideEvidence,
    SocketCloses, Tracing, Watch, dump_once,
};
use keepwarm_testkit::churn::{Family, Truth, Upstream, Way};
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;

const N: u64 = 20;
const SETTLE: Duration = Duration::from_secs(20);

/// Runs one test at a time: every watch receives the death of every socket on the host.
fn alone() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_port(port: u16) -> Scope {
    Scope::of_port(port)
}

#[track_caller]
fn only(report: &HostReport, side: Side) -> &Destination {
    // Port 0: a failed connect of another program; the kernel drops its port.
    let ours = |one: &&Destination| one.service.is_none_or(|service| service.port() != 0);
    // The kernel may give a listener the port of an earlier one at another address, whose TIME_WAITs
    // are there for a minute.
    let lives = |one: &&Destination| {
        let now = one.opened + one.alive_at_start + one.closed.total() + one.connect_failed;
        report.window.is_zero() || now > 0 || one.time_wait_in_window > 0
    };
    let of_side = report.destinations.iter().filter(|one| one.side == side);
    let mut of_side = of_side.filter(ours).filter(lives);
    let found = of_side.next().unwrap_or_else(|| panic!("no {side:?} in {report:#?}"));
    assert_eq!(of_side.next(), None, "{report:#?}");
    found
}

/// Closes that a side should have seen of connections closed in one way.
fn seen_by(side: Side, way: Way, truth: &Truth) -> SocketCloses {
    let (ours, theirs) = match side {
        Side::Client => {
            ((truth.client_fin, truth.client_rst), (truth.server_fin, truth.server_rst))
        }
        Side::Server => {
            ((truth.server_fin, truth.server_rst), (truth.client_fin, truth.client_rst))
        }
    };
    let unread = match side {
        Side::Client => way == Way::ClientUnread,
        Side::Server => way == Way::ServerUnread,
    };
    SocketCloses {
        local_fin: ours.0 + truth.crossed_fin,
        crossed_fin: truth.crossed_fin,
        remote_fin: theirs.0,
        local_rst: if unread { 0 } else { ours.1 },
        remote_rst: theirs.1,
        undrained: if unread { ours.1 } else { 0 },
        timed_out: truth.timed_out,
        unclassified: 0,
    }
}

#[test]
fn both_sides_see_every_way_of_closing() {
    let _alone = alone();
    for family in Family::ALL {
        for way in Way::ALL {
            let mut upstream = Upstream::listen(family).unwrap();
            let watch = Watch::start(on_port(upstream.port())).unwrap();
            let truth = upstream.play(way, N, 2).unwrap();
            let report = watch.finish(SETTLE).unwrap();
            assert_eq!(report.lost_events, 0);
            for side in [Side::Client, Side::Server] {
                let seen = only(&report, side);
                let context = format!("{family:?} {way:?} {seen:#?}");
                assert_eq!(seen.service.map(|service| service.port()), Some(upstream.port()));
                assert_eq!(seen.closed, seen_by(side, way, &truth), "{context}");
                assert_eq!((seen.opened, seen.alive, seen.folded), (N, 0, 1), "{context}");
            }
        }
    }
}

#[test]
fn destinations_are_kept_apart() {
    let _alone = alone();
    let mut first = Upstream::listen(Family::V4).unwrap();
    let mut second = Upstream::listen(Family::V6).unwrap();
    let watch = Watch::start(Scope::default()).unwrap();
    first.play(Way::ClientFin, N, 3).unwrap();
    second.play(Way::ServerFin, 2 * N, 1).unwrap();
    let report = watch.finish(Duration::from_secs(1)).unwrap();
    let of = |port: u16, side: Side| {
        let wanted = |one: &&Destination| {
            one.side == side && one.service.is_some_and(|service| service.port() == port)
        };
        report.destinations.iter().find(wanted).unwrap_or_else(|| panic!("{port}: {report:#?}"))
    };
    let (a, b) = (of(first.port(), Side::Client), of(second.port(), Side::Client));
    assert_eq!((a.opened, a.closed.local_fin, a.closed.total()), (N, N, N));
    assert_eq!((b.opened, b.closed.remote_fin, b.closed.total()), (2 * N, 2 * N, 2 * N));
    assert_eq!((a.requests.quantile(0.5), b.requests.quantile(0.5)), (Some(3), Some(1)));
    assert_eq!(of(first.port(), Side::Server).closed.remote_fin, N);
    assert_eq!(of(second.port(), Side::Server).time_wait, 2 * N);
}

#[test]
fn scope_leaves_other_connections_out() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let port = upstream.port();
    let here = on_port(port).with_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let dst = Watch::start(here.with_side(Side::Client)).unwrap();
    let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
    let other = Watch::start(on_port(port).with_ip(elsewhere)).unwrap();
    upstream.play(Way::ClientFin, N, 1).unwrap();
    assert_eq!(other.finish(SETTLE).unwrap().destinations, []);
    let report = dst.finish(SETTLE).unwrap();
    assert_eq!(only(&report, Side::Client).closed.local_fin, N);
    assert_eq!(report.destinations.len(), 1);
}

#[test]
fn foreign_abort_is_not_the_watched_destinations() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let mut foreign = Upstream::listen(Family::V4).unwrap();
    let watch = Watch::start(on_port(upstream.port())).unwrap();
    upstream.play(Way::ClientFin, N, 1).unwrap();
    foreign.play(Way::ClientRst, N, 1).unwrap();
    foreign.play(Way::ServerRst, N, 1).unwrap();
    let report = watch.finish(SETTLE).unwrap();
    let client = only(&report, Side::Client);
    assert_eq!(client.closed, SocketCloses { local_fin: N, ..SocketCloses::default() });
    assert_eq!(client.opened, N);
    assert!(report.unattributed_aborts >= N, "{report:#?}");
}

#[test]
fn refused_connects_are_failures_not_connections() {
    let _alone = alone();
    for family in Family::ALL {
        let mut upstream = Upstream::listen(family).unwrap();
        let port = upstream.port();
        let watch = Watch::start(Scope::default()).unwrap();
        // One good connection shows that there is such a service.
        upstream.play(Way::ClientFin, 1, 1).unwrap();
        upstream.refuse(N).unwrap();
        let report = watch.finish(Duration::from_secs(1)).unwrap();
        // The kernel keeps the port of a failed non-blocking connect, and drops a blocking one's,
        // which then counts with those of all other programs.
        let failed = |port: u16| -> u64 {
            let of_port = |one: &&Destination| one.service.is_some_and(|to| to.port() == port);
            report.destinations.iter().filter(of_port).map(|one| one.connect_failed).sum()
        };
        assert_eq!(failed(port), N / 2, "{family:?}");
        assert!(failed(0) >= N / 2, "{family:?} {}", failed(0));
    }
}

#[test]
fn older_connections_are_closed_not_opened() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4Mapped).unwrap();
    let mut connections: Vec<_> = (0..10).map(|_| upstream.connect().unwrap()).collect();
    connections.iter_mut().for_each(|connection| connection.exchange(5).unwrap());
    let watch = Watch::start(on_port(upstream.port())).unwrap();
    let kept = connections.split_off(5);
    for mut connection in connections {
        connection.exchange(2).unwrap();
        connection.close(Way::ClientRst).unwrap();
    }
    let report = watch.finish(SETTLE).unwrap();
    let client = only(&report, Side::Client);
    assert_eq!((client.opened, client.alive_at_start, client.alive), (0, 10, 5));
    assert_eq!(client.closed, SocketCloses { local_rst: 5, ..SocketCloses::default() });
    let server = only(&report, Side::Server);
    assert_eq!(server.closed, SocketCloses { remote_rst: 5, ..SocketCloses::default() });
    // An abort clears the count of its own socket; that of the peer counts for both.
    for side in [client, server] {
        assert_eq!((side.requests.count(), side.requests.quantile(0.5)), (5, Some(2)));
    }
    drop(kept);
}

#[test]
fn difference_of_reports_has_the_events_between() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = Watch::start(on_port(upstream.port())).unwrap();
    let closed_so_far = |report: &HostReport| {
        let clients = report.destinations.iter().filter(|one| one.side == Side::Client);
        clients.map(|one| one.closed.total()).sum::<u64>()
    };
    upstream.play(Way::ServerFin, N, 2).unwrap();
    let patience = std::time::Instant::now() + SETTLE;
    let earlier = loop {
        let earlier = watch.snapshot();
        if closed_so_far(&earlier) == N {
            break earlier;
        }
        assert!(std::time::Instant::now() < patience, "{earlier:#?}");
        // Reports come by time, and nothing signals one.
        std::thread::sleep(Duration::from_millis(20));
    };
    let truth = upstream.play(Way::ClientFin, 2 * N, 5).unwrap();
    let whole = watch.finish(SETTLE).unwrap();
    let since = whole.since(&earlier);
    assert!(since.window < whole.window);
    for side in [Side::Client, Side::Server] {
        let seen = only(&since, side);
        assert_eq!(seen.closed, seen_by(side, Way::ClientFin, &truth), "{seen:#?}");
        assert_eq!((seen.opened, seen.alive_at_start), (2 * N, 0), "{seen:#?}");
        assert_eq!((seen.requests.count(), seen.requests.total()), (2 * N, 10 * N), "{seen:#?}");
        assert_eq!((seen.requests.quantile(0.0), seen.requests.max()), (Some(5), Some(5)));
        assert_eq!(only(&whole, side).closed.total(), 3 * N);
    }
    assert_eq!(closed_so_far(&whole.since(&whole)), 0);
}

#[test]
fn without_closes_open_connections_name_the_owner() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let connection = upstream.connect().unwrap();
    let watch = Watch::start(on_port(upstream.port())).unwrap();
    let (started_at, process) = (None, None);
    let gone = Owner { pid: 1, started_at, process, share: 1.0, how: OwnerEvidence::Traced };
    let start = std::time::Instant::now();
    let owner = loop {
        let earlier = watch.snapshot();
        let mut now = earlier.clone();
        now.destinations.iter_mut().for_each(|one| one.owners = vec![gone.clone()]);
        let lately = now.since(&earlier).destinations;
        let client = lately.iter().find(|one| one.side == Side::Client);
        match client.and_then(|one| one.owners.first()) {
            Some(owner) if *owner != gone => break owner.clone(),
            _ => assert!(start.elapsed() < Duration::from_secs(60), "{earlier:#?}"),
        }
        // Reports come by time, and nothing signals one.
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((owner.pid, owner.how), (std::process::id(), OwnerEvidence::Sampled));
    drop(connection);
}

#[test]
fn idle_time_ignores_a_late_program() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let watch = Watch::start(on_port(listener.local_addr().unwrap().port())).unwrap();
    let mut late = Vec::new();
    for _ in 0..5 {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut &client, b"x").unwrap();
        late.push((client, server));
    }
    // The idle time itself is the subject, and then the lateness of the program.
    std::thread::sleep(Duration::from_millis(400));
    let clients: Vec<_> = late
        .into_iter()
        .map(|(client, mut server)| {
            std::io::Read::read_exact(&mut server, &mut [0; 1]).unwrap();
            drop(server);
            client
        })
        .collect();
    // The clients sit in CLOSE_WAIT until they notice.
    std::thread::sleep(Duration::from_millis(3000));
    drop(clients);
    let report = watch.finish(SETTLE).unwrap();
    for side in [Side::Client, Side::Server] {
        let seen = only(&report, side);
        let idle = match side {
            Side::Client => &seen.idle_before_remote_close,
            Side::Server => &seen.idle_before_local_close,
        };
        assert_eq!(idle.count(), 5, "{seen:#?}");
        let median = idle.quantile(0.5).unwrap();
        assert!((380..2000).contains(&median), "{side:?}: {median} ms");
    }
}

#[test]
fn one_dump_dates_the_last_minutes_closes() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    upstream.play(Way::ClientFin, N, 1).unwrap();
    upstream.play(Way::ServerFin, 2 * N, 1).unwrap();
    let mut open = upstream.connect().unwrap();
    open.exchange(4).unwrap();
    let report = dump_once(on_port(upstream.port())).unwrap();
    let (client, server) = (only(&report, Side::Client), only(&report, Side::Server));
    assert_eq!((client.time_wait, server.time_wait), (N, 2 * N));
    assert_eq!(client.time_wait_by_age.iter().sum::<u32>(), N as u32);
    assert_eq!((client.opened, client.closed.total(), client.established), (0, 0, 1));
    assert_eq!(client.requests.max(), Some(4));
    let ports = client.ports.unwrap();
    assert_eq!((ports.source, ports.used), (IpAddr::V4(Ipv4Addr::LOCALHOST), N + 1));
    assert_eq!(server.ports, None);
}

#[test]
fn listener_and_cookie_name_the_owners() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let mut connections: Vec<_> = (0..10).map(|_| upstream.connect().unwrap()).collect();
    let watch = Watch::start(on_port(upstream.port())).unwrap();
    connections.iter_mut().for_each(|connection| connection.exchange(1).unwrap());
    // Dumps go by until the process has been found.
    let found = |side| only(&watch.snapshot(), side).owners.first().map(|owner| owner.pid);
    let start = std::time::Instant::now();
    let until = |met: &dyn Fn() -> bool| {
        while !met() {
            assert!(start.elapsed() < Duration::from_secs(60), "{:#?}", watch.snapshot());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(&|| [Side::Client, Side::Server].map(found) == [Some(std::process::id()); 2]);
    // A dump is no instant: on a busy host it may miss a socket, which a later one then meets.
    for _ in 0..3 {
        let window = watch.snapshot().window;
        until(&|| watch.snapshot().window > window);
    }
    for connection in connections {
        connection.close(Way::ClientFin).unwrap();
    }
    let report = watch.finish(SETTLE).unwrap();
    for (side, how) in
        [(Side::Client, OwnerEvidence::Cookie), (Side::Server, OwnerEvidence::Listener)]
    {
        let owners = &only(&report, side).owners;
        assert_eq!((owners.len(), owners[0].pid), (1, std::process::id()), "{owners:?}");
        assert_eq!((owners[0].share, owners[0].how), (1.0, how));
        assert!(owners[0].process.is_some());
    }
}

/// Gives a listener to another process, which does not accept.
fn listening_elsewhere(listener: TcpListener) -> std::process::Child {
    let own = std::os::fd::OwnedFd::from(listener);
    std::process::Command::new("sleep").arg("600").stdin(own).spawn().unwrap()
}

#[test]
fn shared_port_has_an_owner_per_address() {
    let _alone = alone();
    let ours = TcpListener::bind("127.66.7.1:0").unwrap();
    let port = ours.local_addr().unwrap().port();
    let theirs = TcpListener::bind(("127.66.7.2", port)).unwrap();
    let mut places = [ours.local_addr().unwrap(), theirs.local_addr().unwrap()].into_iter();
    let mut child = listening_elsewhere(theirs);
    let clients: Vec<_> = places.clone().map(|to| TcpStream::connect(to).unwrap()).collect();
    let owner_of = |report: &HostReport, to: SocketAddr| {
        let server = |one: &&Destination| one.side == Side::Server && one.service == Some(to);
        let owner = report.destinations.iter().find(server)?.owners.first()?;
        (owner.how == OwnerEvidence::Listener).then_some(owner.pid)
    };
    let watch = Watch::start(on_port(port)).unwrap();
    let start = std::time::Instant::now();
    let owners = loop {
        let report = watch.snapshot();
        let owners: Vec<_> = places.clone().map(|to| owner_of(&report, to)).collect();
        if owners.iter().all(Option::is_some) || start.elapsed() > Duration::from_secs(60) {
            break owners;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let pids = [std::process::id(), child.id()].map(Some);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(owners, pids, "{:?}", places.next());
    drop(clients);
}

#[test]
fn folding_keeps_the_busiest_and_all_counts() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let any = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = any.local_addr().unwrap().port();
    let watch = Watch::start(Scope::default().with_side(Side::Client)).unwrap();
    upstream.play(Way::ClientFin, N, 1).unwrap();
    // All of 127/8 is loopback: there are enough destinations.
    let many = 2_500_u64;
    for number in 0..many {
        let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
        let to = SocketAddr::new(Ipv4Addr::new(127, 77, high, low).into(), port);
        let client = TcpStream::connect(to).unwrap();
        let (server, _) = any.accept().unwrap();
        drop(client);
        drop(server);
    }
    let report = watch.finish(Duration::from_secs(1)).unwrap();
    let shown = report.destinations.len();
    // Servers' destinations, which are out of scope here, take their part of the room.
    assert!(shown <= 2_050, "{shown} destinations");
    let ours = |one: &&Destination| {
        one.service.is_none_or(|to| to.port() == port || to.port() == upstream.port())
    };
    let closed: u64 = report.destinations.iter().filter(ours).map(|one| one.closed.total()).sum();
    let opened: u64 = report.destinations.iter().filter(ours).map(|one| one.opened).sum();
    assert!(closed >= many + N && opened >= many + N, "{opened} opened, {closed} closed");
    let folded = report.destinations.iter().find(|one| one.service.is_none()).unwrap();
    assert!(folded.folded > 400, "{}", folded.folded);
    let mut named = report.destinations.iter().filter_map(|one| one.service);
    assert!(named.any(|to| to.port() == upstream.port()), "the busier one keeps its name");
}

/// The bytes that a close left unread are a record of farewell (TLS), or a body.
#[test]
fn unread_bytes_tell_a_farewell_from_a_body() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let watch = Watch::start(on_port(listener.local_addr().unwrap().port())).unwrap();
    for unread in [24, 31, 5_000, 24, 24] {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(&vec![21; unread]).unwrap();
        while client.peek(&mut [0; 8_000]).unwrap() < unread {}
        drop(client);
    }
    let report = watch.finish(SETTLE).unwrap();
    let client = only(&report, Side::Client);
    let left = &client.unread_at_close;
    assert_eq!((client.closed.undrained, left.count()), (5, 5), "{client:#?}");
    assert_eq!((left.quantile(0.6), left.max()), (Some(24), Some(5_000)));
    assert_eq!(left.share_up_to(31), Some(0.8));
    assert_eq!(only(&report, Side::Server).unread_at_close.count(), 0);
}

/// A service whose port connect(2) may choose too, and no listener to show it.
#[test]
fn connecting_and_many_ports_show_the_service() {
    let _alone = alone();
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    // A client's host that may choose any port, the lower ones first.
    wire.client.set("ip_local_port_range", "1024 65535").unwrap();
    let address = SocketAddr::new(wire.server_ip(false), 49_200);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let connect = |_| {
        let client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
        (client, listener.accept().unwrap().0)
    };
    let open: Vec<_> = (0..8).map(connect).collect();
    let once = || wire.client.inside(|| Ok(dump_once(Scope::default()).unwrap())).unwrap();
    let report = once();
    let seen = only(&report, Side::Client);
    assert_eq!((seen.service, seen.established), (Some(address), 8), "{report:#?}");
    assert_eq!(seen.side_evidence, SideEvidence::Connected);
    // A socket in TIME_WAIT does not tell which side connected.
    open.into_iter().for_each(drop);
    let mut report = once();
    for _ in 0..100 {
        if only(&report, Side::Client).time_wait == 8 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        report = once();
    }
    let seen = only(&report, Side::Client);
    assert_eq!((seen.service, seen.time_wait), (Some(address), 8), "{report:#?}");
    assert_eq!(seen.side_evidence, SideEvidence::ManyPorts);
    // At the server's host its listener does.
    let at_server = wire.server.inside(|| Ok(dump_once(Scope::default()).unwrap())).unwrap();
    let is_guess = |one: &Destination| one.side_evidence == SideEvidence::Guess;
    assert!(!at_server.destinations.iter().any(is_guess), "{at_server:#?}");
}

/// The client has closed when data of the server comes: its RST says nothing about a body.
#[test]
fn reset_of_late_data_is_counted_apart() {
    let _alone = alone();
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    let address = SocketAddr::new(wire.server_ip(false), 4_300);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    for host in [&wire.client, &wire.server] {
        let start = || Ok(Watch::start_traced(on_port(address.port())).unwrap());
        let watch = host.inside(start).unwrap();
        for _ in 0..N {
            let client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            drop(client);
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
            server.write_all(b"too late").unwrap();
            while server.take_error().unwrap().is_none() {}
        }
        let report = watch.finish(SETTLE).unwrap();
        if let Tracing::Refused(error) = &report.tracing {
            return skipped::because(&format!("tracing: {error}"));
        }
        let [one] = &report.destinations[..] else { panic!("{report:#?}") };
        let by_client = ConnectionCloses { client_fin: N, ..ConnectionCloses::default() };
        assert_eq!(report.port(address.port()).closed, by_client, "{one:#?}");
        assert_eq!(one.traced.client_reset_reasons.values().sum::<u64>(), 0, "{one:#?}");
        assert_eq!(one.traced.late_data, if one.side == Side::Server { N } else { 0 }, "{one:#?}");
    }
}

#[test]
fn tracing_names_process_and_reset_reason() {
    let _alone = alone();
    let reason_of = |way| match way {
        Way::ClientUnread | Way::ServerUnread => Some("TCP_ABORT_ON_CLOSE"),
        _ => None,
    };
    for family in Family::ALL {
        for way in Way::ALL {
            let mut upstream = Upstream::listen(family).unwrap();
            let watch = Watch::start_traced(on_port(upstream.port())).unwrap();
            let truth = upstream.play(way, N, 2).unwrap();
            let report = watch.finish(SETTLE).unwrap();
            if let Tracing::Refused(error) = &report.tracing {
                skipped::because(&format!("tracing: {error}"));
                assert!(error.is_denied() || error.is_unsupported(), "{error}");
                return;
            }
            assert!(matches!(report.tracing, Tracing::On { events: 1.., lost_events: 0 }));
            for side in [Side::Client, Side::Server] {
                let seen = only(&report, side);
                let context = format!("{family:?} {way:?} {seen:#?}");
                assert_eq!(seen.closed, seen_by(side, way, &truth), "{context}");
                let [owner] = &seen.owners[..] else { panic!("{context}") };
                // A socket that the peer resets ends in an interrupt, and a server's begins in one.
                let unseen = side == Side::Server && seen.closed.remote_rst > 0;
                let how = if unseen { OwnerEvidence::Listener } else { OwnerEvidence::Traced };
                assert_eq!((owner.pid, owner.how), (std::process::id(), how), "{context}");
                assert_eq!((owner.share, owner.process.is_some()), (1.0, true), "{context}");
                assert_eq!(seen.traced.lifetime_ms.count(), N, "{context}");
                if (way, side) == (Way::ServerFinClientWrites, Side::Client) {
                    assert_eq!(seen.traced.reset_after_fin, N, "{context}");
                }
                if let Some(reason) = reason_of(way) {
                    assert_eq!(seen.traced.reset_reasons.get(reason), Some(&N), "{context}");
                }
            }
        }
    }
}
