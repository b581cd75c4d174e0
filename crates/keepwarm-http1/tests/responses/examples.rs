//! The table of RFC 9112: responses, the requests that they answer, and the outcome of each.

use keepwarm_http1::{Asked, Persistence, Refusal};

use super::Outcome::{self, AtEnd, Complete, CutShort, Refused};
use super::REFUSING;

/// A response, the request that it answers, and the outcome under [`REFUSING`].
type Example = (&'static str, Asked, Vec<u8>, Outcome);

pub(crate) fn done(body: u64, persistence: Persistence) -> Outcome {
    Complete { status: 200, body, persistence, left: 0 }
}

pub(crate) fn ok(fields: &str, rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{rest}")
}

pub(crate) const LENGTH: &str = "Content-Length: 5\r\n";
pub(crate) const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

pub(crate) fn examples() -> Vec<Example> {
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
