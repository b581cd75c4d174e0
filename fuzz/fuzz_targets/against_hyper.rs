//! Responses that hyper and the decoder both read, they read alike; responses that only one of them
//! reads are on a list, with the reason.
#![no_main]

mod reading;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::rt::{Read as HyperRead, ReadBufCursor, Write as HyperWrite};
use keepwarm_http1::{Asked, Refusal};
use libfuzzer_sys::fuzz_target;

use reading::read;

/// A peer that has sent these bytes and its FIN, once it has read a request.
struct Peer {
    bytes: Vec<u8>,
    at: usize,
    asked: bool,
}

impl HyperRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        let take = buf.remaining().min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + take]);
        self.at += take;
        Poll::Ready(Ok(()))
    }
}

impl HyperWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Response = (u16, http::HeaderMap, Vec<u8>);

/// Reads the response by hyper. Every future of this is ready whenever it is polled often enough.
fn by_hyper(bytes: &[u8]) -> Result<Response, String> {
    let peer = Peer { bytes: bytes.to_vec(), at: 0, asked: false };
    let mut context = Context::from_waker(Waker::noop());
    let mut connecting = Box::pin(http1::Builder::new().max_headers(4096).handshake(peer));
    let (mut sender, connection) = loop {
        if let Poll::Ready(made) = connecting.as_mut().poll(&mut context) {
            break made.map_err(|error| error.to_string())?;
        }
    };
    let mut connection = Box::pin(connection);
    let mut exchange = Box::pin(async move {
        let request = http::Request::get("/").header("host", "a").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.expect("valid")).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        Ok::<_, hyper::Error>((head.status.as_u16(), head.headers, body.to_bytes().to_vec()))
    });
    let mut ended = false;
    for _ in 0..10_000 {
        if let Poll::Ready(response) = exchange.as_mut().poll(&mut context) {
            return response.map_err(|error| error.to_string());
        }
        if !ended {
            ended = connection.as_mut().poll(&mut context).is_ready();
        }
    }
    Err("no end".to_owned())
}

/// Returns whether hyper reads the coding as RFC 9110, 5.6.1, has lists read: it looks at the last
/// line's end alone, so that an empty member behind `chunked` hides it.
fn reads_coding_alike(headers: &http::HeaderMap) -> bool {
    let mut lines = headers.get_all("transfer-encoding").iter();
    let is_plain = |line: &http::HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"chunked");
    lines.next().is_none_or(is_plain) && lines.next().is_none()
}

fuzz_target!(|bytes: &[u8]| {
    let ours = read(Asked::Plain, &[bytes]);
    match (by_hyper(bytes), ours) {
        (Ok((_, headers, _)), _) if !reads_coding_alike(&headers) => {}
        (Ok((status, headers, body)), Ok(read)) => {
            assert_eq!((status, body), (read.status, read.body));
            assert_eq!(headers, read.headers);
        }
        (Ok(theirs), Err((refusal, at))) => {
            // Stricter than hyper, each by a sentence of RFC 9112 or 9110.
            let strict = matches!(
                refusal,
                // 6.1, 6.3: a length beside a coding; chunked twice, or not last.
                Refusal::LengthAndCoding | Refusal::TransferEncoding
                // 8.6 of RFC 9110.
                | Refusal::ContentLength | Refusal::ConflictingLengths
                // 7.1: lines of chunks end in CR LF; blanks and extensions are bounded.
                | Refusal::ChunkSize | Refusal::ChunkLineTooLong | Refusal::ChunkEnd
                // 7.1.2: trailers are fields.
                | Refusal::Trailer | Refusal::TrailersTooLarge
                // 15.2.2 of RFC 9110: a server must not switch unasked.
                | Refusal::UnaskedUpgrade
            );
            assert!(strict, "{refusal:?} at {at}, and hyper reads {theirs:?}");
        }
        (Err(_), _) => {}
    }
});
