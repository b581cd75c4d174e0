//! Responses of RFC 9112 as a table, read by the decoder and by the counter: whole, cut
//! at every place, and byte by byte.

use bytes::BytesMut;
use http::HeaderMap;
use keepwarm_http1::{
    Asked, Counter, Decoder, Doubt, Error, Event, Limits, Persistence, Refusal, Rules,
};
use proptest::prelude::*;

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

/// A response, the request that it answers, and the outcome under [`REFUSING`].
type Example = (&'static str, Asked, Vec<u8>, Outcome);

fn done(body: u64, persistence: Persistence) -> Outcome {
    Complete { status: 200, body, persistence, left: 0 }
}

fn ok(fields: &str, rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{rest}")
}

const LENGTH: &str = "Content-Length: 5\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn examples() -> Vec<Example> {
    let mut all = Vec::new();
    for (asked, group) in [
        (Asked::Plain, lengths()),
        (Asked::Plain, persistence()),
        (Asked::Plain, codings()),
        (Asked::Plain, chunks()),
        (Asked::Plain, heads()),
        (Asked::Plain, interim()),
        (Asked::Head, answers_to_head()),
        (Asked::Connect, answers_to_connect()),
        (Asked::Upgrade, answers_to_upgrade()),
    ] {
        let group = group
            .into_iter()
            .map(|(name, text, outcome)| (name, asked, text.into_bytes(), outcome));
        all.extend(group);
    }
    all
}

type Row = (&'static str, String, Outcome);

/// RFC 9112, 6.2 and 6.3; RFC 9110, 8.6.
fn lengths() -> Vec<Row> {
    use Persistence::Persistent;
    let refused = |refusal| move |offset| Refused(refusal, offset);
    let (bad, differ) = (refused(Refusal::ContentLength), refused(Refusal::ConflictingLengths));
    let after = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}").len() as u64;
    let mut rows = vec![
        ("length", ok(LENGTH, "hello"), done(5, Persistent)),
        ("length zero", ok("content-LENGTH: 0\r\n", ""), done(0, Persistent)),
        ("leading zeros", ok("Content-Length: 0005\r\n", "hello"), done(5, Persistent)),
        ("no blank behind the colon", ok("Content-Length:5\r\n", "hello"), done(5, Persistent)),
        (
            "surplus bytes",
            ok(LENGTH, "helloHTTP/1.1"),
            Complete { status: 200, body: 5, persistence: Persistent, left: 8 },
        ),
        ("cut within the body", ok(LENGTH, "hell"), CutShort(Refusal::EndWithinBody)),
        ("equal lengths", ok(&format!("{LENGTH}{LENGTH}"), "hello"), done(5, Persistent)),
        ("list of equal lengths", ok("Content-Length: 5, 5\r\n", "hello"), done(5, Persistent)),
        ("no length", ok("", "hello"), AtEnd { status: 200, body: 5 }),
        ("no length, no body", ok("", ""), AtEnd { status: 200, body: 0 }),
        (
            "lengths that differ",
            ok(&format!("{LENGTH}Content-Length: 6\r\n"), "hello"),
            differ(after("Content-Length: 5\r\nContent-Length: ")),
        ),
        ("list that differs", ok("Content-Length: 5,6\r\n", ""), differ(after("Content-Length: "))),
    ];
    for (name, value) in [
        ("signed length", "+5"),
        ("negative length", "-5"),
        ("length in hex", "0x5"),
        ("length of two numbers", "5 5"),
        ("length beyond 64 bits", "18446744073709551616"),
        ("length with an empty member", "5,"),
        ("empty length", ""),
    ] {
        let blank = if value.is_empty() { "" } else { " " };
        let text = ok(&format!("Content-Length:{blank}{value}\r\n"), "hello");
        rows.push((name, text, bad(after(&format!("Content-Length:{blank}")))));
    }
    rows
}

