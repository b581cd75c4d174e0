//! Claim: how bytes are cut changes nothing, and no bytes make the reader panic or keep more than its
//! limits.

mod common {
    pub(crate) mod reading;
}

use common::reading::{Ended, read};
use keepwarm_http2::{MAX_IDLE_FRAMES, Refusal};
use proptest::prelude::*;

/// Bytes of a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])
}

/// Frames as servers send them, and frames that none sends.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let block = prop_oneof![
        Just(vec![0x88]),
        Just(vec![0x20, 0x88, 0x5c, 1, b'3']),
        Just(vec![0x08, 3, b'1', b'0', b'3']),
        Just(vec![0x48, 0x82, 0x64, 0x02]),
        Just(vec![0xbe]),
        Just(vec![0x88, 0x40, 1, b'a', 1, b'b']),
        Just(vec![0x88, 0xbf, 0x7e, 1, b'c']),
        Just(vec![0x8d, 0x0f, 0x0d, 2, b'1', b'2']),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    let stream = prop_oneof![4 => Just(1_u32), 1 => Just(0), 1 => Just(3), 1 => Just(2)];
    prop_oneof![
        4 => (block, 0_u8..64, stream.clone()).prop_map(|(b, flags, s)| frame(1, flags, s, &b)),
        2 => (prop::collection::vec(any::<u8>(), 0..8), 0_u8..16, stream.clone())
            .prop_map(|(b, flags, s)| frame(9, flags, s, &b)),
        4 => (prop::collection::vec(any::<u8>(), 0..20), 0_u8..16, stream.clone())
            .prop_map(|(b, flags, s)| frame(0, flags, s, &b)),
        1 => any::<[u8; 8]>().prop_map(|b| frame(6, 0, 0, &b)),
        1 => any::<u32>().prop_map(|by| frame(8, 0, 1, &by.to_be_bytes())),
        1 => (any::<u16>(), any::<u32>()).prop_map(|(name, value)| {
            frame(4, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        }),
        1 => (stream, 0_u32..20).prop_map(|(s, code)| frame(3, 0, s, &code.to_be_bytes())),
        1 => (any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..30))
            .prop_map(|(kind, flags, b)| frame(kind, flags, 0, &b)),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_reads_alike(
        frames in prop::collection::vec(any_frame(), 0..8),
        pieces in prop::collection::vec(1_usize..30, 1..6),
    ) {
        let bytes = [settings(), frames.concat()].concat();
        let whole = read(&bytes, &[]);
        prop_assert_eq!(&read(&bytes, &pieces), &whole);
        prop_assert_eq!(&read(&bytes, &[1]), &whole);
    }
}

/// Reads `count` times the frame `one`; returns how the connection ended, and how many bytes of
/// answers waited to be sent.
fn flood(one: &[u8], count: usize) -> (Ended, usize) {
    let (ended, out) = read(&[settings(), one.repeat(count)].concat(), &[]);
    (ended, out.len())
}

#[test]
fn floods_end_the_connection() {
    let many = MAX_IDLE_FRAMES as usize + 10;
    let idle = [
        frame(0, 0, 1, &[]),
        frame(2, 0, 1, &[0; 5]),
        frame(0xfa, 0, 0, &[]),
        frame(8, 0, 1, &[0, 0, 0, 1]),
        frame(6, 1, 0, &[0; 8]),
    ];
    for one in idle {
        let begun = [frame(1, 4, 1, &[0x88])].concat();
        let bytes = [settings(), begun, one.repeat(many)].concat();
        assert_eq!(read(&bytes, &[]).0, Ended::Refused(Refusal::Flood), "{one:?}");
    }
    for one in [frame(6, 0, 0, &[0; 8]), settings()] {
        let (ended, answered) = flood(&one, many);
        assert_eq!(ended, Ended::Refused(Refusal::Unread), "answers wait in memory");
        assert!(answered <= 64 * 1024 + 100, "{answered}");
    }
}

