//! A response's body without its content coding.
//!
//! Owns the state between the wire and the reader: compressed bytes that wait for a step, the bound
//! on what comes out, and the end. The wire is read to its end whatever the decoder says, so that
//! the connection can be kept.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use keepwarm_http1::fields::listed;

use super::outgoing::Outgoing;
use super::received::Received;
use crate::decode::{Coding, Codings, Decoder};
use crate::error::{Error, Kind, Stage};

/// The codings that a request asked for, and the bound on a decoded body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedCodings {
    pub(crate) codings: Codings,
    pub(crate) limit: Option<u64>,
}

/// The decoding of one body.
#[derive(Debug)]
pub(super) struct Decoding {
    decoder: Box<dyn Decoder>,
    input: Bytes,
    given: u64,
    made: u64,
    limit: Option<u64>,
    /// Trailers, which come behind the last data.
    pub(super) trailers: Option<HeaderMap>,
    pub(super) state: DecodingState,
}

/// How far a body is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodingState {
    /// There may be more data.
    Open,
    /// The wire is at its end; trailers may be left.
    WireEnded,
    /// Nothing comes any more.
    Done,
}

impl Decoding {
    fn new(coding: Coding, limit: Option<u64>) -> Self {
        Self {
            decoder: coding.decoder(),
            input: Bytes::new(),
            given: 0,
            made: 0,
            limit,
            trailers: None,
            state: DecodingState::Open,
        }
    }

    /// Adds bytes of the wire. The ones before have been used up.
    pub(super) fn give(&mut self, data: Bytes) {
        self.given += data.len() as u64;
        self.input = data;
    }

    /// Decodes a piece; `None` if more input is needed.
    pub(super) fn step(&mut self) -> Result<Option<Bytes>, Error> {
        let mut out = Vec::new();
        let failed = |why| {
            Error::new(Stage::Body, Kind::Decode)
                .with_message("the body is not what Content-Encoding says")
                .caused_by(why)
        };
        self.decoder.decode(&mut self.input, &mut out).map_err(failed)?;
        self.made += out.len() as u64;
        if let Some(limit) = self.limit.filter(|limit| self.made > *limit) {
            return Err(Error::new(Stage::Body, Kind::TooLarge).with_message(format!(
                "decompressed it has more than the {limit} bytes of max_decompressed_size"
            )));
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// Notes the end of the wire.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.state = DecodingState::WireEnded;
        // Some servers send Content-Encoding with an empty body.
        if self.given == 0 || self.decoder.may_end() {
            return Ok(());
        }
        Err(Error::new(Stage::Body, Kind::Decode).with_message("the compressed body is truncated"))
    }
}

/// Has the body decoded, if its coding is one that was asked for. Go: `Response.Uncompressed`.
pub(crate) fn decode(outgoing: &Outgoing, received: &mut Received) {
    let Some(AskedCodings { codings, limit }) = outgoing.asked else { return };
    if http_body::Body::is_end_stream(&received.body) {
        return;
    }
    let headers = &mut received.headers;
    let coding = {
        let mut named = listed(headers, &CONTENT_ENCODING);
        let (Some(name), None) = (named.next(), named.next()) else { return };
        codings.named(name)
    };
    let Some(coding) = coding else { return };
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    received.body.decode_by(Decoding::new(coding, limit));
}
