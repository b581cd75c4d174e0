//! The content of responses, for plans that look at it: searched for a text, or kept as the exchange
//! of a plan of one request. Owns the second reading of the same bytes; the framing that ends a
//! response stays the counter's.

use std::time::Instant;

use bytes::BytesMut;
use keepwarm_http1::{Asked, Decoder, Event};
use keepwarm_http2::Fields;

use crate::counts::Exchange;
use crate::limits::{MAX_HEAD, RULES};
use crate::plan::Plan;

/// The most bytes of content that are kept of the exchange of a plan of one request.
const MAX_CONTENT: usize = 64 * 1024;

/// The reader of one slot.
#[derive(Debug)]
pub(super) struct Capture {
    decoder: Decoder,
    buffer: BytesMut,
    /// The decoder has refused bytes; nothing is searched or kept any more.
    refused: bool,
    /// The text of each expectation of the plan, if it has one.
    searches: Vec<Option<Search>>,
    pub(super) kept: Option<Box<Exchange>>,
    pub(super) first_byte_at: Option<Instant>,
}

/// A text that is searched for in content that comes in pieces.
#[derive(Debug)]
struct Search {
    text: Box<[u8]>,
    /// The end of the last pieces, shorter than the text.
    tail: Vec<u8>,
    found: bool,
}

impl Search {
    fn feed(&mut self, piece: &[u8]) {
        if self.found {
            return;
        }
        let length = self.text.len();
        // A match begins in the tail, or lies in the piece.
        let seam = &piece[..piece.len().min(length - 1)];
        self.tail.extend_from_slice(seam);
        let has = |bytes: &[u8]| bytes.windows(length).any(|window| window == &*self.text);
        self.found = has(&self.tail) || has(piece);
        if piece.len() >= length {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - (length - 1)..]);
        } else {
            let over = self.tail.len().saturating_sub(length - 1);
            self.tail.drain(..over);
        }
    }
}

/// The most bytes of a request that are kept.
pub(super) const MAX_REQUEST: usize = 80 * 1024;

impl Capture {
    /// Prepares what `plan` asks for; `None` if it looks at no content.
    pub(super) fn of(plan: &Plan) -> Option<Box<Self>> {
        let search = |text: &[u8]| Search { text: text.into(), tail: Vec::new(), found: false };
        let texts = plan.expectations().iter().map(|expectation| expectation.text());
        let searches: Vec<Option<Search>> = texts.map(|text| text.map(search)).collect();
        let kept = plan.shows_exchange().then(|| {
            Box::new(Exchange {
                resolve: plan.resolve_time(),
                closed: "no connection was opened".to_owned(),
                ..Exchange::default()
            })
        });
        (searches.iter().any(Option::is_some) || kept.is_some()).then(|| {
            let decoder = Decoder::new(RULES);
            let buffer = BytesMut::new();
            Box::new(Self { decoder, buffer, refused: false, searches, kept, first_byte_at: None })
        })
    }

    /// Expects the next response.
    pub(super) fn begin(&mut self, asked: Asked) {
        self.decoder.begin(asked);
        self.buffer.clear();
        self.refused = false;
        self.first_byte_at = None;
        for search in self.searches.iter_mut().flatten() {
            search.tail.clear();
            search.found = false;
        }
    }

    /// Returns true if the content so far has the text of expectation `index`.
    pub(super) fn has_found(&self, index: usize) -> bool {
        self.searches.get(index).is_some_and(|one| one.as_ref().is_some_and(|search| search.found))
    }

    /// Reads bytes of the response.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) {
        self.first_byte_at.get_or_insert(now);
        if let Some(kept) = &mut self.kept
            && (self.refused || self.decoder.expects_head())
        {
            let room = MAX_HEAD.saturating_sub(kept.response_head.len());
            kept.response_head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        if self.refused {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            let read_head = self.decoder.expects_head();
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some(Event::Data(data))) => self.take(&data),
                Ok(Some(Event::Head(_))) if read_head => {
                    if let Some(kept) = &mut self.kept {
                        // The bytes behind the head were kept with it.
                        let behind = self.buffer.len().min(kept.response_head.len());
                        kept.response_head.truncate(kept.response_head.len() - behind);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.refused = true;
                    return;
                }
            }
        }
    }

    /// Keeps the fields of a head of HTTP/2, one a line, interim heads included.
    #[cold]
    pub(super) fn take_fields(&mut self, block: &[u8], now: Instant) {
        self.first_byte_at.get_or_insert(now);
        let Some(kept) = &mut self.kept else { return };
        for field in Fields::of(block).flatten() {
            let mut line = Vec::new();
            let name = field.decode_name(MAX_HEAD, &mut line);
            line.extend_from_slice(b": ");
            let decoded = name.and_then(|()| field.decode_value(MAX_HEAD, &mut line));
            line.extend_from_slice(b"\r\n");
            if decoded.is_some() && kept.response_head.len() + line.len() <= MAX_HEAD {
                kept.response_head.extend_from_slice(&line);
            }
        }
        kept.response_head.extend_from_slice(b"\r\n");
    }

    /// Takes content of a response of HTTP/2.
    pub(super) fn take_content(&mut self, data: &[u8], now: Instant) {
        self.first_byte_at.get_or_insert(now);
        self.take(data);
    }

    fn take(&mut self, data: &[u8]) {
        self.searches.iter_mut().flatten().for_each(|search| search.feed(data));
        if let Some(kept) = &mut self.kept {
            let room = MAX_CONTENT - kept.content.len();
            kept.content_cut |= data.len() > room;
            kept.content.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_across_pieces() {
        let content = b"xxabcabdyy";
        for size in 1..content.len() {
            let mut search = Search { text: b"abcabd"[..].into(), tail: Vec::new(), found: false };
            content.chunks(size).for_each(|piece| search.feed(piece));
            assert!(search.found, "in pieces of {size}");
            assert!(search.tail.len() < 12, "the tail is bounded");
            let mut other = Search { text: b"abcabe"[..].into(), tail: Vec::new(), found: false };
            content.chunks(size).for_each(|piece| other.feed(piece));
            assert!(!other.found, "in pieces of {size}");
        }
    }
}