/// RFC 9112, 9.3; RFC 9110, 7.6.1 and 5.6.1.
fn persistence() -> Vec<Row> {
    use Persistence::{Persistent, ServerCloses};
    let connection = |value: &str| ok(&format!("{LENGTH}Connection: {value}\r\n"), "hello");
    let old = |fields: &str| format!("HTTP/1.0 200 OK\r\n{LENGTH}{fields}\r\nhello");
    vec![
        ("close", connection("close"), done(5, ServerCloses)),
        ("close in a list", connection("foo,\tCLOSE ,x"), done(5, ServerCloses)),
        ("empty members", connection(",, close,"), done(5, ServerCloses)),
        ("high bytes beside close", connection("\u{e9}, close"), done(5, ServerCloses)),
        ("closed is no close", connection("closed"), done(5, Persistent)),
        ("keep-alive and close", connection("keep-alive, close"), done(5, ServerCloses)),
        ("HTTP/1.0", old(""), done(5, ServerCloses)),
        ("HTTP/1.0 kept alive", old("Connection: Keep-Alive\r\n"), done(5, Persistent)),
        ("HTTP/1.0 and both", old("Connection: keep-alive, close\r\n"), done(5, ServerCloses)),
    ]
}

/// RFC 9112, 6.1 and 6.3.
fn codings() -> Vec<Row> {
    use Persistence::{Ambiguous, Persistent};
    let coded = |value: &str, rest: &str| ok(&format!("Transfer-Encoding: {value}\r\n"), rest);
    let end = |text: &str| (text.find("\r\n\r\n").expect("a whole head") + 4) as u64;
    let both = ok(&format!("{CHUNKED}{LENGTH}"), "5\r\nhello\r\n0\r\n\r\n");
    let at_value = (ok("Transfer-Encoding: ", "").len() - 2) as u64;
    let last = coded("chunked, gzip", "0\r\n\r\n");
    vec![
        ("chunked in capitals", coded("CHUNKED", "0\r\n\r\n"), done(0, Persistent)),
        ("gzip, chunked", coded("gzip, chunked", "1\r\nx\r\n0\r\n\r\n"), done(1, Persistent)),
        ("gzip only", coded("gzip", "xyz"), AtEnd { status: 200, body: 3 }),
        (
            "chunks in HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{CHUNKED}\r\n0\r\n\r\n"),
            done(0, Ambiguous),
        ),
        ("length and chunked", both.clone(), Refused(Refusal::LengthAndCoding, end(&both))),
        (
            "chunked twice",
            coded("chunked, chunked", "0\r\n\r\n"),
            Refused(Refusal::TransferEncoding, at_value),
        ),
        (
            "chunked twice in two fields",
            ok(&format!("{CHUNKED}{CHUNKED}"), "0\r\n\r\n"),
            Refused(Refusal::TransferEncoding, at_value + 9 + 19),
        ),
        ("chunked not last", last.clone(), Refused(Refusal::TransferEncoding, end(&last))),
    ]
}

