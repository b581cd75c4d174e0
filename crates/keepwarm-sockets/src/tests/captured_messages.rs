//! Decoders of `wire` on bytes that a kernel sent (`testdata/`, with a comment for each field).

use std::net::SocketAddr;

use crate::kernel::socket::{Side, State, States};
use crate::kernel::wire::DecodeError;
use crate::kernel::wire::diag::{Query, decode_socket, encode_query, is_socket, ports};
use crate::kernel::wire::netlink::{Message, Messages};
use crate::tracker::classify::{Evidence, is_disconnected};

const ESTABLISHED_V4: &str = include_str!("../../testdata/established-v4.hex");
const ESTABLISHED_V6: &str = include_str!("../../testdata/established-v6.hex");
const LISTEN_V4: &str = include_str!("../../testdata/listen-v4.hex");
const LISTEN_V6: &str = include_str!("../../testdata/listen-v6.hex");
const TIME_WAIT_V4: &str = include_str!("../../testdata/time-wait-v4.hex");
const TIME_WAIT_V6: &str = include_str!("../../testdata/time-wait-v6.hex");
const TIME_WAIT_MAPPED: &str = include_str!("../../testdata/time-wait-v4-mapped.hex");
const DESTROYED_V4: &str = include_str!("../../testdata/destroyed-client-v4.hex");
const DESTROYED_V6: &str = include_str!("../../testdata/destroyed-client-v6.hex");
const ABORTED: &str = include_str!("../../testdata/destroyed-aborted-v4.hex");

const ALL: [&str; 10] = [
    ESTABLISHED_V4,
    ESTABLISHED_V6,
    LISTEN_V4,
    LISTEN_V6,
    TIME_WAIT_V4,
    TIME_WAIT_V6,
    TIME_WAIT_MAPPED,
    DESTROYED_V4,
    DESTROYED_V6,
    ABORTED,
];

