//! The list of animals. Expectations follow RFC 9110 and 9112. Where these leave a choice, the list
//! takes the stricter one for the connection (no reuse) and the more lenient one for the response.

use super::{
    Afterwards::{self, Noticed, Refused, Reused},
    Animal, Ask, Expect,
    Expect::{EitherButBounded, Fails, Reply},
    Step::{
        self, Dribble, Endless, Fin, Flood, HalfClose, Read, ReadBytes, Rst, Silence, WhenEnded,
    },
};

pub(super) const MARKED: Expect = Reply(200, "{M}");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}";
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{X}";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Lists all animals.
#[must_use]
pub fn animals() -> Vec<Animal> {
    let groups = [
        endings(),
        lengths(),
        encodings(),
        persistence(),
        heads(),
        floods(),
        bodiless(),
        chunks(),
        slow(),
        strays(),
        idle(),
        uploads(),
    ];
    groups.into_iter().flatten().collect()
}

pub(super) fn animal(
    name: impl Into<String>,
    does: impl Into<String>,
    script: Vec<Step>,
    expect: Expect,
    afterwards: Afterwards,
) -> Animal {
    let (name, does) = (name.into(), does.into());
    Animal { name, does, ask: Ask::Get, script, expect, afterwards, follows: 0 }
}

/// An animal that reads the request, and writes `response` at once.
pub(super) fn says(name: &str, response: &str, expect: Expect, afterwards: Afterwards) -> Animal {
    let shown: String = response.chars().take(80).collect();
    animal(name, format!("answers {shown:?}"), vec![Read, write(response)], expect, afterwards)
}

/// An animal like [`says`] that closes afterwards.
pub(super) fn says_and_closes(
    name: &str,
    response: &str,
    expect: Expect,
    afterwards: Afterwards,
) -> Animal {
    let mut animal = says(name, response, expect, afterwards);
    animal.script.push(Fin);
    animal.does += " and closes";
    animal
}

pub(super) fn write(text: impl Into<String>) -> Step {
    Step::Write(text.into())
}

/// A response with these fields and a body of eight bytes.
fn with_fields(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{{M}}")
}

fn chunked(body: &str) -> String {
    format!("{CHUNKED}{body}")
}

pub(super) fn asked_by(ask: Ask, mut animal: Animal) -> Animal {
    animal.ask = ask;
    animal
}

