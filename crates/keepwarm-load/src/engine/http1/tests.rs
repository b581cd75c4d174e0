use super::*;
use proptest::prelude::*;

/// Outcome of reading a response: complete, with a number of bytes of input left over; waiting for
/// more, and then complete or not at the end of input; or malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete(Response, usize),
    AtEnd(Response),
    CutShort,
    Malformed(Malformed),
}

/// Feeds the pieces in order, then the end of input.
fn read(head_request: bool, pieces: &[&[u8]]) -> Outcome {
    read_after(Framing::new(), head_request, pieces)
}

/// Feeds the pieces to a `Framing` that may have read a response before.
fn read_after(mut framing: Framing, head_request: bool, pieces: &[&[u8]]) -> Outcome {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    framing.reset(head_request, false);
    let mut consumed = 0;
    for piece in pieces {
        match framing.feed(piece) {
            Err(malformed) => return Outcome::Malformed(malformed),
            Ok(fed) => {
                consumed += fed.consumed;
                if let Some(response) = fed.complete {
                    return Outcome::Complete(response, total - consumed);
                }
                assert_eq!(fed.consumed, piece.len(), "incomplete must take everything");
            }
        }
    }
    framing.end_of_input().map_or(Outcome::CutShort, Outcome::AtEnd)
}

fn response(status: u16, body_bytes: u64, reuse: Reuse) -> Response {
    Response { status, body_bytes, reuse }
}

fn complete(status: u16, body_bytes: u64, reuse: Reuse, left: usize) -> Outcome {
    Outcome::Complete(response(status, body_bytes, reuse), left)
}