/// RFC 9112, 7.1.
fn chunks() -> Vec<Row> {
    use Persistence::Persistent;
    let body = |rest: &str| ok(CHUNKED, rest);
    let start = ok(CHUNKED, "").len() as u64;
    let left = |body, left| Complete { status: 200, body, persistence: Persistent, left };
    let mut rows = vec![
        ("chunk", body("5\r\nhello\r\n0\r\n\r\n"), done(5, Persistent)),
        ("chunks", body("1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\nX"), left(11, 1)),
        ("extensions", body("5;a=b;c=\"d e\"\r\nhello\r\n0 ; x\r\n\r\n"), done(5, Persistent)),
        ("blanks behind a size", body("5 \t\r\nhello\r\n0\r\n\r\n"), done(5, Persistent)),
        ("trailers", body("5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n"), done(5, Persistent)),
        (
            "zeros before a size",
            body(&format!("{:0>999}\r\nhello\r\n0\r\n\r\n", 5)),
            done(5, Persistent),
        ),
        (
            "zeros without end",
            body(&"0".repeat(5000)),
            Refused(Refusal::ChunkLineTooLong, start + 4096),
        ),
        ("16 digits", body("FFFFFFFFFFFFFFFF\r\nhello"), CutShort(Refusal::EndWithinBody)),
        ("cut within a size", body("5"), CutShort(Refusal::EndWithinBody)),
        ("cut before the last line", body("0\r\n\r"), CutShort(Refusal::EndWithinBody)),
    ];
    for (name, rest, refusal, at) in [
        ("empty size", "\r\nhello", Refusal::ChunkSize, 0),
        ("signed size", "-5\r\nhello", Refusal::ChunkSize, 0),
        ("size with 0x", "0x5\r\nhello", Refusal::ChunkSize, 1),
        ("size of two numbers", "8 8\r\nhello", Refusal::ChunkSize, 2),
        ("17 digits", "10000000000000005\r\nhello", Refusal::ChunkSize, 16),
        ("size with LF alone", "5\nhello\n0\n\n", Refusal::ChunkSize, 1),
        ("extension with LF alone", "5;a\nhello", Refusal::ChunkSize, 3),
        ("extension with NUL", "5;\0\r\nhello", Refusal::ChunkSize, 2),
        ("bare CR behind a size", "5\rXhello", Refusal::ChunkSize, 2),
        ("chunk too long", "5\r\nhelloo\r\n0\r\n\r\n", Refusal::ChunkEnd, 8),
        ("chunk too short", "6\r\nhello\r\n0\r\n\r\n", Refusal::ChunkEnd, 9),
        ("chunk end with LF alone", "5\r\nhello\n0\r\n\r\n", Refusal::ChunkEnd, 8),
        ("chunk end broken", "5\r\nhello\rX", Refusal::ChunkEnd, 9),
        ("trailer without colon", "0\r\nabc\r\n\r\n", Refusal::Trailer, 6),
        ("folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Refusal::Trailer, 9),
        ("trailer with LF alone", "0\r\nA: b\n\r\n", Refusal::Trailer, 7),
        ("trailer with NUL", "0\r\nA: \0\r\n\r\n", Refusal::Trailer, 6),
        ("blank before a trailer's colon", "0\r\nA : b\r\n\r\n", Refusal::Trailer, 4),
        ("last line broken", "0\r\n\rX", Refusal::Trailer, 4),
    ] {
        rows.push((name, body(rest), Refused(refusal, start + at)));
    }
    let long = format!("5;{}\r\n", "x".repeat(5000));
    rows.push(("long extension", body(&long), Refused(Refusal::ChunkLineTooLong, start + 4096)));
    let trailers = format!("0\r\n{}", "A: b\r\n".repeat(4000));
    let limit = REFUSING.limits.trailers as u64;
    let end = Refused(Refusal::TrailersTooLarge, start + 3 + limit);
    rows.push(("trailers beyond the limit", body(&trailers), end));
    rows
}

/// RFC 9112, 2.2, 4 and 5.
fn heads() -> Vec<Row> {
    use Persistence::Persistent;
    let line = "HTTP/1.1 200 OK\r\n".len() as u64;
    let field = |text: &str| ok(text, "");
    let status = |status| Complete { status, body: 5, persistence: Persistent, left: 0 };
    vec![
        ("nothing", String::new(), CutShort(Refusal::EndBeforeHead)),
        ("cut within a head", "HTTP/1.1 200 OK\r\nConte".into(), CutShort(Refusal::EndWithinHead)),
        ("cut within the prefix", "HTT".into(), CutShort(Refusal::EndWithinHead)),
        ("no reason", format!("HTTP/1.1 200\r\n{LENGTH}\r\nhello"), done(5, Persistent)),
        (
            "lines in LF alone",
            "HTTP/1.1 200 OK\nContent-Length: 1\n\nx".into(),
            done(1, Persistent),
        ),
        ("status 999", format!("HTTP/1.1 999 OK\r\n{LENGTH}\r\nhello"), status(999)),
        ("status 404", format!("HTTP/1.1 404 No\r\n{LENGTH}\r\nhello"), status(404)),
        (
            "204",
            "HTTP/1.1 204 No Content\r\n\r\n".into(),
            Complete { status: 204, body: 0, persistence: Persistent, left: 0 },
        ),
        (
            "304 with a length",
            format!("HTTP/1.1 304 Not Modified\r\n{LENGTH}\r\n"),
            Complete { status: 304, body: 0, persistence: Persistent, left: 0 },
        ),
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n".into(), Refused(Refusal::NotHttp, 0)),
        ("HTTP/2", "HTTP/2 200\r\n\r\n".into(), Refused(Refusal::NotHttp, 0)),
        ("lower case", "http/1.1 200 OK\r\n\r\n".into(), Refused(Refusal::NotHttp, 0)),
        ("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n".into(), Refused(Refusal::Version, 7)),
        ("bad status", "HTTP/1.1 2x0 OK\r\n\r\n".into(), Refused(Refusal::StatusLine, 10)),
        ("status 099", "HTTP/1.1 099 OK\r\n\r\n".into(), Refused(Refusal::StatusLine, 0)),
        ("blank before the colon", field("A : b\r\n"), Refused(Refusal::FieldName, line + 1)),
        ("no colon", field("A\r\n"), Refused(Refusal::FieldName, line + 1)),
        ("no name", field(": b\r\n"), Refused(Refusal::FieldName, line)),
        ("folded", field("A: b\r\n c\r\n"), Refused(Refusal::FieldName, line + 6)),
        ("NUL in a value", field("A: b\0\r\n"), Refused(Refusal::FieldValue, line + 4)),
        ("bare CR in a value", field("A: b\rc\r\n"), Refused(Refusal::FieldValue, line + 5)),
        (
            "a hundred fields and one",
            ok(&format!("{LENGTH}{}", "A: b\r\n".repeat(100)), "hello"),
            done(5, Persistent),
        ),
    ]
}

/// RFC 9110, 15.2.
fn interim() -> Vec<Row> {
    use Persistence::Persistent;
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
    let many =
        |count: usize| format!("{}{}", "HTTP/1.1 100 C\r\n\r\n".repeat(count), ok(LENGTH, "hello"));
    let body = "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n";
    vec![
        ("100 first", many(1), done(5, Persistent)),
        ("16 interim", many(16), done(5, Persistent)),
        ("103 with fields", format!("{hint}{}", ok(LENGTH, "hello")), done(5, Persistent)),
        ("only 100", "HTTP/1.1 100 Continue\r\n\r\n".into(), CutShort(Refusal::EndWithinHead)),
        ("17 interim", many(17), Refused(Refusal::TooManyInterim, 17 * 18)),
        ("100 with a body", format!("{body}hello"), Refused(Refusal::NotHttp, body.len() as u64)),
        (
            "unasked 101",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(),
            Refused(Refusal::UnaskedUpgrade, 36),
        ),
    ]
}

fn answers_to_head() -> Vec<Row> {
    use Persistence::Persistent;
    let surplus = Complete { status: 200, body: 0, persistence: Persistent, left: 5 };
    vec![
        ("HEAD", ok(LENGTH, ""), done(0, Persistent)),
        ("HEAD without length", ok("", ""), done(0, Persistent)),
        ("HEAD chunked", ok(CHUNKED, ""), done(0, Persistent)),
        (
            "HEAD with length and chunks",
            ok(&format!("{LENGTH}{CHUNKED}"), ""),
            done(0, Persistence::Ambiguous),
        ),
        ("HEAD with a body all the same", ok(LENGTH, "hello"), surplus),
    ]
}

fn answers_to_connect() -> Vec<Row> {
    use Persistence::{Persistent, Switched};
    let tunnel = |left| Complete { status: 200, body: 0, persistence: Switched, left };
    vec![
        ("CONNECT 200", ok("", ""), tunnel(0)),
        ("CONNECT 200 with a length", ok(LENGTH, "hello"), tunnel(5)),
        (
            "CONNECT 407",
            format!("HTTP/1.1 407 No\r\n{LENGTH}\r\nhello"),
            Complete { status: 407, body: 5, persistence: Persistent, left: 0 },
        ),
    ]
}

fn answers_to_upgrade() -> Vec<Row> {
    use Persistence::{Persistent, Switched};
    let granted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n";
    let rest = Complete { status: 101, body: 0, persistence: Switched, left: 4 };
    vec![
        ("101 hands over the rest", format!("{granted}rest"), rest),
        ("an upgrade declined", ok(LENGTH, "hello"), done(5, Persistent)),
    ]
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