fn bytes(text: &str) -> Vec<u8> {
    let code = text.lines().map(|line| line.split('#').next().unwrap_or(""));
    code.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// Returns the bodies of all captured messages.
pub(super) fn captured() -> Vec<Vec<u8>> {
    ALL.iter().map(|text| bytes(text)).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Returns the ports named in the second comment line of a captured message, in its order.
fn named_ports(text: &str) -> (u16, u16) {
    let line = text.lines().nth(1).unwrap();
    let mut numbers = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse::<u16>().ok())
        .filter(|number| *number > 1024);
    (numbers.next().unwrap(), numbers.next().unwrap_or(0))
}

#[test]
fn an_established_connection_is_decoded() {
    for (text, ip) in [(ESTABLISHED_V4, "127.0.0.1"), (ESTABLISHED_V6, "[::1]")] {
        let socket = decode_socket(&bytes(text)).unwrap();
        let (local, remote) = named_ports(text);
        assert_eq!(socket.state, State::Established);
        assert_eq!(socket.local, address(&format!("{ip}:{local}")));
        assert_eq!(socket.remote, address(&format!("{ip}:{remote}")));
        assert!(socket.is_alive() && !socket.is_minisocket());
        assert!(socket.inode != 0 && socket.cookie != 0);
        let info = socket.info.unwrap();
        assert_eq!((info.data_segs_out, info.data_segs_in), (Some(3), Some(3)));
        assert_eq!((info.bytes_sent, info.bytes_received), (Some(21), Some(24)));
        assert_eq!(info.bytes_retrans, Some(0));
        assert!(info.rtt_us.is_some_and(|rtt| (1..100_000).contains(&rtt)), "{info:?}");
    }
}

#[test]
fn a_listener_has_a_backlog() {
    for (text, ip) in [(LISTEN_V4, "127.0.0.1"), (LISTEN_V6, "[::1]")] {
        let socket = decode_socket(&bytes(text)).unwrap();
        assert_eq!(socket.state, State::Listen);
        assert_eq!(socket.local, address(&format!("{ip}:{}", named_ports(text).0)));
        assert_eq!(socket.remote.port(), 0);
        assert_eq!((socket.rqueue, socket.wqueue), (0, 128));
        assert!(!socket.is_alive());
    }
}

#[test]
fn a_time_wait_has_an_age() {
    let vectors =
        [(TIME_WAIT_V4, "127.0.0.1"), (TIME_WAIT_V6, "[::1]"), (TIME_WAIT_MAPPED, "127.0.0.1")];
    for (text, ip) in vectors {
        let socket = decode_socket(&bytes(text)).unwrap();
        let (local, remote) = named_ports(text);
        assert_eq!(socket.state, State::TimeWait);
        assert_eq!(socket.local, address(&format!("{ip}:{local}")));
        assert_eq!(socket.remote, address(&format!("{ip}:{remote}")));
        assert!(socket.is_minisocket() && !socket.is_alive());
        assert_eq!((socket.timer, socket.inode, socket.info), (3, 0, None));
        assert_eq!(socket.time_wait_age_ms(), Some(60_000 - socket.expires_ms));
    }
}

#[test]
fn destroy_events_show_acknowledged_fins() {
    for text in [DESTROYED_V4, DESTROYED_V6] {
        let event = decode_socket(&bytes(text)).unwrap();
        assert_eq!((event.state, event.inode, event.wqueue), (State::Close, 0, 0));
        let info = event.info.unwrap();
        // 21 bytes of data, the SYN and the FIN.
        assert_eq!((info.bytes_sent, info.bytes_acked), (Some(21), Some(23)));
        // 24 bytes and the FIN.
        assert_eq!(info.bytes_received, Some(25));
        let evidence = Evidence::of(Side::Client, &event);
        assert_eq!((evidence.fin_acked, evidence.disconnected), (Some(true), false));
    }
}

#[test]
fn aborted_clients_lose_the_remote_port() {
    let event = decode_socket(&bytes(ABORTED)).unwrap();
    assert_eq!(event.local.port(), named_ports(ABORTED).0);
    assert_eq!(event.remote, address("127.0.0.1:0"));
    assert!(is_disconnected(&event));
    assert_eq!(event.info.unwrap().data_segs_out, Some(0));
}

#[test]
fn ports_are_read_without_the_rest() {
    for text in ALL {
        let body = bytes(text);
        let socket = decode_socket(&body).unwrap();
        assert_eq!(ports(&body), Some((socket.local.port(), socket.remote.port())));
    }
}

#[test]
fn a_truncation_is_an_error_or_shorter() {
    for text in ALL {
        let body = bytes(text);
        let whole = decode_socket(&body).unwrap();
        // Ends of attributes, the only places where a message may stop.
        let mut ends = vec![72];
        while let Some(end) = ends.last().copied().filter(|end| *end < body.len()) {
            let length = usize::from(u16::from_ne_bytes([body[end], body[end + 1]]));
            ends.push((end + length).next_multiple_of(4).min(body.len()));
        }
        for length in 0..body.len() {
            let read = decode_socket(&body[..length]);
            let padded = ends.iter().any(|end| length <= *end && *end - length < 4 && length > 72);
            match read {
                Ok(socket) => {
                    assert!(ends.contains(&length) || padded, "{length} of {}", body.len());
                    assert_eq!((socket.local, socket.cookie), (whole.local, whole.cookie));
                }
                Err(DecodeError::Truncated { need, have, .. }) => {
                    assert!(have < need, "{length}: {have} of {need}");
                }
                Err(other) => panic!("{length}: {other:?}"),
            }
        }
        let datagram = framed(&body);
        for length in 1..datagram.len() {
            let read: Vec<_> = Messages::of(&datagram[..length]).collect();
            assert_eq!(read.len(), 1);
            assert!(read[0].is_err(), "{length}");
        }
    }
}

#[test]
fn no_single_wrong_byte_panics() {
    for text in ALL {
        let body = bytes(text);
        for at in 0..body.len() {
            for value in [0, 1, 3, 0x7f, 0x80, 0xff] {
                let mut wrong = body.clone();
                wrong[at] = value;
                let _ = decode_socket(&wrong);
                let _ = Messages::of(&wrong).count();
            }
        }
    }
}

/// Bytes are overwritten, cut out and inserted at random, in captured messages and in parts of
/// them.
#[test]
fn no_hostile_reply_panics() {
    // xorshift64* from a fixed seed repeats on every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    let captured: Vec<Vec<u8>> = ALL.iter().map(|text| framed(&bytes(text))).collect();
    let (mut decoded, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let mut datagram = captured[random(captured.len())].clone();
        datagram.extend(captured[random(captured.len())].iter().take(random(200)));
        for _ in 0..random(8) {
            if datagram.is_empty() {
                break;
            }
            let at = random(datagram.len());
            match random(4) {
                0 => datagram[at] = random(256) as u8,
                1 => datagram.truncate(at),
                2 => datagram.drain(at..datagram.len().min(at + random(9))).for_each(drop),
                _ => datagram.insert(at, [0, 0xff, 0x80, 4][random(4)]),
            }
        }
        for message in Messages::of(&datagram) {
            let Ok(Message::Data { body, .. }) = message else { continue };
            let _ = ports(body);
            match decode_socket(body) {
                Ok(socket) => {
                    let _ = (Evidence::of(Side::Client, &socket), is_disconnected(&socket));
                    decoded += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(decoded > 10_000 && refused > 10_000, "{decoded} decoded, {refused} refused");
}

#[test]
fn unknown_families_and_states_are_named() {
    let mut body = bytes(TIME_WAIT_V4);
    body[0] = 1;
    let error = decode_socket(&body).unwrap_err();
    assert_eq!(error, DecodeError::Unknown { what: "address family", value: 1 });
    body[0] = 2;
    body[1] = 99;
    let error = decode_socket(&body).unwrap_err();
    assert_eq!(error.to_string(), "TCP state 99 is unknown");
}

#[test]
fn a_dump_request_has_the_kernels_layout() {
    let query = Query {
        states: States::of(&[State::Established, State::TimeWait]),
        local_port: None,
        remote_port: Some(0x1f91),
        either_port: None,
        address: None,
        with_info: true,
    };
    let request = encode_query(&query);
    assert_eq!(request.len(), 76);
    // Length, type TCPDIAG_GETSOCK, flags REQUEST and DUMP, sequence, port id.
    assert_eq!(request[..16], [76, 0, 0, 0, 18, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Family (ignored), prefix lengths (ignored), extension INET_DIAG_INFO, ports big-endian.
    assert_eq!(request[16..24], [0, 0, 0, 2, 0, 0, 0x1f, 0x91]);
    assert_eq!(request[68..72], [0x42, 0, 0, 0]);
    let filtered = encode_query(&Query { either_port: Some(1), with_info: false, ..query });
    assert_eq!(filtered.len(), 76 + 4 + 20);
    assert_eq!(filtered[76..80], [24, 0, 1, 0]);
}

/// Frames a body as a datagram of one message.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut datagram = length.to_ne_bytes().to_vec();
    datagram.extend_from_slice(&20_u16.to_ne_bytes());
    datagram.extend_from_slice(&[0; 10]);
    datagram.extend_from_slice(body);
    assert_eq!(
        Messages::of(&datagram).next(),
        Some(Ok(Message::Data { kind: 20, body })),
        "{}",
        is_socket(20)
    );
    datagram
}