/// (what it shows, HEAD request, bytes, outcome)
fn examples() -> Vec<(&'static str, bool, Vec<u8>, Outcome)> {
    use Malformed as M;
    use Outcome::Malformed as Bad;
    use Reuse::{Ambiguous, EndsWithConnection, ServerCloses, Yes};
    let ok = |fields: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{rest}");
    let cl = "Content-Length: 5\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    let done = |body, reuse| complete(200, body, reuse, 0);
    let two = format!("{cl}{cl}");
    let both = format!("{te}{cl}");
    let mut table: Vec<(&str, bool, String, Outcome)> = vec![
        ("length", false, ok(cl, "hello"), done(5, Yes)),
        ("no reason", false, format!("HTTP/1.1 200\r\n{cl}\r\nhello"), done(5, Yes)),
        ("line feeds only", false, "HTTP/1.1 200 OK\nContent-Length: 1\n\nx".into(), done(1, Yes)),
        ("length zero", false, ok("content-LENGTH: 0\r\n", ""), done(0, Yes)),
        ("stray bytes", false, ok(cl, "helloHTTP/1.1"), complete(200, 5, Yes, 8)),
        ("cut in body", false, ok(cl, "hell"), Outcome::CutShort),
        ("cut in head", false, "HTTP/1.1 200 OK\r\nConte".into(), Outcome::CutShort),
        ("nothing", false, String::new(), Outcome::CutShort),
        ("equal lengths", false, ok(&two, "hello"), done(5, Yes)),
        ("list of equal lengths", false, ok("Content-Length: 5, 5\r\n", "hello"), done(5, Yes)),
        (
            "different lengths",
            false,
            ok(&format!("{cl}Content-Length: 6\r\n"), "hello"),
            Bad(M::ConflictingContentLength),
        ),
        (
            "list of different lengths",
            false,
            ok("Content-Length: 5,6\r\n", ""),
            Bad(M::ConflictingContentLength),
        ),
        ("signed length", false, ok("Content-Length: +5\r\n", "hello"), Bad(M::BadContentLength)),
        ("empty length", false, ok("Content-Length: \r\n", "hello"), Bad(M::BadContentLength)),
        (
            "length over 64 bits",
            false,
            ok("Content-Length: 18446744073709551616\r\n", ""),
            Bad(M::BadContentLength),
        ),
        (
            "length of 64 bits",
            false,
            ok("Content-Length: 18446744073709551615\r\n", "x"),
            Outcome::CutShort,
        ),
        ("until end", false, ok("", "hello"), Outcome::AtEnd(response(200, 5, EndsWithConnection))),
        (
            "until end, empty",
            false,
            ok("", ""),
            Outcome::AtEnd(response(200, 0, EndsWithConnection)),
        ),
        (
            "close",
            false,
            ok(&format!("{cl}Connection: foo, CLOSE\r\n"), "hello"),
            done(5, ServerCloses),
        ),
        ("1.0", false, format!("HTTP/1.0 200 OK\r\n{cl}\r\nhello"), done(5, ServerCloses)),
        (
            "1.0 keep-alive",
            false,
            format!("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n{cl}\r\nhello"),
            done(5, Yes),
        ),
        (
            "1.0 keep-alive and close",
            false,
            format!("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n{cl}\r\nhello"),
            done(5, ServerCloses),
        ),
        (
            "1.0 chunked",
            false,
            format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{te}\r\n0\r\n\r\n"),
            done(0, Ambiguous),
        ),
        ("chunked", false, ok(te, "5\r\nhello\r\n0\r\n\r\n"), done(5, Yes)),
        (
            "chunked, several",
            false,
            ok(te, "1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\nX"),
            complete(200, 11, Yes, 1),
        ),
        (
            "chunk extensions",
            false,
            ok(te, "5;a=b;c=\"d e\"\r\nhello\r\n0 ; x\r\n\r\n"),
            done(5, Yes),
        ),
        ("trailers", false, ok(te, "5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n"), done(5, Yes)),
        ("trailer without colon", false, ok(te, "0\r\nabc\r\n\r\n"), Bad(M::BadTrailer)),
        ("folded trailer", false, ok(te, "0\r\nA: b\r\n c\r\n\r\n"), Bad(M::BadTrailer)),
        ("trailer with line feed", false, ok(te, "0\r\nA: b\n\r\n"), Bad(M::BadTrailer)),
        ("last chunk cut", false, ok(te, "5\r\nhello\r\n0\r\n\r"), Outcome::CutShort),
        ("last line broken", false, ok(te, "0\r\n\rX"), Bad(M::BadTrailer)),
        ("chunk size empty", false, ok(te, "\r\nhello"), Bad(M::BadChunkSize)),
        ("chunk size signed", false, ok(te, "-5\r\nhello"), Bad(M::BadChunkSize)),
        ("chunk size with 0x", false, ok(te, "0x5\r\nhello"), Bad(M::BadChunkSize)),
        (
            "chunk size of 17 digits",
            false,
            ok(te, "00000000000000005\r\nhello"),
            Bad(M::BadChunkSize),
        ),
        ("chunk size of 16 digits", false, ok(te, "FFFFFFFFFFFFFFFF\r\nhello"), Outcome::CutShort),
        ("chunk line with line feed", false, ok(te, "5\nhello\n0\n\n"), Bad(M::BadChunkSize)),
        ("extension with line feed", false, ok(te, "5;a\nhello"), Bad(M::BadChunkSize)),
        ("size with bare return", false, ok(te, "5\rXhello"), Bad(M::BadChunkSize)),
        ("chunk too long", false, ok(te, "5\r\nhelloo\r\n0\r\n\r\n"), Bad(M::BadChunkEnd)),
        ("chunk too short", false, ok(te, "6\r\nhello\r\n0\r\n\r\n"), Bad(M::BadChunkEnd)),
        ("chunk end broken", false, ok(te, "5\r\nhello\rX"), Bad(M::BadChunkEnd)),
        ("encoding and length", false, ok(&both, "5\r\nhello\r\n0\r\n\r\n"), done(5, Ambiguous)),
        (
            "gzip, chunked",
            false,
            ok("Transfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n", "0\r\n\r\n"),
            done(0, Yes),
        ),
        (
            "chunked twice",
            false,
            ok(&format!("{te}{te}"), "0\r\n\r\n"),
            Bad(M::BadTransferEncoding),
        ),
        (
            "chunked not last",
            false,
            ok("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
            Bad(M::BadTransferEncoding),
        ),
        ("encoding empty", false, ok("Transfer-Encoding: \r\n", "x"), Bad(M::BadTransferEncoding)),
        (
            "gzip only",
            false,
            ok("Transfer-Encoding: gzip\r\n", "xyz"),
            Outcome::AtEnd(response(200, 3, EndsWithConnection)),
        ),
        ("HEAD", true, ok(cl, ""), done(0, Yes)),
        ("HEAD without length", true, ok("", ""), done(0, Yes)),
        ("HEAD chunked", true, ok(te, ""), done(0, Yes)),
        ("HEAD with a body all the same", true, ok(cl, "hello"), complete(200, 0, Yes, 5)),
        ("204", false, "HTTP/1.1 204 No Content\r\n\r\n".into(), complete(204, 0, Yes, 0)),
        (
            "304 with length",
            false,
            format!("HTTP/1.1 304 Not Modified\r\n{cl}\r\n"),
            complete(304, 0, Yes, 0),
        ),
        (
            "404",
            false,
            format!("HTTP/1.1 404 Not Found\r\n{cl}\r\nhello"),
            complete(404, 5, Yes, 0),
        ),
        (
            "100 first",
            false,
            format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok(cl, "hello")),
            done(5, Yes),
        ),
        (
            "103 with fields",
            false,
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n{cl}\r\n{}", ok(cl, "hello")),
            done(5, Yes),
        ),
        ("only 100", false, "HTTP/1.1 100 Continue\r\n\r\n".into(), Outcome::CutShort),
        (
            "16 interim",
            false,
            format!("{}{}", "HTTP/1.1 100 C\r\n\r\n".repeat(16), ok(cl, "hello")),
            done(5, Yes),
        ),
        (
            "17 interim",
            false,
            format!("{}{}", "HTTP/1.1 100 C\r\n\r\n".repeat(17), ok(cl, "hello")),
            Bad(M::TooManyInterim),
        ),
        ("101", false, "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), Bad(M::UnaskedUpgrade)),
        ("not HTTP", false, "SSH-2.0-OpenSSH_9.2\r\n".into(), Bad(M::NotHttp)),
        ("HTTP/2", false, "HTTP/2 200\r\n\r\n".into(), Bad(M::NotHttp)),
        ("leading empty line", false, format!("\r\n{}", ok(cl, "hello")), Bad(M::NotHttp)),
        ("1.2", false, "HTTP/1.2 200 OK\r\n\r\n".into(), Bad(M::BadHead(httparse::Error::Version))),
        (
            "bad status",
            false,
            "HTTP/1.1 2x0 OK\r\n\r\n".into(),
            Bad(M::BadHead(httparse::Error::Status)),
        ),
        (
            "status below 100",
            false,
            "HTTP/1.1 099 OK\r\n\r\n".into(),
            Bad(M::BadHead(httparse::Error::Status)),
        ),
        (
            "status 999",
            false,
            format!("HTTP/1.1 999 OK\r\n{cl}\r\nhello"),
            complete(999, 5, Yes, 0),
        ),
        (
            "blank before colon",
            false,
            ok("A : b\r\n", ""),
            Bad(M::BadHead(httparse::Error::HeaderName)),
        ),
        ("100 fields", false, ok(&format!("{cl}{}", "A: b\r\n".repeat(99)), "hello"), done(5, Yes)),
        (
            "101 fields",
            false,
            ok(&format!("{cl}{}", "A: b\r\n".repeat(100)), "hello"),
            Bad(M::TooManyFields),
        ),
    ];
    let long = "x".repeat(5000);
    table.push((
        "long extension",
        false,
        ok(te, &format!("5;{long}\r\n")),
        Bad(M::ChunkLineTooLong),
    ));
    table
        .into_iter()
        .map(|(name, head, text, outcome)| (name, head, text.into_bytes(), outcome))
        .collect()
}

#[test]
fn every_example_whole() {
    for (name, head_request, bytes, outcome) in examples() {
        assert_eq!(read(head_request, &[&bytes]), outcome, "{name}");
    }
}

#[test]
fn every_example_at_every_split() {
    for (name, head_request, bytes, outcome) in examples() {
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read(head_request, &[first, second]), outcome, "{name}, split at {at}");
        }
    }
}