/// FIN, RST, half-close and silence at every point of the exchange.
fn endings() -> Vec<Animal> {
    let points: [(&str, Vec<Step>); 15] = [
        ("after accept", vec![]),
        ("within the request head", vec![ReadBytes(20)]),
        ("after the request", vec![Read]),
        ("within the status line", vec![Read, write("HTTP/1.1 2")]),
        ("after the status line", vec![Read, write("HTTP/1.1 200 OK\r\n")]),
        ("within the headers", vec![Read, write("HTTP/1.1 200 OK\r\nContent-Le")]),
        ("after the head", vec![Read, write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")]),
        ("within the body", vec![Read, write("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{M}")]),
        ("after a 100", vec![Read, write("HTTP/1.1 100 Continue\r\n\r\n")]),
        ("after a chunked head", vec![Read, write(CHUNKED)]),
        ("within a chunk size", vec![Read, write(chunked("8"))]),
        ("within a chunk", vec![Read, write(chunked("10\r\n{M}"))]),
        ("before the last chunk", vec![Read, write(chunked("8\r\n{M}\r\n"))]),
        ("within the last chunk", vec![Read, write(chunked("8\r\n{M}\r\n0\r\n"))]),
        ("within the trailers", vec![Read, write(chunked("8\r\n{M}\r\n0\r\nX-Check: 1"))]),
    ];
    let ends = [("FIN", Fin), ("RST", Rst), ("half-close", HalfClose), ("silence", Silence)];
    let mut all = Vec::new();
    for (point, script) in points {
        for (end, step) in &ends {
            let mut script = script.clone();
            script.push(step.clone());
            all.push(animal(
                format!("{end} {point}"),
                format!("gets as far as {point}, then {end}"),
                script,
                Fails,
                Refused,
            ));
        }
    }
    let last = with_fields("Connection: close\r\nContent-Length: 8");
    let endless = "HTTP/1.1 200 OK\r\n\r\n{M}";
    all.extend([
        says_and_closes("FIN after the body", OK, MARKED, Noticed),
        animal(
            "RST after the body",
            "answers, then RST",
            vec![Read, write(OK), Rst],
            EitherButBounded,
            Noticed,
        ),
        animal(
            "half-close after the body",
            "answers, then FIN, and reads on",
            vec![Read, write(OK), HalfClose],
            MARKED,
            Noticed,
        ),
        says_and_closes("FIN after the last body", &last, MARKED, Refused),
        animal(
            "RST after the last body",
            "says close, answers, RST",
            vec![Read, write(&*last), Rst],
            EitherButBounded,
            Refused,
        ),
        animal(
            "half-close after the last body",
            "says close, FIN, reads on",
            vec![Read, write(&*last), HalfClose],
            MARKED,
            Refused,
        ),
        animal(
            "silence after the last body",
            "says close and does not",
            vec![Read, write(&*last), Silence],
            MARKED,
            Refused,
        ),
        says_and_closes("FIN ends a body without length", endless, MARKED, Refused),
        animal(
            "RST within a body without length",
            "no length, RST",
            vec![Read, write(endless), Rst],
            Fails,
            Refused,
        ),
        animal(
            "silence within a body without length",
            "no length, no end",
            vec![Read, write(endless), Silence],
            Fails,
            Refused,
        ),
        animal(
            "half-close ends a body without length",
            "no length, FIN, reads on",
            vec![Read, write(endless), HalfClose],
            MARKED,
            Refused,
        ),
    ]);
    all
}

/// Doubtful Content-Length fields.
fn lengths() -> Vec<Animal> {
    let bad = [
        ("two lengths that differ", "Content-Length: 8\r\nContent-Length: 9"),
        ("two lengths that differ, the other way", "Content-Length: 9\r\nContent-Length: 8"),
        ("a list of lengths that differ", "Content-Length: 8, 9"),
        ("a length below zero", "Content-Length: -8"),
        ("a length with a plus", "Content-Length: +8"),
        ("a length in hex", "Content-Length: 0x8"),
        ("an empty length", "Content-Length:"),
        ("a length that is a word", "Content-Length: eight"),
        ("a length of two numbers", "Content-Length: 8 8"),
        ("a length with a fraction", "Content-Length: 8.0"),
        ("a length beyond 64 bits", "Content-Length: 18446744073709551624"),
        ("a length and an empty one", "Content-Length: 8\r\nContent-Length:"),
    ];
    let mut all: Vec<_> =
        bad.iter().map(|(name, fields)| says(name, &with_fields(fields), Fails, Refused)).collect();
    all.extend([
        says(
            "the same length twice",
            &with_fields("Content-Length: 8\r\nContent-Length: 8"),
            MARKED,
            Reused,
        ),
        says("the same length in a list", &with_fields("Content-Length: 8, 8"), MARKED, Reused),
        says("a length with leading zeros", &with_fields("Content-Length: 0008"), MARKED, Reused),
        says_and_closes("a length too long", &with_fields("Content-Length: 9"), Fails, Refused),
        says_and_closes(
            "a length of exabytes",
            &with_fields("Content-Length: 9223372036854775807"),
            Fails,
            Refused,
        ),
        says(
            "a length too short",
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}{X}",
            MARKED,
            Refused,
        ),
        says(
            "a length of zero with a body",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{X}",
            Reply(200, ""),
            Refused,
        ),
    ]);
    all
}

/// Doubtful Transfer-Encoding fields.
fn encodings() -> Vec<Animal> {
    let good = "8\r\n{M}\r\n0\r\n\r\n";
    let coded = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{good}");
    let smuggled = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{STRAY}"
    );
    vec![
        says(
            "length and chunks",
            &coded("Content-Length: 18\r\nTransfer-Encoding: chunked"),
            EitherButBounded,
            Refused,
        ),
        says(
            "chunks and length",
            &coded("Transfer-Encoding: chunked\r\nContent-Length: 18"),
            EitherButBounded,
            Refused,
        ),
        says(
            "a length of zero, and chunks",
            &coded("Content-Length: 0\r\nTransfer-Encoding: chunked"),
            EitherButBounded,
            Refused,
        ),
        says("a response smuggled behind length and chunks", &smuggled, EitherButBounded, Refused),
        says(
            "chunked twice in a list",
            &coded("Transfer-Encoding: chunked, chunked"),
            EitherButBounded,
            Refused,
        ),
        says(
            "chunked in two fields",
            &coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            EitherButBounded,
            Refused,
        ),
        says("chunked in capitals", &coded("Transfer-Encoding: CHUNKED"), MARKED, Reused),
        says_and_closes(
            "chunked is not the last coding",
            &coded("Transfer-Encoding: chunked, identity"),
            EitherButBounded,
            Refused,
        ),
        says_and_closes(
            "an unknown coding",
            &with_fields("Transfer-Encoding: xchunked"),
            EitherButBounded,
            Refused,
        ),
        says_and_closes(
            "an unknown coding and a length",
            &with_fields("Transfer-Encoding: x\r\nContent-Length: 8"),
            EitherButBounded,
            Refused,
        ),
        says_and_closes(
            "an empty coding",
            &with_fields("Transfer-Encoding:"),
            EitherButBounded,
            Refused,
        ),
        says(
            "chunks in HTTP/1.0",
            &format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{good}"),
            EitherButBounded,
            Refused,
        ),
        says(
            "chunks in HTTP/1.0 kept alive",
            &format!(
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{good}"
            ),
            EitherButBounded,
            Refused,
        ),
    ]
}

