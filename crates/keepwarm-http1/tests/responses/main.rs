//! Responses of RFC 9112 as a table, read by the decoder and by the counter: whole, cut
//! at every place, and byte by byte.

mod examples;

use bytes::BytesMut;
use http::HeaderMap;
use keepwarm_http1::{
    Asked, Counter, Decoder, Doubt, Error, Event, Limits, Persistence, Refusal, Rules,
};
use proptest::prelude::*;

use self::examples::{CHUNKED, LENGTH, done, examples, ok};

/// Outcome of reading a response: complete, with a number of bytes of input left over; complete or
/// cut short at the end of input; or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Complete { status: u16, body: u64, persistence: Persistence, left: usize },
    AtEnd { status: u16, body: u64 },
    CutShort(Refusal),
    Refused(Refusal, u64),
}
use Outcome::{AtEnd, Complete, CutShort, Refused};

/// Everything that a decoder hands out: data is joined, since pieces cut it elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
struct Read {
    interim: Vec<(u16, HeaderMap)>,
    head: Option<(u16, HeaderMap)>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

const REFUSING: Rules = Rules {
    limits: Limits { head: 64 << 10, interim: 16, chunk_line: 4 << 10, trailers: 16 << 10 },
    doubt: Doubt::Refuse,
};
const ENDING: Rules = Rules { doubt: Doubt::EndConnection, ..REFUSING };

fn decode(rules: Rules, asked: Asked, pieces: &[&[u8]]) -> (Outcome, Read) {
    let mut decoder = Decoder::new(rules);
    decoder.begin(asked);
    let (mut buffer, mut read) = (BytesMut::new(), Read::default());
    let mut pieces = pieces.iter();
    let outcome = loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(Event::Interim(head))) => {
                read.interim.push((head.status.as_u16(), head.headers));
            }
            Ok(Some(Event::Head(head))) => {
                assert!(read.head.replace((head.status.as_u16(), head.headers)).is_none());
            }
            Ok(Some(Event::Data(data))) => {
                assert!(!data.is_empty());
                read.data.extend_from_slice(&data);
            }
            Ok(Some(Event::Trailers(trailers))) => read.trailers = Some(trailers),
            Err(Error { refusal, offset, .. }) => break Refused(refusal, offset),
            Ok(None) if decoder.is_complete() => {
                let left = buffer.len() + pieces.map(|piece| piece.len()).sum::<usize>();
                let (status, body) = (read.head.as_ref().map_or(0, |head| head.0), read.data.len());
                let persistence = decoder.persistence();
                break Complete { status, body: body as u64, persistence, left };
            }
            Ok(None) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => {
                    break match decoder.end(&buffer) {
                        Ok(()) => AtEnd {
                            status: read.head.as_ref().map_or(0, |head| head.0),
                            body: read.data.len() as u64,
                        },
                        Err(error) => CutShort(error.refusal),
                    };
                }
            },
        }
    };
    (outcome, read)
}

fn count(counter: &mut Counter, asked: Asked, pieces: &[&[u8]]) -> Outcome {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    counter.begin(asked, false);
    let mut consumed = 0;
    for piece in pieces {
        match counter.feed(piece) {
            Err(Error { refusal, offset, .. }) => return Refused(refusal, offset),
            Ok(fed) => {
                consumed += fed.consumed;
                if let Some(counts) = fed.complete {
                    return Complete {
                        status: counts.status,
                        body: counts.body_bytes,
                        persistence: counts.persistence,
                        left: total - consumed,
                    };
                }
                assert_eq!(fed.consumed, piece.len(), "incomplete must take everything");
            }
        }
    }
    match counter.end() {
        Some(counts) => AtEnd { status: counts.status, body: counts.body_bytes },
        None => CutShort(Refusal::EndWithinBody),
    }
}

/// Equates what the counter does not tell apart, and what it refuses besides.
fn as_counted(outcome: &Outcome) -> Outcome {
    match outcome {
        CutShort(_) => CutShort(Refusal::EndWithinBody),
        other => other.clone(),
    }
}

#[test]
fn every_example_in_one_piece() {
    for (name, asked, bytes, outcome) in examples() {
        assert_eq!(decode(REFUSING, asked, &[&bytes]).0, outcome, "{name}");
        let counted = count(&mut Counter::new(REFUSING), asked, &[&bytes]);
        assert_eq!(counted, as_counted(&outcome), "{name}, counted");
    }
}