#[test]
fn every_example_byte_by_byte() {
    for (name, head_request, bytes, outcome) in examples() {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(head_request, &pieces), outcome, "{name}");
    }
}

/// A head of exactly `len` bytes, with its empty line, and an empty body.
fn head_of(len: usize) -> Vec<u8> {
    let (start, end) = ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(len - start.len() - end.len())).into_bytes()
}

#[test]
fn head_limit_is_64_kib_exactly() {
    let fits = head_of(MAX_HEAD);
    let too_large = head_of(MAX_HEAD + 1);
    for split in [0, 1, 40, 4096, MAX_HEAD - 1, MAX_HEAD] {
        let (a, b) = fits.split_at(split);
        assert_eq!(read(false, &[a, b]), complete(200, 0, Reuse::Yes, 0), "{split}");
        let (a, b) = too_large.split_at(split);
        assert_eq!(read(false, &[a, b]), Outcome::Malformed(Malformed::HeadTooLarge), "{split}");
    }
}

#[test]
fn endless_head_line_stops_at_limit() {
    let mut framing = Framing::new();
    framing.feed(b"HTTP/1.1 200 OK\r\nA: ").unwrap();
    let error = (0..100).find_map(|_| framing.feed(&[b'x'; 1000]).err());
    assert_eq!(error, Some(Malformed::HeadTooLarge));
    assert!(framing.partial.len() <= MAX_HEAD + 1);
}