/// Doubtful signs of persistence.
fn persistence() -> Vec<Animal> {
    let http_10 =
        |fields: &str| format!("HTTP/1.0 200 OK\r\nContent-Length: 8{fields}\r\n\r\n{{M}}");
    let connection =
        |value: &str| with_fields(&format!("Connection: {value}\r\nContent-Length: 8"));
    vec![
        says("HTTP/1.0", &http_10(""), MARKED, Refused),
        says("HTTP/1.0 kept alive", &http_10("\r\nConnection: keep-alive"), MARKED, Reused),
        says(
            "HTTP/1.0 keep-alive and close",
            &http_10("\r\nConnection: keep-alive, close"),
            MARKED,
            Refused,
        ),
        says("CLOSE in capitals", &connection("CLOSE"), MARKED, Refused),
        says("close in a list", &connection("x, close ,y"), MARKED, Refused),
        says(
            "close in the second field",
            &connection("keep-alive\r\nConnection: close"),
            MARKED,
            Refused,
        ),
        says(
            "close in the first field",
            &connection("close\r\nConnection: keep-alive"),
            MARKED,
            Refused,
        ),
        says("a word that contains close", &connection("closed"), MARKED, Reused),
        says(
            "close, and another response",
            &format!("{}{STRAY}", connection("close")),
            MARKED,
            Refused,
        ),
    ]
}

