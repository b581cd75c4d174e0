//! A response in any bytes, read four ways: whole, in pieces, by the counter, and by hyper.
//!
//! `cargo +nightly fuzz run response`, in this folder. Whatever the bytes are:
//!
//! * pieces change nothing: the same head, data, trailers and end;
//! * the counter agrees with the decoder, but for empty lines before a head, which it refuses;
//! * a head that is accepted has the fields that httparse reads in it;
//! * where hyper reads a whole response and the decoder does too, both have the same status and body.

#![no_main]

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, Empty};
use keepwarm_http1::{Asked, Counter, Decoder, Doubt, Event, Limits, Rules};
use libfuzzer_sys::fuzz_target;

const RULES: Rules = Rules {
    limits: Limits { head: 64 << 10, interim: 16, chunk_line: 4 << 10, trailers: 16 << 10 },
    doubt: Doubt::EndConnection,
};

/// A response as far as it was read. `bytes` is what is left behind its end.
#[derive(Debug, Default, PartialEq)]
struct Read {
    heads: Vec<(u16, HeaderMap)>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: End,
}

#[derive(Debug, Default, PartialEq)]
enum End {
    Complete { left: usize },
    AtEndOfInput,
    #[default]
    Failed,
}

fn decode(asked: Asked, pieces: &[&[u8]]) -> Read {
    let mut decoder = Decoder::new(RULES);
    decoder.begin(asked);
    let (mut buffer, mut read) = (BytesMut::new(), Read::default());
    let mut pieces = pieces.iter();
    loop {
        match decoder.decode(&mut buffer) {
            Ok(Some(Event::Interim(head) | Event::Head(head))) => {
                read.heads.push((head.status.as_u16(), head.headers));
            }
            Ok(Some(Event::Data(data))) => read.data.extend_from_slice(&data),
            Ok(Some(Event::Trailers(trailers))) => read.trailers = Some(trailers),
            Err(_) => return read,
            Ok(None) if decoder.is_complete() => {
                let left = buffer.len() + pieces.map(|piece| piece.len()).sum::<usize>();
                read.end = End::Complete { left };
                return read;
            }
            Ok(None) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => {
                    if decoder.end(buffer.len()).is_ok() {
                        read.end = End::AtEndOfInput;
                    }
                    return read;
                }
            },
        }
    }
}

fn count(asked: Asked, pieces: &[&[u8]]) -> (End, Option<(u16, u64)>) {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut counter = Counter::new(RULES);
    counter.begin(asked, false);
    let mut consumed = 0;
    for piece in pieces {
        let Ok(fed) = counter.feed(piece) else { return (End::Failed, None) };
        consumed += fed.consumed;
        if let Some(counts) = fed.complete {
            let left = total - consumed;
            return (End::Complete { left }, Some((counts.status, counts.body_bytes)));
        }
    }
    match counter.end() {
        Some(counts) => (End::AtEndOfInput, Some((counts.status, counts.body_bytes))),
        None => (End::Failed, None),
    }
}

/// A peer that takes every byte, and answers with these.
struct Peer {
    answer: Vec<u8>,
    at: usize,
    asked: bool,
}

impl hyper::rt::Read for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.asked {
            let count = (self.answer.len() - self.at).min(buffer.remaining());
            buffer.put_slice(&self.answer[self.at..self.at + count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl hyper::rt::Write for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns status and body as hyper reads them, if it reads a whole response.
fn by_hyper(asked: Asked, bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut cx = Context::from_waker(Waker::noop());
    let peer = Peer { answer: bytes.to_vec(), at: 0, asked: false };
    let mut shaking = pin!(hyper::client::conn::http1::handshake(peer));
    let Poll::Ready(Ok((mut sender, connection))) = shaking.as_mut().poll(&mut cx) else {
        return None;
    };
    let mut connection = pin!(connection);
    let method = if asked == Asked::Head { "HEAD" } else { "GET" };
    let request = http::Request::builder().method(method).header("host", "x");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let fetch = async move {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?;
        Some((status, body.to_bytes().to_vec()))
    };
    let mut fetch = pin!(fetch);
    let mut driven = false;
    for _ in 0..10_000 {
        if let Poll::Ready(read) = fetch.as_mut().poll(&mut cx) {
            return read;
        }
        if !driven {
            driven = connection.as_mut().poll(&mut cx).is_ready();
        }
    }
    None
}

fuzz_target!(|input: &[u8]| {
    let [choice, first, second, bytes @ ..] = input else { return };
    let asked = if choice & 1 == 0 { Asked::Plain } else { Asked::Head };
    // Every other input begins within a body, which mutations rarely reach.
    let start: &[u8] = match choice >> 1 & 3 {
        0 => b"",
        1 => b"HTTP/1.1 200 OK\r\n",
        2 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n",
    };
    let bytes = &[start, bytes].concat()[..];
    let whole = decode(asked, &[bytes]);

    let a = usize::from(*first) * bytes.len() / 256;
    let b = a + usize::from(*second) * (bytes.len() - a) / 256;
    let pieces = [&bytes[..a], &bytes[a..b], &bytes[b..]];
    for pieces in [&pieces[..], &bytes.chunks(1).collect::<Vec<_>>()] {
        let split = decode(asked, pieces);
        assert_eq!(whole.end, split.end);
        if whole.end != End::Failed {
            assert_eq!(whole, split);
        }
        if !matches!(bytes.first(), Some(b'\r' | b'\n')) {
            let (end, counts) = count(asked, pieces);
            assert_eq!(end, whole.end);
            if let Some((status, body)) = counts {
                let last = whole.heads.last().map(|head| head.0);
                assert_eq!((last, whole.data.len() as u64), (Some(status), body));
            }
        }
    }

    if let Some((status, headers)) = whole.heads.first() {
        let mut fields = vec![httparse::EMPTY_HEADER; bytes.len() / 2 + 1];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(bytes).expect("httparse has parsed it");
        assert_eq!(response.code, Some(*status));
        assert_eq!(response.headers.len(), headers.len());
        for field in response.headers.iter() {
            let mut all = headers.get_all(field.name).into_iter();
            assert!(all.any(|value| value.as_bytes() == field.value), "{}", field.name);
        }
    }

    if whole.end != End::Failed
        && let Some((status, body)) = by_hyper(asked, bytes)
    {
        assert_eq!(whole.heads.last().map(|head| head.0), Some(status));
        assert_eq!(whole.data, body);
    }
});
