//! Simultaneous closes that are no race: between the load and the server is a wire that keeps every
//! FIN until both ends of all connections have sent theirs.
//!
//! The loader can know then that it has closed, and why: its socket was read until empty, and no
//! FIN had come. The server's FIN arrives after the loader's socket is gone. So each connection is
//! counted once, as "closed by us", and the server would rightly say the same of itself: the
//! packets at either end's device have that end's FIN first, and both ends keep a TIME_WAIT.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc;

use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::{DEVICE, Flag, Wire};
use serde_json::Value;

use crate::common::{PATIENCE, finish, until};
use crate::namespace::ss;
use crate::packets::{Capture, Packets};
use crate::servers::{CLOSING, COMPLETE, read_request};
use crate::{count, load_command, namespace, record};

/// No port that clients are given.
const PORT: u16 = 8080;
/// A port without a listener.
const SENTINEL: u16 = 8081;

/// Connections that both ends close.
const CROSSED: usize = 50;

/// Why both ends close after the same response.
struct Case {
    /// Responses of a connection; the server closes after the last.
    responses: usize,
    response: &'static [u8],
    arguments: &'static [&'static str],
    cause: &'static str,
    /// The connection that only the load closes: for the same cause, or because the run ends.
    last_is_alike: bool,
}

const CASES: [Case; 3] = [
    Case {
        responses: 1,
        response: CLOSING,
        arguments: &["-c", "5", "-t", "2"],
        cause: "response_said_close",
        last_is_alike: false,
    },
    // Neither says so to the other. One connection at a time: each has its four requests.
    Case {
        responses: 4,
        response: COMPLETE,
        arguments: &["-c", "1", "-t", "1", "--requests-per-connection", "4"],
        cause: "request_limit",
        last_is_alike: false,
    },
    // The load has asked for it, and does not wait.
    Case {
        responses: 1,
        response: CLOSING,
        arguments: &["-c", "5", "-t", "2", "--close", "--close-policy", "now"],
        cause: "one_per_connection",
        last_is_alike: true,
    },
];

#[test]
fn closes_that_cross_on_the_wire_are_ours_once_each_and_leave_time_wait_at_both_ends() {
    if !namespace::can_be_made(&["tcpdump", "ss"]) {
        return;
    }
    for case in &CASES {
        let wire = match Wire::lay() {
            Ok(wire) => wire,
            Err(error) => {
                skipped::because(&format!("a wire takes /dev/net/tun: {error}"));
                return;
            }
        };
        play(&wire, case);
    }
}

fn play(wire: &Wire, case: &'static Case) {
    let last = serve(wire, case);
    let captures = [&wire.client, &wire.server]
        .map(|end| end.inside(|| Ok(Capture::start(DEVICE))).expect("a namespace"));
    wire.hold_only(Flag::Fin);

    let requests = CROSSED * case.responses + 1;
    let number = requests.to_string();
    let watched = PORT.to_string();
    let arguments = [&["-n", &number, "--watch", &watched], case.arguments].concat();
    let mut load = load_command(&arguments, &format!("http://{}/", at(wire, PORT)));
    load.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let load = wire.client.inside(|| load.spawn()).expect("the tool starts");

    wire.wait_for_held(Flag::Fin, CROSSED).expect("the FINs of both ends of every connection");
    let sockets = |state| {
        let [client, server] = [&wire.client, &wire.server]
            .map(|end| end.inside(|| Ok(ss(state, PORT))).expect("a namespace"));
        (client.1, server.0)
    };
    let all = (CROSSED as u64, CROSSED as u64);
    assert_eq!(sockets("fin-wait-1"), all, "neither end has seen the other's FIN");
    wire.release().expect("a wire");
    assert!(until(|| sockets("time-wait") == all), "{:?}", sockets("time-wait"));

    // The load has run until here for one request; its connection only the load will close.
    let mut last = last.recv_timeout(PATIENCE).expect("one connection more");
    last.write_all(COMPLETE).expect("a load that waits");
    let record = record(&finish(load));
    let time_waits = sockets("time-wait");
    assert_eq!(time_waits, all);

    let refused = wire.client.inside(|| TcpStream::connect(at(wire, SENTINEL)));
    assert!(refused.is_err(), "{refused:?}");
    let packets = captures.map(|capture| capture.finish_at(at(wire, SENTINEL), PORT));
    check(case, &record, &packets, time_waits.0);
    assert_eq!(count(&record["requests"]["completed"]), requests as u64, "{record:#}");
}

fn check(case: &Case, record: &Value, packets: &[Packets; 2], time_waits: u64) {
    let (ledger, hop) = (&record["connections"], &record["hops"][0]);
    let context = format!("{}: {packets:#?}\n{ledger:#}\n{hop:#}", case.cause);
    let crossed = CROSSED as u64;
    let opened = crossed + 1;

    // The load itself: each connection at one place.
    assert_eq!(ledger["balanced"], true, "{context}");
    assert_eq!(count(&ledger["attempts"]), opened, "{context}");
    assert_eq!(count(&ledger["opened"]), opened, "{context}");
    let alike = u64::from(case.last_is_alike);
    let by_us = serde_json::json!({ case.cause: crossed + alike });
    assert_eq!(ledger["closed_by_us"], by_us, "{context}");
    assert_eq!(count(&ledger["still_open"]), 1 - alike, "{context}");
    for none in ["peer_fin", "peer_rst", "timed_out"] {
        assert_eq!(count(&ledger[none]), 0, "{none}: {context}");
    }

    // The kernel, asked by the load: its own end only, as of a server on another host.
    assert_eq!(count(&hop["opened"]), opened, "{context}");
    assert_eq!(count(&hop["closed"]["client_fin"]), opened, "{context}");
    assert_eq!(count(&hop["closed"]["server_fin"]), 0, "{context}");
    assert_eq!(count(&hop["time_wait"]["after"]["client"]), time_waits, "{context}");
    assert_eq!(count(&hop["time_wait"]["after"]["server"]), 0, "{context}");

    // Two FINs of each that was closed by both, and one of the last; no RST. At each end its own
    // FIN is first.
    let [at_client, at_server] = packets;
    let seen = Packets { attempts: opened, opened, fins: 2 * crossed + 1, ..Packets::default() };
    assert_eq!(*at_client, Packets { client_fin: opened, ..seen }, "{context}");
    assert_eq!(*at_server, Packets { client_fin: 1, server_fin: crossed, ..seen }, "{context}");
}

fn at(wire: &Wire, port: u16) -> SocketAddr {
    SocketAddr::new(wire.server_ip(false), port)
}

/// Closes [`CROSSED`] connections after their responses; the one after them, with its request read
/// and not answered, is the caller's.
fn serve(wire: &Wire, case: &'static Case) -> mpsc::Receiver<TcpStream> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = wire.server.inside(|| TcpListener::bind(any)).expect("a port of our own");
    let (sender, last) = mpsc::channel();
    std::thread::spawn(move || {
        for (index, mut stream) in listener.incoming().flatten().take(CROSSED + 1).enumerate() {
            let sender = sender.clone();
            // An error here shows in the counts.
            std::thread::spawn(move || -> std::io::Result<()> {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                if index == CROSSED {
                    read_request(&mut stream)?;
                    drop(sender.send(stream));
                    return Ok(());
                }
                for _ in 0..case.responses {
                    read_request(&mut stream)?;
                    stream.write_all(case.response)?;
                }
                Ok(())
            });
        }
    });
    last
}