/// Malformed heads.
fn heads() -> Vec<Animal> {
    let bad = [
        ("no head at all", "{M}\r\n\r\n"),
        ("SMTP", "220 mail.example ESMTP\r\n\r\n"),
        ("TLS", "\u{15}\u{3}\u{1}\0\u{2}\u{2}F"),
        ("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("http in lower case", "http/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a status of letters", "HTTP/1.1 abc OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a status of zero", "HTTP/1.1 000 OK\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a field without colon", "HTTP/1.1 200 OK\r\nContent-Length 8\r\n\r\n{M}"),
        ("a field without name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 8\r\n\r\n{M}"),
        ("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a CR in a value", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 8\r\n\r\n{M}"),
        ("a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    let mut all: Vec<_> = bad.iter().map(|(name, head)| says(name, head, Fails, Refused)).collect();
    all.extend([
        says("no reason phrase", "HTTP/1.1 200\r\nContent-Length: 8\r\n\r\n{M}", MARKED, Reused),
        says(
            "status 999",
            "HTTP/1.1 999 ?\r\nContent-Length: 8\r\n\r\n{M}",
            Reply(999, "{M}"),
            Reused,
        ),
        says("lines that end in LF", "HTTP/1.1 200 OK\nContent-Length: 8\n\n{M}", MARKED, Reused),
        says(
            "an empty line first",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}",
            MARKED,
            Reused,
        ),
        says(
            "an unasked upgrade",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{X}",
            Fails,
            Refused,
        ),
    ]);
    all
}

/// Allowed parts in excessive size or number.
fn floods() -> Vec<Animal> {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let start = "HTTP/1.1 200 OK\r\n";
    let long = |size: usize| with_fields(&format!("X: {}\r\nContent-Length: 8", "x".repeat(size)));
    let many =
        |count: usize| with_fields(&format!("{}Content-Length: 8", "X: y\r\n".repeat(count)));
    vec![
        says("an unasked 100", &format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"), MARKED, Reused),
        says("four 103s", &format!("{}{OK}", hint.repeat(4)), MARKED, Reused),
        says("a thousand 103s", &format!("{}{OK}", hint.repeat(1000)), EitherButBounded, Reused),
        animal(
            "103s without end",
            "1xx as long as the client listens",
            vec![Read, Endless(hint.repeat(20))],
            Fails,
            Refused,
        ),
        says(
            "a 100 with a body",
            &format!("HTTP/1.1 100 Continue\r\nContent-Length: 8\r\n\r\n{{X}}{OK}"),
            Fails,
            Refused,
        ),
        says("ninety fields", &many(90), MARKED, Reused),
        says("ten thousand fields", &many(10_000), MARKED, Reused),
        animal(
            "fields without end",
            "fields as fast as the client reads",
            vec![Read, write(start), Flood("X: y\r\n".repeat(1000), 1000), Fin],
            Fails,
            Refused,
        ),
        says("a field of 16 KiB", &long(16 << 10), MARKED, Reused),
        animal(
            "a field of 16 MiB",
            "one field, as fast as the client reads",
            vec![Read, write(format!("{start}X: ")), Flood("x".repeat(1 << 16), 256), Fin],
            Fails,
            Refused,
        ),
        animal(
            "a reason without end",
            "a status line of 16 MiB",
            vec![Read, write("HTTP/1.1 200 "), Flood("x".repeat(1 << 16), 256), Fin],
            Fails,
            Refused,
        ),
        animal(
            "empty lines without end",
            "CRLF as fast as the client reads",
            vec![Read, Flood("\r\n".repeat(1 << 15), 256), Fin],
            Fails,
            Refused,
        ),
    ]
}

/// Responses without a body, even if their fields announce one (RFC 9112, 6.3).
fn bodiless() -> Vec<Animal> {
    let none = |status: u16, fields: &str, body: &str| {
        format!("HTTP/1.1 {status} x\r\n{fields}\r\n{body}")
    };
    let length = "Content-Length: 8\r\n";
    let chunks = "Transfer-Encoding: chunked\r\n";
    let chunk = "8\r\n{X}\r\n0\r\n\r\n";
    let head = |animal| asked_by(Ask::Head, animal);
    vec![
        says("204", &none(204, "", ""), Reply(204, ""), Reused),
        says("204 with a length", &none(204, length, ""), Reply(204, ""), Reused),
        says("204 with a body", &none(204, length, "{X}"), Reply(204, ""), Refused),
        says("204 with chunks", &none(204, chunks, chunk), Reply(204, ""), Refused),
        says("204 with a response", &none(204, "", STRAY), Reply(204, ""), Refused),
        says("304 with a length", &none(304, length, ""), Reply(304, ""), Reused),
        says("304 with a body", &none(304, length, "{X}"), Reply(304, ""), Refused),
        says("205 with a body", &none(205, length, "{M}"), Reply(205, "{M}"), Reused),
        head(says("HEAD", &none(200, length, ""), Reply(200, ""), Reused)),
        head(says("HEAD, chunked", &none(200, chunks, ""), Reply(200, ""), Reused)),
        head(says("HEAD with a body", &none(200, length, "{X}"), Reply(200, ""), Refused)),
        head(says("HEAD with chunks", &none(200, chunks, chunk), Reply(200, ""), Refused)),
        head(says("HEAD with a response", &none(200, length, STRAY), Reply(200, ""), Refused)),
    ]
}

/// Chunks, good and bad.
fn chunks() -> Vec<Animal> {
    let bad = [
        ("a chunk size of letters", "zz\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk size below zero", "-8\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk size with a plus", "+8\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk size with a prefix", "0x8\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk size beyond 64 bits", "10000000000000008\r\n{M}\r\n0\r\n\r\n"),
        ("an empty chunk size", "\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk size of two numbers", "8 8\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "4\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk shorter than its size", "9\r\n{M}\r\n0\r\n\r\n"),
        ("a chunk without its line end", "8\r\n{M}0\r\n\r\n"),
        ("a chunk that ends in LF", "8\r\n{M}\n0\r\n\r\n"),
        ("a chunk size that ends in LF", "8\n{M}\r\n0\r\n\r\n"),
        ("a chunk size that ends in CR", "8\r{M}\r\n0\r\n\r\n"),
        ("a last chunk without its line end", "8\r\n{M}\r\n0{X}\r\n\r\n"),
        ("a response instead of the last chunk", "8\r\n{M}\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ("a trailer without colon", "8\r\n{M}\r\n0\r\nX-Check\r\n\r\n"),
    ];
    let mut all: Vec<_> = bad
        .iter()
        // Some of these leave the client waiting for more.
        .map(|(name, body)| says_and_closes(name, &chunked(body), Fails, Refused))
        .collect();
    all.extend([
        says("chunk extensions", &chunked("8;a=b;c=\"d\"\r\n{M}\r\n0;e\r\n\r\n"), MARKED, Reused),
        says("a chunk size with zeros", &chunked("000008\r\n{M}\r\n000\r\n\r\n"), MARKED, Reused),
        says(
            "a chunk for each byte",
            &format!("{CHUNKED}{}0\r\n\r\n", "1\r\nx\r\n".repeat(5000)),
            EitherButBounded,
            Reused,
        ),
        says("trailers", &chunked("8\r\n{M}\r\n0\r\nX-Check: 1\r\n\r\n"), MARKED, Reused),
        says(
            "a length in the trailers",
            &chunked("8\r\n{M}\r\n0\r\nContent-Length: 80\r\n\r\n"),
            MARKED,
            Reused,
        ),
        says_and_closes(
            "chunk extensions without end",
            &chunked(&format!("8;{}\r\n{{M}}\r\n0\r\n\r\n", "x".repeat(64 << 10))),
            Fails,
            Refused,
        ),
        says_and_closes(
            "trailers without end",
            &chunked(&format!("8\r\n{{M}}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(10_000))),
            Fails,
            Refused,
        ),
        says(
            "chunks, and another response",
            &chunked(&format!("8\r\n{{M}}\r\n0\r\n\r\n{STRAY}")),
            MARKED,
            Refused,
        ),
    ]);
    all
}

/// Responses that come byte by byte.
fn slow() -> Vec<Animal> {
    let whole = chunked("8;x\r\n{M}\r\n0\r\nX-Check: 1\r\n\r\n");
    vec![
        animal("a dribble", "a byte at a time", vec![Read, Dribble(OK.into())], MARKED, Reused),
        animal(
            "a dribble of chunks",
            "a byte at a time",
            vec![Read, Dribble(whole)],
            MARKED,
            Reused,
        ),
        animal(
            "a dribbled head without end",
            "a field byte by byte, for ever",
            vec![Read, write("HTTP/1.1 200 OK\r\nX: "), Endless("x".into())],
            Fails,
            Refused,
        ),
        animal(
            "a dribbled body without end",
            "a chunk now and then, for ever",
            vec![Read, write(CHUNKED), Endless("1\r\nx\r\n".into())],
            Fails,
            Refused,
        ),
        animal(
            "a dribbled chunk size without end",
            "zeros, for ever",
            vec![Read, write(CHUNKED), Endless("0".into())],
            Fails,
            Refused,
        ),
        animal(
            "dribbled empty lines without end",
            "CRLF, for ever",
            vec![Read, Endless("\r\n".into())],
            Fails,
            Refused,
        ),
        animal(
            "a dribbled body of exabytes",
            "bytes, for ever",
            vec![
                Read,
                write("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n"),
                Endless("x".into()),
            ],
            Fails,
            Refused,
        ),
    ]
}

/// Bytes that come with a response and belong to no response.
fn strays() -> Vec<Animal> {
    let after = |stray: &str| format!("{OK}{stray}");
    vec![
        says("a second response", &after(STRAY), MARKED, Refused),
        says("a stray byte", &after("x"), MARKED, Refused),
        says("a stray empty line", &after("\r\n"), MARKED, Refused),
        says("a stray 100", &after("HTTP/1.1 100 Continue\r\n\r\n"), MARKED, Refused),
        says("half a second response", &after("HTTP/1.1 200 OK\r\nContent-"), MARKED, Refused),
        says("ten more responses", &after(&STRAY.repeat(10)), MARKED, Refused),
        says_and_closes("a second response, and FIN", &after(STRAY), MARKED, Refused),
        // A client that reads this response after it has sent its request cannot know that it came
        // too early: the fault is the server's.
        animal(
            "a response before the request",
            "answers when it accepts, and closes",
            vec![write(STRAY), Fin],
            EitherButBounded,
            Noticed,
        ),
    ]
}

/// Bytes and closes between two exchanges.
fn idle() -> Vec<Animal> {
    let later = |name: &str, steps: Vec<Step>| {
        let mut script = vec![Read, write(OK), WhenEnded];
        script.extend(steps);
        animal(name, "answers, waits until the client has it, and then…", script, MARKED, Noticed)
    };
    vec![
        later("FIN while idle", vec![Fin]),
        later("RST while idle", vec![Rst]),
        later("half-close while idle", vec![HalfClose]),
        later("a response while idle", vec![write(STRAY)]),
        later("a byte while idle", vec![write("x")]),
        later("an empty line while idle", vec![write("\r\n")]),
        later("a 100 while idle", vec![write("HTTP/1.1 100 Continue\r\n\r\n")]),
        later("half a response while idle", vec![write("HTTP/1.1 200 OK\r\nContent-")]),
        later("a response while idle, and FIN", vec![write(STRAY), Fin]),
        later("a response while idle, and RST", vec![write(STRAY), Rst]),
        later(
            "408 while idle, and FIN",
            vec![write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"), Fin],
        ),
        later("a flood while idle", vec![Flood(STRAY.repeat(100), 100), Fin]),
    ]
}

/// Answers before the upload is over (RFC 9112, 9.3: the rest of the upload must not be sent).
fn uploads() -> Vec<Animal> {
    let early = |name: &str, steps: Vec<Step>, expect, afterwards| {
        asked_by(
            Ask::PostLarge,
            animal(name, "answers an upload it has not read", steps, expect, afterwards),
        )
    };
    let last = with_fields("Connection: close\r\nContent-Length: 8");
    vec![
        early(
            "an early answer that leaves the upload",
            vec![ReadBytes(50), write(OK), WhenEnded, Fin],
            MARKED,
            Noticed,
        ),
        early(
            "an early last answer",
            vec![ReadBytes(50), write(&*last), WhenEnded, Fin],
            MARKED,
            Refused,
        ),
        early(
            "an early last answer, and RST",
            vec![ReadBytes(50), write(&*last), WhenEnded, Rst],
            MARKED,
            Refused,
        ),
        early("FIN within the upload", vec![ReadBytes(500), Fin], Fails, Refused),
        early("RST within the upload", vec![ReadBytes(500), Rst], Fails, Refused),
        early("half-close within the upload", vec![ReadBytes(500), HalfClose], Fails, Refused),
        early("silence within the upload", vec![ReadBytes(500), Silence], Fails, Refused),
    ]
}