#[test]
fn every_example_at_every_split() {
    for (name, asked, bytes, outcome) in examples() {
        let whole = decode(REFUSING, asked, &[&bytes]).1;
        // Long examples are cut at a thousand places.
        for at in (0..=bytes.len()).step_by(bytes.len() / 1000 + 1) {
            let (first, second) = bytes.split_at(at);
            let (split, read) = decode(REFUSING, asked, &[first, second]);
            assert_eq!(split, outcome, "{name}, split at {at}");
            assert_eq!(read, whole, "{name}, split at {at}");
            let counted = count(&mut Counter::new(REFUSING), asked, &[first, second]);
            assert_eq!(counted, as_counted(&outcome), "{name}, counted, split at {at}");
        }
    }
}

#[test]
fn every_example_byte_by_byte() {
    for (name, asked, bytes, outcome) in examples() {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(REFUSING, asked, &pieces).0, outcome, "{name}");
        let counted = count(&mut Counter::new(REFUSING), asked, &pieces);
        assert_eq!(counted, as_counted(&outcome), "{name}, counted");
    }
}

#[test]
fn fields_and_trailers_are_handed_out() {
    let text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX: a\r\nx:  b \r\n\
                Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nSum: 42\r\nY:\r\n\r\n";
    let (outcome, read) = decode(REFUSING, Asked::Plain, &[text.as_bytes()]);
    assert_eq!(outcome, done(5, Persistence::Persistent));
    assert_eq!(read.interim[0].0, 103);
    assert_eq!(read.interim[0].1["link"], "</a>");
    let headers = &read.head.expect("a head").1;
    assert_eq!(headers.get_all("x").into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(read.data, b"abcde");
    let trailers = read.trailers.expect("trailers");
    assert_eq!(
        (&trailers["sum"], &trailers["y"], trailers.len()),
        (&"42".parse().unwrap(), &"".parse().unwrap(), 2)
    );
}

/// The decoder and the counter, both reading by the coding, then end the connection.
#[test]
fn doubt_may_end_the_connection_instead() {
    for fields in [format!("{CHUNKED}{LENGTH}"), format!("{LENGTH}{CHUNKED}")] {
        let text = ok(&fields, "5\r\nhello\r\n0\r\n\r\n");
        let outcome = decode(ENDING, Asked::Plain, &[text.as_bytes()]).0;
        assert_eq!(outcome, done(5, Persistence::Ambiguous));
    }
}

#[test]
fn empty_lines_before_a_head_are_read() {
    let text = format!("\r\n\n\r\n{}", ok(LENGTH, "hello"));
    for cut in 0..text.len() {
        let (one, two) = text.as_bytes().split_at(cut);
        let outcome = decode(REFUSING, Asked::Plain, &[one, two]).0;
        assert_eq!(outcome, done(5, Persistence::Persistent), "cut at {cut}");
    }
    let counted = count(&mut Counter::new(REFUSING), Asked::Plain, &[text.as_bytes()]);
    assert_eq!(counted, Refused(Refusal::NotHttp, 0), "a load reports them");
}

/// A head of exactly `len` bytes, with its empty line, and an empty body.
fn head_of(len: usize) -> Vec<u8> {
    let (start, end) = ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(len - start.len() - end.len())).into_bytes()
}

/// Its line has no end that would have it read before.
#[test]
fn refused_last_line_is_found_at_the_end() {
    let ends: [(&[u8], Refusal, u64); 2] = [
        (b"HTTP/1.1 200 OK\r\nA: b\rc", Refusal::FieldValue, 22),
        (b"\rHTTP/1\x001 200", Refusal::LineEnd, 1),
    ];
    for (text, cut) in ends.iter().flat_map(|end| (0..end.0.len()).map(move |cut| (end, cut))) {
        let (text, refusal, offset) = *text;
        let mut decoder = Decoder::new(Rules::default());
        decoder.begin(Asked::Plain);
        let mut buffer = BytesMut::from(&text[..cut]);
        let read = decoder.decode(&mut buffer).and_then(|_| {
            buffer.extend_from_slice(&text[cut..]);
            decoder.decode(&mut buffer)
        });
        let error = read.and_then(|_| decoder.end(&buffer)).expect_err("a bare CR");
        assert_eq!((error.refusal, error.offset), (refusal, offset), "cut at {cut}");
    }
}