#[test]
fn endless_blocks_end_the_connection() {
    let begun = [settings(), frame(1, 0, 1, &[0x88])].concat();
    let large = frame(9, 0, 1, &[0; 16_000]);
    let bytes = [begun.clone(), large.repeat(100)].concat();
    assert_eq!(read(&bytes, &[]).0, Ended::Refused(Refusal::EndlessBlock));
    let bytes = [begun, frame(9, 0, 1, &[]).repeat(2000)].concat();
    assert_eq!(read(&bytes, &[]).0, Ended::Refused(Refusal::EndlessBlock));
}

#[test]
fn large_block_fails_its_stream_alone() {
    use keepwarm_http2::{Connection, Event};
    let parts = [
        settings(),
        frame(1, 0, 1, &[0x88]),
        frame(9, 0, 1, &[0; 16_000]).repeat(5),
        frame(9, 4, 1, &[]),
        frame(1, 5, 3, &[0x88]),
    ];
    let bytes = parts.concat();
    let (mut connection, mut out) = (Connection::default(), Vec::new());
    connection.open();
    connection.open();
    let mut rest = &bytes[..];
    let mut heads = Vec::new();
    while let Some(event) = connection.next(&mut rest, &mut out).unwrap() {
        if let Event::Headers { stream, block, .. } = event {
            heads.push((stream, block.map(<[u8]>::len)));
        }
    }
    assert_eq!(heads, [(1, None), (3, Some(1))]);
}

#[test]
fn frames_that_break_the_protocol_are_refused() {
    let table: [(Vec<u8>, Refusal); 14] = [
        (frame(4, 0, 0, &[0; 5]), Refusal::FrameSize),
        (frame(4, 1, 0, &[0; 6]), Refusal::FrameSize),
        (frame(4, 0, 1, &[]), Refusal::Malformed),
        (frame(4, 0, 0, &[0, 2, 0, 0, 0, 1]), Refusal::Setting),
        (frame(4, 0, 0, &[0, 4, 0x80, 0, 0, 0]), Refusal::Window),
        (frame(4, 0, 0, &[0, 5, 0, 0, 0, 1]), Refusal::Setting),
        (frame(5, 4, 1, &[0, 0, 0, 2, 0x88]), Refusal::Push),
        (frame(6, 0, 0, &[0; 7]), Refusal::FrameSize),
        (frame(8, 0, 0, &[0; 4]), Refusal::EmptyUpdate),
        (frame(8, 0, 0, &0x7fff_ffff_u32.to_be_bytes()), Refusal::Window),
        (frame(9, 4, 1, &[0x88]), Refusal::Continuation),
        (frame(1, 4, 3, &[0x88]), Refusal::IdleStream),
        (frame(0, 8, 1, &[9, 0]), Refusal::Malformed),
        (vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1], Refusal::FrameSize),
    ];
    for (bytes, refusal) in table {
        let (ended, _) = read(&[settings(), bytes.clone()].concat(), &[]);
        assert_eq!(ended, Ended::Refused(refusal), "{bytes:?}");
    }
    assert_eq!(read(b"HTTP/1.1 400 Bad\r\n", &[]).0, Ended::Refused(Refusal::NotHttp2));
    assert_eq!(read(&frame(6, 0, 0, &[0; 8]), &[]).0, Ended::Refused(Refusal::NotHttp2));
}

