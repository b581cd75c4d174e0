//! The streams of one connection. Owns their places and the way from a stream id to its place; the
//! rules of the protocol are `keepwarm-http2`'s.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use keepwarm_http2::{Inflow, Response};

use super::super::capture::Capture;
use super::super::slot::Current;

/// A request in flight on a stream of its own.
#[derive(Debug)]
pub(in super::super) struct Stream {
    /// Id on the wire; 0 if the place is free.
    pub(super) id: u32,
    pub(super) current: Current,
    pub(super) response: Response,
    /// Time at which the stream was opened: later than its request was sent first, if that was given back.
    pub(super) opened_at: Instant,
    /// Time at which the request times out.
    pub(super) deadline: Instant,
    pub(super) inflow: Inflow,
    /// Bytes of the body that the peer allows.
    pub(super) window: i64,
    /// Head and start of the body, if they are made from a template.
    pub(super) rendered: Vec<u8>,
    /// Bytes before the body in the plan's form of the request.
    pub(super) head: usize,
    /// Bytes of the body that are in the connection's buffer or written.
    pub(super) sent: usize,
    pub(super) body: usize,
    /// The stream stands in the queue of uploads.
    pub(super) is_queued: bool,
    pub(super) capture: Option<Box<Capture>>,
}

impl Stream {
    pub(super) fn new(now: Instant, capture: Option<Box<Capture>>) -> Self {
        Self {
            id: 0,
            current: Current::new(now),
            response: Response::default(),
            opened_at: now,
            deadline: now,
            inflow: Inflow::STREAM,
            window: 0,
            rendered: Vec::new(),
            head: 0,
            sent: 0,
            body: 0,
            is_queued: false,
            capture,
        }
    }

    /// Returns true if a part of the body is not in the connection's buffer yet.
    #[inline]
    pub(super) fn is_uploading(&self) -> bool {
        self.sent < self.body
    }
}

/// Mixes a stream id. Ids are the peer's to name, but only ids that this side has opened are looked
/// for with success, so no choice of ids makes a long chain.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Streams by place, and places by id.
#[derive(Debug, Default)]
pub(in super::super) struct Streams {
    pub(super) places: Vec<Stream>,
    free: Vec<usize>,
    by_id: HashMap<u32, usize, BuildHasherDefault<IdHasher>>,
}

impl Streams {
    /// Returns the number of streams that are open.
    #[inline]
    pub(in super::super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns true if no stream is open.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes a free place for stream `id`.
    #[inline]
    pub(super) fn insert(&mut self, id: u32, make: impl FnOnce() -> Stream) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(make());
            self.places.len() - 1
        });
        self.places[at].id = id;
        self.by_id.insert(id, at);
        at
    }

    /// Returns the place of stream `id`, if it is open.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Frees a place.
    #[inline]
    pub(super) fn remove(&mut self, at: usize) {
        let id = std::mem::take(&mut self.places[at].id);
        self.by_id.remove(&id);
        self.free.push(at);
    }

    /// Lists the places of open streams, in the order in which the streams were opened.
    pub(super) fn open(&self) -> Vec<usize> {
        let mut open: Vec<usize> = self.by_id.values().copied().collect();
        open.sort_unstable_by_key(|at| self.places[*at].id);
        open
    }
}
