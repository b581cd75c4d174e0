//! Requests as they are written: the bytes of each form of target, and that another reader finds in
//! them what was written.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keepwarm_http1::encode::{
    BadTarget, CHUNK_END, HeadWriter, RequestFraming, Target, chunk_line, last_chunk,
};
use keepwarm_http1::{Asked, Decoder, Event, Rules};
use proptest::prelude::*;

fn head(method: &Method, target: Target<'_>, framing: RequestFraming) -> Result<String, BadTarget> {
    let mut out = Vec::new();
    let host = HeaderValue::from_static("example.com:8080");
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("1"));
    // Written by the head itself, once.
    headers.insert("host", HeaderValue::from_static("elsewhere"));
    headers.insert("content-length", HeaderValue::from_static("99"));
    headers.insert("transfer-encoding", HeaderValue::from_static("gzip"));
    let mut head = HeadWriter::begin(&mut out, method, target, &host)?;
    head.fields(&headers);
    head.end(framing);
    Ok(String::from_utf8(out).expect("ASCII"))
}

/// RFC 9112, 3.2.
#[test]
fn targets_have_four_forms() {
    use RequestFraming::{Chunked, Length, Undeclared};
    let absolute = |path| Target::Absolute { scheme: "http", authority: "example.com:8080", path };
    for (method, target, framing, line, last) in [
        (Method::GET, Target::Origin("/a?b"), Undeclared, "GET /a?b HTTP/1.1", ""),
        (Method::GET, Target::Origin(""), Undeclared, "GET / HTTP/1.1", ""),
        (Method::GET, Target::Origin("?b"), Undeclared, "GET /?b HTTP/1.1", ""),
        (
            Method::POST,
            absolute("/a"),
            Length(u64::MAX),
            "POST http://example.com:8080/a HTTP/1.1",
            "content-length: 18446744073709551615\r\n",
        ),
        (Method::GET, absolute(""), Undeclared, "GET http://example.com:8080/ HTTP/1.1", ""),
        (
            Method::CONNECT,
            Target::Authority("example.com:443"),
            Undeclared,
            "CONNECT example.com:443 HTTP/1.1",
            "",
        ),
        (Method::OPTIONS, Target::Asterisk, Undeclared, "OPTIONS * HTTP/1.1", ""),
        (Method::PUT, Target::Origin("/"), Length(0), "PUT / HTTP/1.1", "content-length: 0\r\n"),
        (
            Method::PUT,
            Target::Origin("/"),
            Chunked,
            "PUT / HTTP/1.1",
            "transfer-encoding: chunked\r\n",
        ),
    ] {
        let expected = format!("{line}\r\nhost: example.com:8080\r\nx-a: 1\r\n{last}\r\n");
        assert_eq!(head(&method, target, framing), Ok(expected));
    }
}

#[test]
fn target_that_breaks_the_line_is_refused() {
    for path in ["/a b", "/a\r\nx: y", "/\0", "/\t", "/\u{7f}"] {
        let target = Target::Origin(path);
        assert_eq!(head(&Method::GET, target, RequestFraming::Undeclared), Err(BadTarget));
    }
}

#[test]
fn last_chunk_carries_trailers() {
    let mut out = Vec::new();
    chunk_line(&mut out, 26);
    out.extend_from_slice(CHUNK_END);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("42"));
    last_chunk(&mut out, Some(&trailers));
    last_chunk(&mut out, None);
    assert_eq!(out, b"1A\r\n\r\n0\r\nx-sum: 42\r\n\r\n0\r\n\r\n");
}

fn name() -> impl Strategy<Value = HeaderName> {
    "x-[a-z0-9]{1,12}".prop_map(|name| name.parse().expect("a field name"))
}

fn value() -> impl Strategy<Value = HeaderValue> {
    prop::collection::vec(prop_oneof![0x21..0x7f_u8, 0x80..=0xff_u8], 0..40)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).expect("a field value"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn another_reader_finds_the_same_head(
        fields in prop::collection::vec((name(), value()), 0..20),
        path in "/[a-zA-Z0-9/._~%-]{0,40}",
        length: u64,
    ) {
        let headers: HeaderMap = fields.into_iter().collect();
        let mut out = Vec::new();
        let host = HeaderValue::from_static("h");
        let mut writer = HeadWriter::begin(&mut out, &Method::PUT, Target::Origin(&path), &host)
            .expect("no blank");
        writer.fields(&headers);
        writer.end(RequestFraming::Length(length));
        let mut parsed = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut parsed);
        let status = request.parse(&out).expect("well-formed");
        prop_assert_eq!(status, httparse::Status::Complete(out.len()));
        prop_assert_eq!((request.method, request.path), (Some("PUT"), Some(&*path)));
        let all: Vec<_> = request.headers.iter().map(|field| (field.name, field.value)).collect();
        prop_assert_eq!(all[0], ("host", &b"h"[..]));
        let last = length.to_string();
        prop_assert_eq!(all[all.len() - 1], ("content-length", last.as_bytes()));
        let between: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        prop_assert_eq!(&all[1..all.len() - 1], &between[..]);
    }

    /// Chunks of a request are those of a response: what is written is read.
    #[test]
    fn written_chunks_are_read(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..10),
        trailers in prop::collection::vec((name(), value()), 0..5),
    ) {
        let trailers: HeaderMap = trailers.into_iter().collect();
        let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            chunk_line(&mut out, chunk.len());
            out.extend_from_slice(chunk);
            out.extend_from_slice(CHUNK_END);
        }
        last_chunk(&mut out, Some(&trailers));
        let mut decoder = Decoder::new(Rules::default());
        decoder.begin(Asked::Plain);
        let mut buffer = BytesMut::from(&out[..]);
        let (mut data, mut found) = (Vec::new(), HeaderMap::new());
        while let Some(event) = decoder.decode(&mut buffer).expect("well-formed") {
            match event {
                Event::Data(part) => data.extend_from_slice(&part),
                Event::Trailers(read) => found = read,
                Event::Head(_) | Event::Interim(_) => {}
            }
        }
        prop_assert!(decoder.is_complete() && buffer.is_empty());
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(found, trailers);
    }
}