#[test]
fn malformed_responses_fail_their_stream() {
    use keepwarm_http2::Fault;
    let head = |block: &[u8]| read(&[settings(), frame(1, 5, 1, block)].concat(), &[]).0;
    let table: [(&[u8], Fault); 12] = [
        (&[], Fault::Status),
        (&[0x08, 2, b'2', b'0'], Fault::Status),
        (&[0x08, 3, b'0', b'2', b'0'], Fault::Status),
        (&[0x08, 3, b'1', b'0', b'1'], Fault::Order),
        (&[0x88, 0x88], Fault::Field),
        (&[0x5f, 0, 0x88], Fault::Field),
        (&[0x88, 0x82], Fault::Field),
        (&[0x88, 0, 2, b'A', b'a', 0], Fault::Field),
        (&[0x88, 0x0f, 0x2a, 7, b'c', b'h', b'u', b'n', b'k', b'e', b'd'], Fault::Field),
        (&[0x88, 0x0f, 0x0d, 1, b'5'], Fault::Length),
        (&[0x88, 0x0f, 0x0d, 1, b'x'], Fault::Length),
        (&[0x88, 0x0f, 0x0d, 1, b'0', 0x0f, 0x0d, 1, b'1'], Fault::Length),
    ];
    for (block, fault) in table {
        assert_eq!(head(block), Ended::Fault(fault), "{block:x?}");
    }
    let undecodable: [&[u8]; 6] =
        [&[0x80], &[0xbe], &[0x88, 0x3f, 1], &[0x3f, 0xe2, 0x1f], &[0x88, 0x00, 5, b'a'], &[0xff]];
    for block in undecodable {
        assert_eq!(head(block), Ended::Refused(Refusal::Compression), "{block:x?}");
    }
    assert_eq!(head(&[0x20, 0x88]), Ended::Complete(200, 0), "the table may be emptied first");
    let interim = frame(1, 4, 1, &[0x08, 3, b'1', b'0', b'3']).repeat(17);
    let ended = read(&[settings(), interim].concat(), &[]).0;
    assert_eq!(ended, Ended::Fault(Fault::Interim));
}

#[test]
fn windows_are_given_back_by_halves_and_kept() {
    let half = frame(0, 0, 1, &[0; 16_384]);
    let mut bytes = [settings(), frame(1, 4, 1, &[0x88])].concat();
    bytes.extend(half.repeat(40_000));
    let (ended, out) = read(&bytes, &[]);
    assert_eq!(ended, Ended::Open);
    // One ACK of SETTINGS, and one WINDOW_UPDATE of the connection.
    assert_eq!(out.len(), 9 + 13);
}

/// A server that wants a smaller table is told its size, once, and gets literals from then on.
#[test]
fn smaller_table_of_the_server_is_left_empty() {
    use keepwarm_http2::{Block, Connection, Dictionary};
    let (mut dictionary, mut block) = (Dictionary::default(), Block::new());
    block.push_kept(b":method", b"GET", &mut dictionary);
    block.push_kept(b":path", b"/a", &mut dictionary);
    block.push_kept(b"x", b"y", &mut dictionary);
    block.shorten(&dictionary);
    let mut connection = Connection::default();
    let request = |connection: &mut Connection, stream| {
        let mut out = Vec::new();
        connection.write_request(&block, &mut out, stream, true);
        out.split_off(9)
    };
    let entering = [0x82, 0x44, 2, b'/', b'a', 0x40, 1, b'x', 1, b'y'];
    assert_eq!(request(&mut connection, 1), entering);
    assert_eq!(request(&mut connection, 3), [0x82, 0xbf, 0xbe]);
    let mut settings = |size: u32| {
        let payload = [&1_u16.to_be_bytes()[..], &size.to_be_bytes()].concat();
        let bytes = frame(4, 0, 0, &payload);
        assert!(connection.next(&mut &bytes[..], &mut Vec::new()).expect("settings").is_some());
        request(&mut connection, 5)
    };
    assert_eq!(settings(4096), [0x82, 0xbf, 0xbe]);
    let literals = [0x82, 0x04, 2, b'/', b'a', 0, 1, b'x', 1, b'y'];
    assert_eq!(settings(4095), [&[0x20], &literals[..]].concat());
    assert_eq!(settings(0), literals);
    assert_eq!(settings(8192), literals);
}