#[test]
fn endless_trailers_stop_at_limit() {
    let mut framing = Framing::new();
    framing.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n").unwrap();
    let error = (0..MAX_HEAD).find_map(|_| framing.feed(b"A: b\r\n").err());
    assert_eq!(error, Some(Malformed::TrailersTooLarge));
    assert!(Malformed::TrailersTooLarge.is_too_large());
}

#[test]
fn only_the_same_head_is_recognised() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let mut framing = Framing::new();
    framing.reset(false, false);
    assert!(framing.recognise(head).is_none());
    framing.feed(head).unwrap();
    let known = framing.recognise(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!((known.len, known.status, known.body), (head.len(), 200, BodyKind::Length(2)));
    assert!(framing.recognise(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok.").is_none());
    assert!(framing.recognise(&head[..head.len() - 1]).is_none());
}

#[test]
fn reset_forgets_response_not_server_field() {
    let mut framing = Framing::new();
    let bytes = b"HTTP/1.1 200 OK\r\nServer: x/1\r\nLocation: /a\r\nContent-Length: 2\r\n\r\nab";
    framing.reset(false, true);
    let first = framing.feed(bytes).unwrap();
    assert_eq!(framing.take_server().as_deref(), Some("x/1"));
    assert_eq!(framing.take_location().as_deref(), Some("/a"));
    framing.reset(false, false);
    assert!(!framing.received());
    assert_eq!(framing.feed(bytes).unwrap(), first);
    assert_eq!(framing.take_server(), None);
    assert!(framing.received());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(head: bool, start in 0usize..4, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let starts = ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"];
        let mut all = starts[start].as_bytes().to_vec();
        all.extend(bytes);
        let whole = read(head, &[&all]);
        let pieces: Vec<&[u8]> = all.chunks(1).collect();
        let split = read(head, &pieces);
        // Where a head is wrong in a line that never ends, one reading may see it earlier.
        let failed = |o: Outcome| matches!(o, Outcome::Malformed(_) | Outcome::CutShort);
        prop_assert!(whole == split || (failed(whole) && failed(split)), "{whole:?} {split:?}");
    }

    #[test]
    fn recognised_head_equals_parsed_head(
        pick in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in any::<prop::sample::Index>(),
        head_before: bool,
        head_now: bool,
    ) {
        let examples = examples();
        let (_, _, before, _) = examples[pick.index(examples.len())].clone();
        // Mostly the same response again, as servers do; changed in one byte, or cut in two.
        let again = if other.index(4) > 0 { pick } else { other };
        let (_, _, mut bytes, _) = examples[again.index(examples.len())].clone();
        if let Some((at, byte)) = change && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (first, rest) = bytes.split_at(cut.index(bytes.len() + 1));
        for pieces in [&[&bytes[..]][..], &[first, rest]] {
            let mut knowing = Framing::new();
            knowing.reset(head_before, false);
            let _ = knowing.feed(&before);
            prop_assert_eq!(read_after(knowing, head_now, pieces), read(head_now, pieces));
        }
    }

    #[test]
    fn mutations_read_the_same_in_pieces(
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let examples = examples();
        let (_, head, mut bytes, _) = examples[pick.index(examples.len())].clone();
        if bytes.is_empty() { bytes.push(b'H'); }
        let position = at.index(bytes.len());
        bytes[position] = byte;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let (whole, split) = (read(head, &[&bytes]), read(head, &pieces));
        let failed = |o: Outcome| matches!(o, Outcome::Malformed(_) | Outcome::CutShort);
        prop_assert!(whole == split || (failed(whole) && failed(split)), "{whole:?} {split:?}");
    }

    #[test]
    fn chunked_bodies_of_any_shape_count(sizes in prop::collection::vec(1usize..200, 0..20), cut in 1usize..50) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for size in &sizes {
            bytes.extend(format!("{size:X}\r\n{}\r\n", "y".repeat(*size)).into_bytes());
        }
        bytes.extend(b"0\r\n\r\n");
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        let content: usize = sizes.iter().sum();
        prop_assert_eq!(read(false, &pieces), complete(200, content as u64, Reuse::Yes, 0));
    }
}
