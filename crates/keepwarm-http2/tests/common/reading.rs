//! A server's bytes, read by this crate and by `h2`. Also used by the fuzz target `against_h2`.
#![allow(dead_code, reason = "each user takes a part of it")]

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use keepwarm_http2::{Connection, Counts, Event, Fault, Refusal, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How the response on stream 1 ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Status and bytes of content.
    Complete(u16, u64),
    Reset,
    Fault(Fault),
    Refused(Refusal),
    /// The bytes ended first.
    Open,
}

/// Reads `bytes`, in pieces of these lengths in turn, as the answer to one GET on stream 1.
pub(crate) fn read(bytes: &[u8], pieces: &[usize]) -> (Ended, Vec<u8>) {
    let (mut connection, mut out) = (Connection::default(), Vec::new());
    let mut response = Response::to(false);
    assert_eq!(connection.open().0, 1);
    let mut ended = Ended::Open;
    let mut rest = bytes;
    let mut turn = pieces.iter().cycle();
    while !rest.is_empty() {
        let wanted = turn.next().map_or(rest.len(), |piece| (*piece).max(1));
        let (mut piece, behind) = rest.split_at(wanted.min(rest.len()));
        rest = behind;
        loop {
            let event = match connection.next(&mut piece, &mut out) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(refusal) => {
                    let refused = Ended::Refused(refusal);
                    return (if ended == Ended::Open { refused } else { ended }, out);
                }
            };
            if ended != Ended::Open {
                continue;
            }
            let advances = match event {
                Event::Headers { .. } => true,
                Event::Data { bytes, .. } => !bytes.is_empty(),
                _ => false,
            };
            let read = match event {
                Event::Headers { block, is_last, .. } => response.headers(block, is_last),
                Event::Data { bytes, is_last, .. } => response.data(bytes.len(), is_last),
                Event::Reset { .. } => {
                    ended = Ended::Reset;
                    continue;
                }
                Event::GoAway { last: 0, .. } => {
                    ended = Ended::Reset;
                    continue;
                }
                _ => continue,
            };
            match read {
                Ok(None) => {}
                Ok(Some(Counts { status, body_bytes, .. })) => {
                    ended = Ended::Complete(status, body_bytes);
                }
                Err(fault) => ended = Ended::Fault(fault),
            }
            if advances {
                connection.advance();
            }
        }
    }
    (ended, out)
}

/// A peer that has sent these bytes, and takes all that is written.
struct Peer {
    bytes: Vec<u8>,
    at: usize,
    /// True once the request was read: a server answers no earlier.
    is_asked: bool,
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_asked {
            return Poll::Pending;
        }
        let take = buf.remaining().min(self.bytes.len() - self.at);
        buf.put_slice(&self.bytes[self.at..self.at + take]);
        self.at += take;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The preface comes first, in a write of its own.
        self.is_asked |= bytes.len() > 9 && !bytes.starts_with(b"PRI");
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads the same bytes by `h2`. Returns status and bytes of content of a complete response.
pub(crate) fn read_by_h2(bytes: &[u8]) -> Option<(u16, u64)> {
    let mut context = Context::from_waker(Waker::noop());
    let peer = Peer { bytes: bytes.to_vec(), at: 0, is_asked: false };
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false);
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let mut handshake = pin!(builder.handshake::<_, Bytes>(peer));
    let Poll::Ready(Ok((mut sender, connection))) = handshake.as_mut().poll(&mut context) else {
        return None;
    };
    let request = http::Request::get("http://host/").body(()).ok()?;
    let (mut response, _) = sender.send_request(request, true).ok()?;
    let mut connection = pin!(connection);
    let mut body: Option<(u16, h2::RecvStream)> = None;
    let mut length = 0;
    // Each turn reads what there is; bytes that lead nowhere end the turns.
    for _ in 0..bytes.len() + 100 {
        let over = connection.as_mut().poll(&mut context).is_ready();
        if body.is_none() {
            match Pin::new(&mut response).poll(&mut context) {
                Poll::Ready(Ok(head)) => {
                    let (head, stream) = head.into_parts();
                    body = Some((head.status.as_u16(), stream));
                }
                Poll::Ready(Err(_)) => return None,
                Poll::Pending => {}
            }
        }
        if let Some((status, stream)) = &mut body {
            loop {
                match stream.poll_data(&mut context) {
                    Poll::Ready(Some(Ok(data))) => {
                        length += data.len() as u64;
                        let _ = stream.flow_control().release_capacity(data.len());
                    }
                    Poll::Ready(Some(Err(_))) => return None,
                    Poll::Ready(None) => match stream.poll_trailers(&mut context) {
                        Poll::Ready(Ok(_)) => return Some((*status, length)),
                        Poll::Ready(Err(_)) => return None,
                        Poll::Pending => break,
                    },
                    Poll::Pending => break,
                }
            }
        }
        if over {
            return None;
        }
    }
    None
}

/// Holds both readings against each other: a response that `h2` reads is read here, with the same
/// status and length, unless a limit or a rule of this crate's own refuses it.
pub(crate) fn compare(bytes: &[u8]) {
    let (ours, _) = read(bytes, &[]);
    let Some((status, length)) = read_by_h2(bytes) else { return };
    let stricter = matches!(
        ours,
        // `h2` takes any first frame that it does not know (RFC 9113, 3.4, wants SETTINGS), pseudo-fields
        // of requests, 101 and content of a 204.
        Ended::Refused(Refusal::Flood | Refusal::NotHttp2) | Ended::Fault(_)
    );
    if !stricter {
        assert_eq!(ours, Ended::Complete(status, length), "{}", bytes.escape_ascii());
    }
}
