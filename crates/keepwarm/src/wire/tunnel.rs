//! The way through a proxy: CONNECT (RFC 9110, 9.3.6), SOCKS5 (RFC 1928, RFC 1929).
//!
//! Owns the bytes between the connected proxy and a stream that reaches the origin. The connect
//! timeout of the dial bounds all of it.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use keepwarm_http1::encode::{HeadWriter, RequestFraming, Target};
use keepwarm_http1::{Asked, Decoder, Event, ResponseHead, Rules};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::lookup::{How, Lookups};
use super::stream::Stream;
use super::tcp;
use crate::error::{Error, Kind, Result, Stage};
use crate::origin_key::OriginKey;
use crate::policy::proxy::{ProxyProtocol, ProxyServer};

/// Bytes of a refusal's body that are shown in the error.
const MAX_TOLD: usize = 1 << 10;

/// Has the proxy pass bytes to an origin.
pub(crate) async fn open(
    stream: Stream,
    server: &ProxyServer,
    origin: &OriginKey,
    how: How<'_>,
) -> Result<Stream> {
    match server.protocol {
        ProxyProtocol::Http | ProxyProtocol::Https => connect(stream, server, origin).await,
        ProxyProtocol::Socks5 => {
            let found =
                tcp::resolve(origin.host(), origin.port(), &Lookups::default(), how).await?;
            let address = found.first().map(std::net::SocketAddr::ip);
            let address = address.ok_or_else(|| refused(server, "the name has no address"))?;
            socks(stream, server, &Place::Address(address), origin.port()).await
        }
        ProxyProtocol::Socks5h => {
            let host = origin.host();
            let place = match host.parse() {
                Ok(address) => Place::Address(address),
                Err(_) => Place::Name(host),
            };
            socks(stream, server, &place, origin.port()).await
        }
    }
}

fn refused(server: &ProxyServer, why: impl std::fmt::Display) -> Error {
    Error::new(Stage::Connect, Kind::Proxy).with_message(format!("proxy {server}: {why}"))
}

fn broken(server: &ProxyServer, error: std::io::Error) -> Error {
    refused(server, "the connection failed").caused_by(error)
}

pub(crate) async fn connect(
    mut stream: Stream,
    server: &ProxyServer,
    origin: &OriginKey,
) -> Result<Stream> {
    let place = origin.place();
    let host = HeaderValue::from_str(&place).map_err(|why| refused(server, why))?;
    let mut bytes = Vec::new();
    let head = HeadWriter::begin(&mut bytes, &Method::CONNECT, Target::Authority(&place), &host);
    let mut head = head.map_err(|why| refused(server, why))?;
    head.fields(&server.fields);
    if let Some(authorization) = server.authorization() {
        head.field(&PROXY_AUTHORIZATION, &authorization);
    }
    head.end(RequestFraming::Undeclared);
    stream.write_all(&bytes).await.map_err(|error| broken(server, error))?;
    stream.flush().await.map_err(|error| broken(server, error))?;

    let mut decoder = Decoder::new(Rules::default());
    decoder.begin(Asked::Connect);
    let mut read = BytesMut::new();
    let head = read_head(&mut stream, &mut decoder, &mut read, server).await?;
    if head.status.is_success() {
        // A server that sends first may have its bytes read together with the proxy's head.
        return Ok(if read.is_empty() {
            stream
        } else {
            Stream::boxed(Early { early: read.freeze(), stream })
        });
    }
    let told = read_body(&mut stream, &mut decoder, &mut read).await;
    let ResponseHead { status, .. } = head;
    // tinyproxy answers wrong credentials with 401.
    let hint = match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => {
            "; give it credentials by its URL, http://user:password@host:port"
        }
        _ => "",
    };
    let told = String::from_utf8_lossy(&told).trim().to_owned();
    let told = if told.is_empty() { String::new() } else { format!(": {told}") };
    Err(refused(server, format!("it answered CONNECT {place} with {status}{hint}{told}"))
        .with_status(status))
}

async fn read_head(
    stream: &mut Stream,
    decoder: &mut Decoder,
    read: &mut BytesMut,
    server: &ProxyServer,
) -> Result<ResponseHead> {
    loop {
        match decoder.decode(read) {
            Ok(Some(Event::Head(head))) => return Ok(head),
            Ok(Some(Event::Interim(_))) => continue,
            Ok(_) => {}
            Err(why) => return Err(refused(server, "its answer is not HTTP").caused_by(why)),
        }
        match stream.read_buf(read).await {
            Ok(0) => {
                let why = decoder.end(read).err();
                let error = refused(server, "it closed the connection without an answer");
                return Err(match why {
                    None => error,
                    Some(why) => error.caused_by(why),
                });
            }
            Ok(_) => {}
            Err(error) => return Err(broken(server, error)),
        }
    }
}

