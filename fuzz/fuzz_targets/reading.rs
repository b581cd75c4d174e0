//! A response as the decoder reads it, from pieces.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use keepwarm_http1::{Asked, Decoder, Event, Refusal, Rules};

/// A response that was read to its end.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub interim: Vec<(u16, HeaderMap)>,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Bytes behind the response.
    pub left: usize,
}

/// Reads a response that arrives in these pieces, before the end of the connection.
pub fn read(asked: Asked, pieces: &[&[u8]]) -> Result<Read, (Refusal, u64)> {
    let mut decoder = Decoder::new(Rules::default());
    decoder.begin(asked);
    let mut buffer = BytesMut::new();
    let mut out = Read {
        interim: Vec::new(),
        status: 0,
        headers: HeaderMap::new(),
        body: Vec::new(),
        trailers: None,
        left: 0,
    };
    let mut pieces = pieces.iter();
    loop {
        match decoder.decode(&mut buffer).map_err(|error| (error.refusal, error.offset))? {
            Some(Event::Interim(head)) => out.interim.push((head.status.as_u16(), head.headers)),
            Some(Event::Head(head)) => {
                (out.status, out.headers) = (head.status.as_u16(), head.headers);
            }
            Some(Event::Data(data)) => append(&mut out.body, &data),
            Some(Event::Trailers(trailers)) => out.trailers = Some(trailers),
            None if decoder.is_complete() => {
                out.left = buffer.len() + pieces.map(|piece| piece.len()).sum::<usize>();
                return Ok(out);
            }
            None => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => {
                    decoder
                        .end(&buffer)
                        .map_err(|error| (error.refusal, error.offset))?;
                    return Ok(out);
                }
            },
        }
    }
}

fn append(body: &mut Vec<u8>, data: &Bytes) {
    assert!(!data.is_empty());
    body.extend_from_slice(data);
}
