//! No client at all: frames that were encoded beforehand, on a socket of tokio's.
//!
//! It costs what the kernel and the runtime take for a request: three system calls, and the sleep between them. Every
//! client on tokio costs that and more. It makes one request at a time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{Failure, Lane, Target};

/// Preface, and SETTINGS with nothing in them (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The connection's window grows to nearly 2 GiB: the bodies of a measurement are less.
const WINDOW_UPDATE: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
const HEAD: usize = 9;

pub(crate) struct BareSocket {
    stream: TcpStream,
    /// One HEADERS frame, but for its stream.
    request: Vec<u8>,
    next_stream: u32,
    received: Vec<u8>,
}

impl BareSocket {
    pub(crate) async fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let uri: hyper::Uri = target.url.parse()?;
        let authority = uri.authority().ok_or("no address")?.as_str();
        // GET, http, a path and an authority without Huffman's code (RFC 7541, appendix A and section 6.2.2).
        let mut block = vec![0x82, 0x86, 0x04];
        for (name, value) in [(None, uri.path()), (Some(0x01), authority)] {
            block.extend(name);
            block
                .push(u8::try_from(value.len()).ok().filter(|length| *length < 127).ok_or("long")?);
            block.extend(value.as_bytes());
        }
        let length = u8::try_from(block.len())?;
        // END_STREAM and END_HEADERS.
        let mut request = vec![0, 0, length, 0x01, 0x05, 0, 0, 0, 0];
        request.extend(block);
        let mut lanes = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&[PREFACE, WINDOW_UPDATE].concat()).await?;
            let received = Vec::with_capacity(64 << 10);
            lanes.push(Self { stream, request: request.clone(), next_stream: 1, received });
        }
        Ok(lanes)
    }
}

impl Lane for BareSocket {
    async fn get(&mut self) -> Result<usize, Failure> {
        self.request[5..HEAD].copy_from_slice(&self.next_stream.to_be_bytes());
        self.next_stream += 2;
        self.stream.write_all(&self.request).await?;
        let mut body = 0;
        loop {
            while let Some((kind, flags, payload)) = frame(&self.received) {
                let whole = HEAD + payload.len();
                match (kind, flags & 1 == 1) {
                    (0x00, _) => body += payload.len(),
                    // The indexed `:status: 200`.
                    (0x01, _) if payload.first() != Some(&0x88) => return Err("no 200".into()),
                    (0x04, false) => self.stream.write_all(SETTINGS_ACK).await?,
                    (0x03 | 0x07, _) => return Err("the server has given up".into()),
                    _ => {}
                }
                let is_end = matches!(kind, 0x00 | 0x01) && flags & 1 == 1;
                self.received.drain(..whole);
                if is_end {
                    return Ok(body);
                }
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server has closed".into());
            }
        }
    }
}

/// Returns the first frame, if it is whole: its kind, flags and payload.
fn frame(bytes: &[u8]) -> Option<(u8, u8, &[u8])> {
    let head = bytes.get(..HEAD)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    Some((head[3], head[4], bytes.get(HEAD..HEAD + length)?))
}