/// Reads the first bytes of a refusal's body, as far as they come without an error.
async fn read_body(stream: &mut Stream, decoder: &mut Decoder, read: &mut BytesMut) -> Vec<u8> {
    let mut told = Vec::new();
    while told.len() < MAX_TOLD {
        match decoder.decode(read) {
            Ok(Some(Event::Data(data))) => told.extend_from_slice(&data),
            Ok(Some(_)) => {}
            Ok(None) if decoder.is_complete() => break,
            Ok(None) => match stream.read_buf(read).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            },
            Err(_) => break,
        }
    }
    told.truncate(MAX_TOLD);
    told
}

/// An origin, as SOCKS names it.
enum Place<'a> {
    Address(IpAddr),
    Name(&'a str),
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;

async fn socks(
    mut stream: Stream,
    server: &ProxyServer,
    place: &Place<'_>,
    port: u16,
) -> Result<Stream> {
    let failed = |error| broken(server, error);
    let hello: &[u8] = match server.user {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, PASSWORD],
    };
    stream.write_all(hello).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.map_err(failed)?;
    match (chosen, &server.user) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            let mut bytes = vec![1];
            for part in [user, password] {
                // At most 255, as `ProxyServer` has it.
                bytes.push(part.len() as u8);
                bytes.extend_from_slice(part.as_bytes());
            }
            stream.write_all(&bytes).await.map_err(failed)?;
            stream.flush().await.map_err(failed)?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await.map_err(failed)?;
            if answer[1] != 0 {
                return Err(refused(server, "it refuses the user and password"));
            }
        }
        ([VERSION, 0xff], Some(_)) => {
            return Err(refused(server, "it accepts no user and password (SOCKS5)"));
        }
        ([VERSION, _], _) => {
            return Err(refused(
                server,
                "it wants an authentication that it was not given (SOCKS5)",
            ));
        }
        _ => return Err(refused(server, "its answer is not SOCKS5")),
    }
    let mut bytes = vec![VERSION, 1, 0];
    match place {
        Place::Address(IpAddr::V4(address)) => {
            bytes.push(1);
            bytes.extend(address.octets());
        }
        Place::Address(IpAddr::V6(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Place::Name(name) => {
            let length = u8::try_from(name.len());
            let length = length.map_err(|_| refused(server, "the host has over 255 bytes"))?;
            bytes.extend([3, length]);
            bytes.extend(name.bytes());
        }
    }
    bytes.extend(port.to_be_bytes());
    stream.write_all(&bytes).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    finish_socks(stream, server).await
}

async fn finish_socks(mut stream: Stream, server: &ProxyServer) -> Result<Stream> {
    let failed = |error| broken(server, error);
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(failed)?;
    if head[0] != VERSION {
        return Err(refused(server, "its answer is not SOCKS5"));
    }
    if head[1] != 0 {
        return Err(refused(server, socks_refusal(head[1])));
    }
    let length = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(failed)?),
        _ => return Err(refused(server, "its answer is not SOCKS5")),
    };
    // The address that the proxy connects from, and its port: of no use here.
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await.map_err(failed)?;
    Ok(stream)
}

/// Returns the meaning of a reply (RFC 1928, 6).
const fn socks_refusal(code: u8) -> &'static str {
    match code {
        1 => "general failure (SOCKS5 reply 1)",
        2 => "its rules do not allow the connection (SOCKS5 reply 2)",
        3 => "the network of the origin is unreachable (SOCKS5 reply 3)",
        4 => "the host of the origin is unreachable (SOCKS5 reply 4)",
        5 => "the origin refused the connection (SOCKS5 reply 5)",
        6 => "the TTL expired (SOCKS5 reply 6)",
        7 => "it does not support CONNECT (SOCKS5 reply 7)",
        8 => "it does not support this kind of address (SOCKS5 reply 8)",
        _ => "it refused (a SOCKS5 reply beyond 8)",
    }
}

/// A stream whose first bytes have been read already.
struct Early {
    early: Bytes,
    stream: Stream,
}

impl AsyncRead for Early {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..length]);
        self.early.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Early {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn early_bytes_are_read_first() {
        for size in [1, 2, 3, 64] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(b" late").await.expect("written");
            let early = Bytes::from_static(b"early");
            let mut stream = Early { early, stream: Stream::boxed(near) };
            let mut all = Vec::new();
            while all.len() < 10 {
                let mut piece = vec![0; size];
                let count = stream.read(&mut piece).await.expect("bytes");
                all.extend_from_slice(&piece[..count]);
            }
            assert_eq!(all, b"early late", "in pieces of {size}");
            stream.write_all(b"back").await.expect("written");
            let mut back = [0; 4];
            far.read_exact(&mut back).await.expect("bytes");
            assert_eq!(&back, b"back");
            drop(stream);
        }
    }
}