/// They are part of the head.
#[test]
fn empty_lines_count_towards_the_head() {
    let limit = REFUSING.limits.head;
    for empty in [2, 100, limit - 40, limit] {
        let lines = "\r\n".repeat(empty / 2);
        let head = head_of((limit - empty).max(43));
        let bytes = [lines.as_bytes(), &head].concat();
        let fits = bytes.len() <= limit;
        let expected = match fits {
            true => done(0, Persistence::Persistent),
            false => Refused(Refusal::HeadTooLarge, limit as u64),
        };
        for split in [0, 1, empty, bytes.len().min(limit)] {
            let (a, b) = bytes.split_at(split);
            let outcome = decode(REFUSING, Asked::Plain, &[a, b]).0;
            assert_eq!(outcome, expected, "{empty} bytes of empty lines, cut at {split}");
        }
    }
}

#[test]
fn head_limit_is_exact_to_the_byte() {
    let limit = REFUSING.limits.head;
    let (fits, too_large) = (head_of(limit), head_of(limit + 1));
    for split in [0, 1, 40, 4096, limit - 1, limit] {
        for (bytes, outcome) in [
            (&fits, done(0, Persistence::Persistent)),
            (&too_large, Refused(Refusal::HeadTooLarge, limit as u64)),
        ] {
            let (a, b) = bytes.split_at(split);
            assert_eq!(decode(REFUSING, Asked::Plain, &[a, b]).0, outcome, "{split}");
            let counted = count(&mut Counter::new(REFUSING), Asked::Plain, &[a, b]);
            assert_eq!(counted, outcome, "{split}, counted");
        }
    }
}

#[test]
fn interim_heads_count_towards_the_limit() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let rules = Rules { limits: Limits { interim: u32::MAX, ..REFUSING.limits }, ..REFUSING };
    let text = hint.repeat(rules.limits.head / hint.len() + 1);
    let limit = rules.limits.head as u64;
    let outcome = decode(rules, Asked::Plain, &[text.as_bytes()]).0;
    assert_eq!(outcome, Refused(Refusal::HeadTooLarge, limit));
    // A known head must not slip past the limit.
    let counted = count(&mut Counter::new(rules), Asked::Plain, &[text.as_bytes()]);
    assert_eq!(counted, Refused(Refusal::HeadTooLarge, limit));
}

#[test]
fn ten_thousand_fields_fit_a_mebibyte() {
    let fields: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let text = ok(&format!("{fields}{LENGTH}"), "hello");
    let (outcome, read) = decode(Rules::default(), Asked::Plain, &[text.as_bytes()]);
    assert_eq!(outcome, done(5, Persistence::Persistent));
    assert_eq!(read.head.expect("a head").1.len(), 10_001);
    let fields: String = (0..40_000).map(|n| format!("x{n}:\r\n")).collect();
    let outcome = decode(Rules::default(), Asked::Plain, &[ok(&fields, "").as_bytes()]).0;
    assert!(matches!(outcome, Refused(Refusal::TooManyFields, _)), "{outcome:?}");
}

/// A peer that drips a line at a time must not cost the square of its bytes.
#[test]
fn dripped_heads_cost_their_bytes() {
    for (start, line) in [("HTTP/1.1 200 OK\r\n", "A: b\r\n"), ("", "\r\n"), ("", "\n")] {
        let mut decoder = Decoder::new(Rules::default());
        decoder.begin(Asked::Plain);
        let mut buffer = BytesMut::from(start);
        let began = std::time::Instant::now();
        let mut lines = 0_u32;
        while decoder.decode(&mut buffer).expect("no line is wrong").is_none() && lines < 150_000 {
            buffer.extend_from_slice(line.as_bytes());
            lines += 1;
        }
        // Parsing all of it at each line took minutes.
        let took = began.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{line:?}: {took:?}");
    }
}

#[test]
fn values_share_the_buffer() {
    let mut decoder = Decoder::new(Rules::default());
    decoder.begin(Asked::Plain);
    let mut buffer = BytesMut::with_capacity(256);
    buffer.extend_from_slice(b"HTTP/1.1 200 OK\r\nX: value\r\nContent-Length: 4\r\n\r\nbody");
    let room = buffer.as_ptr() as usize..buffer.as_ptr() as usize + 256;
    let Ok(Some(Event::Head(head))) = decoder.decode(&mut buffer) else { panic!("a head") };
    assert!(room.contains(&(head.headers["x"].as_bytes().as_ptr() as usize)));
    let Ok(Some(Event::Data(data))) = decoder.decode(&mut buffer) else { panic!("data") };
    assert!(room.contains(&(data.as_ptr() as usize)));
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Two readings of the same bytes agree: where a head is wrong, the reading in pieces may see it
/// earlier or later, but neither accepts it.
fn agree(one: &Outcome, other: &Outcome) -> bool {
    let failed = |outcome: &Outcome| matches!(outcome, Refused(..) | CutShort(_));
    one == other || (failed(one) && failed(other))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_read_the_same_in_pieces(
        head: bool,
        start in 0usize..4,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let starts = ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"];
        let asked = if head { Asked::Head } else { Asked::Plain };
        let mut all = starts[start].as_bytes().to_vec();
        all.extend(bytes);
        let (whole, read) = decode(REFUSING, asked, &[&all]);
        for parts in [pieces(&all, &cuts), all.chunks(1).collect()] {
            let (split, read_split) = decode(REFUSING, asked, &parts);
            prop_assert!(agree(&whole, &split), "{whole:?} {split:?}");
            if whole == split && !matches!(whole, Refused(..)) { prop_assert_eq!(&read, &read_split); }
        }
    }

    #[test]
    fn mutations_read_the_same_in_pieces(
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\r\n\0 \t:;,0aF\x80".to_vec())],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let examples = examples();
        let (_, asked, mut bytes, _) = examples[pick.index(examples.len())].clone();
        if bytes.is_empty() { bytes.push(b'H'); }
        let position = at.index(bytes.len());
        bytes[position] = byte;
        let (whole, _) = decode(REFUSING, asked, &[&bytes]);
        let parts = pieces(&bytes, &cuts);
        let (split, _) = decode(REFUSING, asked, &parts);
        prop_assert!(agree(&whole, &split), "{whole:?} {split:?}");
        // The counter agrees with the decoder, but for empty lines before a head.
        if !matches!(bytes[0], b'\r' | b'\n') {
            for parts in [&[&bytes[..]][..], &parts[..]] {
                let counted = count(&mut Counter::new(REFUSING), asked, parts);
                prop_assert!(agree(&as_counted(&whole), &counted), "{whole:?} {counted:?}");
            }
        }
    }

    #[test]
    fn recognised_head_equals_parsed_head(
        pick in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in any::<prop::sample::Index>(),
    ) {
        let examples = examples();
        let (_, asked_before, before, _) = examples[pick.index(examples.len())].clone();
        // Mostly the same response again, as servers do; changed in one byte, or cut in two.
        let again = if other.index(4) > 0 { pick } else { other };
        let (_, asked, mut bytes, _) = examples[again.index(examples.len())].clone();
        if let Some((at, byte)) = change && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (first, rest) = bytes.split_at(cut.index(bytes.len() + 1));
        for parts in [&[&bytes[..]][..], &[first, rest]] {
            let mut knowing = Counter::new(REFUSING);
            count(&mut knowing, asked_before, &[&before]);
            let known = count(&mut knowing, asked, parts);
            prop_assert_eq!(known, count(&mut Counter::new(REFUSING), asked, parts));
        }
    }

    #[test]
    fn chunked_bodies_of_any_shape(sizes in prop::collection::vec(1usize..200, 0..20), cut in 1usize..50) {
        let mut bytes = ok(CHUNKED, "").into_bytes();
        for size in &sizes {
            bytes.extend(format!("{size:X}\r\n{}\r\n", "y".repeat(*size)).into_bytes());
        }
        bytes.extend(b"0\r\n\r\n");
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        let content = sizes.iter().sum::<usize>() as u64;
        let outcome = done(content, Persistence::Persistent);
        prop_assert_eq!(decode(REFUSING, Asked::Plain, &pieces).0, outcome.clone());
        prop_assert_eq!(count(&mut Counter::new(REFUSING), Asked::Plain, &pieces), outcome);
    }
}
