//! Checks of the peer's header blocks that `h2` does not make, or for which it ends the connection.
//!
//! A status of other than three digits, a pseudo-field that no response has, a pseudo-field in
//! trailers, a body before its head or after its end: RFC 9113 (5.1, 8.1.1) makes each an error of its
//! stream, and the other streams go on. `h2` ends the connection at the first and at the last, and
//! passes the others over. So the guard reads the frames before `h2` does. Well-formed ones pass
//! untouched. To a malformed block it adds a field for which `h2` resets the stream, and replaces what
//! `h2` cannot decode by a field of the same size, so that both tables stay the same (RFC 7541). Before
//! a body out of place it puts such a block.
//!
//! `h2` also ends the connection of a peer that breaks no rule: at the hundredth empty DATA frame in its
//! life, at the 81st CONTINUATION frame of a block of any size, and at many small DATA frames that are
//! not read. So the guard takes empty frames out, and passes small parts of a block or of a body on as
//! one. And it bounds the interim responses of a stream, as HTTP/1.1 has it, which `h2` does not.
//!
//! Two things that the peer says are read here, since `h2` does not tell them: the longest header list that
//! it takes, and where a GOAWAY left off.
//!
//! Pure. Decodes lengths, not texts. What it does not understand it leaves to `h2`, for good.

use std::fmt;

use super::{MAX_HEADER_LIST, hpack};

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
/// Longest frame that the client's settings allow.
const MAX_FRAME: usize = 16 << 10;
/// Limit on the frames of one block. Beyond it `h2` ends the connection by its own.
const MAX_HELD: usize = 2 << 20;
/// Limit on the block that is known, so that no block is copied that is seldom repeated.
const MAX_KNOWN: usize = 1024;
/// A block for which `h2` resets the stream, and which leaves the table as it was.
const MALFORMED: &[u8] = b"\0\x02te\x01x";
/// Limit on the streams that are remembered.
const MAX_REMEMBERED: usize = 1024;
/// Frames of a block beyond which it is passed on in frames of full length.
const MAX_PARTS: usize = 4;
/// Length below which a part of a body is joined with the next one. `h2` counts 256 bytes for each.
const SMALL: usize = 256;
const MAX_HEADER_LIST_SIZE: u32 = 6;
/// Limit on the interim responses of one stream, by the count of RFC 9113, 6.5.2.
const MAX_INTERIM: usize = MAX_HEADER_LIST as usize;

/// Position in the peer's frames.
#[derive(Debug, Default)]
pub(super) struct Guard {
    table: hpack::Table,
    /// Bytes still to come of a frame that is passed on unread.
    passing: usize,
    /// Bytes that wait for the rest of their frame, or of their block.
    held: Vec<u8>,
    /// Start of the frame within `held` that is not complete.
    at: usize,
    /// Streams whose final head has come, and not their end.
    bodies: Vec<u32>,
    /// There were more such streams than are remembered: no body is judged any more.
    has_forgotten: bool,
    /// Streams that had interim responses and no final one, and the size of those.
    interim: Vec<(u32, usize)>,
    /// The stream of the last body out of place.
    misplaced: u32,
    /// The last block of a head that was well-formed and left the table as it was, and what was seen
    /// in it. The same block again needs no reading: a server repeats most of its heads.
    known: Vec<u8>,
    seen_in_known: hpack::SeenBlock,
    /// Streams whose head was beyond the limit; taken by the reader.
    too_large: Vec<u32>,
    /// What the peer has said since it was last taken.
    said: Said,
    is_off: bool,
}

/// What the peer has said of its connection.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The longest header list that it takes, by the count of RFC 9113, 6.5.2.
    pub(super) max_header_list: Option<u32>,
    pub(super) farewell: Option<Farewell>,
}

impl Said {
    /// Notes what a frame says, if it is all here.
    fn hear(&mut self, frame: &Frame, bytes: &[u8]) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        let Some(payload) = bytes.get(HEAD..HEAD + frame.length) else { return };
        match frame.kind {
            GOAWAY if payload.len() >= 8 => {
                let (last, code) =
                    (number(&payload[..4]) & (u32::MAX >> 1), number(&payload[4..8]));
                if code != 0 {
                    self.farewell = Some(Farewell { last, code });
                }
            }
            SETTINGS if !frame.has(ACK) => {
                for setting in payload.chunks_exact(6) {
                    if number(&setting[..2]) == MAX_HEADER_LIST_SIZE {
                        self.max_header_list = Some(number(&setting[2..]));
                    }
                }
            }
            _ => {}
        }
    }
}

/// A GOAWAY with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Farewell {
    /// The last stream that the peer has processed, or may have.
    last: u32,
    /// The error code, other than NO_ERROR.
    code: u32,
}

impl Farewell {
    pub(super) const fn is_last(self, stream: u32) -> bool {
        stream == self.last
    }

    /// Returns true if the stream is the first that was not processed: so probably the one whose
    /// request the error is about. A client's streams have odd numbers, in order.
    pub(super) const fn begins_at(self, stream: u32) -> bool {
        stream == self.last + 1 + self.last % 2
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The codes of RFC 9113, 7, by their names.
        match self.code {
            1..=13 => write!(f, "GOAWAY with {:?}", h2::Reason::from(self.code)),
            code => write!(f, "GOAWAY with code {code:#x}"),
        }
    }
}

struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Self { length, kind: head[3], flags: head[4], stream })
    }

    /// Returns true for a frame that is read here, and of which a part has not come.
    const fn is_awaited(&self, bytes: &[u8]) -> bool {
        matches!(self.kind, SETTINGS | GOAWAY)
            && self.length <= MAX_FRAME
            && bytes.len() < HEAD + self.length
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns true for a part of a body that may be joined with the next one.
    const fn is_small_part(&self) -> bool {
        self.kind == DATA && self.length < SMALL && self.stream != 0 && !self.has(PADDED)
    }

    /// The part of a header block in the frame.
    fn fragment<'a>(&self, mut payload: &'a [u8]) -> Option<&'a [u8]> {
        if self.kind == HEADERS && self.has(PADDED) {
            let (&padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(padding.into())?)?;
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            payload = payload.get(5..)?;
        }
        Some(payload)
    }
}

impl Guard {
    /// Takes the next stream whose head was beyond the limit.
    pub(super) fn take_too_large(&mut self) -> Option<u32> {
        self.too_large.pop()
    }

    /// Takes what the peer has said since the last call.
    pub(super) fn take_said(&mut self) -> Option<Said> {
        let says = self.said.max_header_list.is_some() || self.said.farewell.is_some();
        says.then(|| std::mem::take(&mut self.said))
    }

    /// Takes bytes of the peer. `None`: they are passed on as they are; else the bytes to pass on
    /// instead.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_off {
            return None;
        }
        if !self.held.is_empty() {
            return Some(self.take_held(bytes));
        }
        // Most reads hold whole frames, whose blocks are well-formed: nothing is copied then.
        let mut at = self.passing.min(bytes.len());
        self.passing -= at;
        // What is passed on instead, once there is a difference, and the bytes that it stands for.
        let (mut out, mut copied) = (None, 0);
        while at < bytes.len() {
            let passed = match Frame::parse(&bytes[at..]) {
                Some(frame) if self.is_misplaced(&frame) || frame.is_awaited(&bytes[at..]) => None,
                Some(frame) if !is_block(frame.kind) => {
                    self.said.hear(&frame, &bytes[at..]);
                    if let Some(run) = SmallParts::at_start(&bytes[at..], &frame) {
                        let out = out.get_or_insert_with(|| Vec::with_capacity(bytes.len()));
                        out.extend_from_slice(&bytes[copied..at]);
                        self.join(&run, &bytes[at..], out);
                        at += run.end;
                        copied = at;
                        continue;
                    }
                    self.pass(&frame);
                    let whole = HEAD + frame.length;
                    let here = whole.min(bytes.len() - at);
                    self.passing = whole - here;
                    Some(here)
                }
                Some(frame) if frame.kind == HEADERS && frame.has(END_HEADERS) => {
                    let whole = HEAD + frame.length;
                    let payload = bytes.get(at + HEAD..at + whole);
                    let block = payload.and_then(|payload| frame.fragment(payload));
                    block.filter(|block| self.is_well_formed(&frame, block)).map(|_| whole)
                }
                _ => None,
            };
            let Some(passed) = passed else {
                let mut out = out.unwrap_or_default();
                out.extend_from_slice(&bytes[copied..at]);
                out.extend(self.take_held(&bytes[at..]));
                return Some(out);
            };
            at += passed;
        }
        let mut out = out?;
        out.extend_from_slice(&bytes[copied..]);
        Some(out)
    }

    /// Writes the parts of a run as one.
    fn join(&mut self, run: &SmallParts, bytes: &[u8], out: &mut Vec<u8>) {
        if run.ends {
            self.forget(run.stream);
        }
        if run.length == 0 && !run.ends {
            return;
        }
        let flags = if run.ends { END_STREAM } else { 0 };
        put_head(out, run.length, (DATA, flags), run.stream);
        let mut rest = &bytes[..run.end];
        while let Some(frame) = Frame::parse(rest) {
            out.extend_from_slice(&rest[HEAD..HEAD + frame.length]);
            rest = &rest[HEAD + frame.length..];
        }
    }

    /// Returns true if the frame begins a body where none may be: before the final head of its
    /// stream, or after its end.
    fn is_misplaced(&self, frame: &Frame) -> bool {
        frame.kind == DATA
            && ![0, self.misplaced].contains(&frame.stream)
            && !self.has_forgotten
            && !self.bodies.contains(&frame.stream)
    }

    /// Notes the end of a stream.
    fn pass(&mut self, frame: &Frame) {
        if frame.kind == RST_STREAM || (frame.kind == DATA && frame.has(END_STREAM)) {
            self.forget(frame.stream);
        }
    }

    fn forget(&mut self, stream: u32) {
        if let Some(index) = self.bodies.iter().position(|&body| body == stream) {
            self.bodies.swap_remove(index);
        }
        self.forget_interim(stream);
    }

    fn forget_interim(&mut self, stream: u32) {
        if let Some(index) = self.interim.iter().position(|(other, _)| *other == stream) {
            self.interim.swap_remove(index);
        }
    }

    /// Returns true if a block is one interim response too many of its stream.
    fn is_excessive(&self, stream: u32, seen: &hpack::SeenBlock, is_trailer: bool) -> bool {
        if seen.is_final || is_trailer {
            return false;
        }
        let before = self.interim.iter().find(|(other, _)| *other == stream);
        before.map_or(0, |(_, size)| *size).saturating_add(seen.size) > MAX_INTERIM
    }

    fn add_interim(&mut self, stream: u32, size: usize) {
        if let Some((_, sum)) = self.interim.iter_mut().find(|(other, _)| *other == stream) {
            *sum = sum.saturating_add(size);
            return;
        }
        if self.interim.len() >= MAX_REMEMBERED {
            self.interim.swap_remove(0);
        }
        self.interim.push((stream, size));
    }

    /// Judges a whole block without changing anything but the table, which it leaves as it was if
    /// the block is malformed.
    fn is_well_formed(&mut self, frame: &Frame, block: &[u8]) -> bool {
        let is_trailer = self.bodies.contains(&frame.stream);
        if !is_trailer && !block.is_empty() && self.known == block {
            let seen = self.seen_in_known;
            if self.is_excessive(frame.stream, &seen, false) {
                return false;
            }
            self.note(frame, &seen, false);
            return true;
        }
        match self.table.read(block, is_trailer) {
            Some(seen)
                if !seen.is_malformed && !self.is_excessive(frame.stream, &seen, is_trailer) =>
            {
                if self.table.has_changed() {
                    self.known.clear();
                } else if !is_trailer && block.len() <= MAX_KNOWN {
                    self.known.clear();
                    self.known.extend_from_slice(block);
                    self.seen_in_known = seen;
                }
                self.note(frame, &seen, is_trailer);
                true
            }
            _ => {
                self.table.rewind();
                false
            }
        }
    }

    fn note(&mut self, frame: &Frame, seen: &hpack::SeenBlock, is_trailer: bool) {
        if seen.is_too_large {
            self.too_large.push(frame.stream);
        }
        if frame.has(END_STREAM) {
            self.forget(frame.stream);
        } else if !seen.is_final && !is_trailer {
            self.add_interim(frame.stream, seen.size);
        } else if seen.is_final && !self.bodies.contains(&frame.stream) {
            self.forget_interim(frame.stream);
            if self.bodies.len() >= MAX_REMEMBERED {
                self.bodies.swap_remove(0);
                self.has_forgotten = true;
            }
            self.bodies.push(frame.stream);
        }
    }

    /// Takes bytes that begin a frame, or that continue the held ones.
    fn take_held(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(frame) = Frame::parse(&self.held[self.at..]) {
            let whole = HEAD + frame.length;
            if !is_block(frame.kind) && self.at == 0 {
                if frame.is_awaited(&self.held) {
                    return out;
                }
                self.said.hear(&frame, &self.held);
                if self.is_misplaced(&frame) {
                    self.misplaced = frame.stream;
                    let head = Frame { length: 0, kind: HEADERS, flags: 0, stream: frame.stream };
                    out.extend(frames_of(&head, MALFORMED));
                }
                if let Some(run) = SmallParts::at_start(&self.held, &frame) {
                    let parts: Vec<u8> = self.held.drain(..run.end).collect();
                    self.join(&run, &parts, &mut out);
                    continue;
                }
                self.pass(&frame);
                let here = whole.min(self.held.len());
                self.passing = whole - here;
                out.extend(self.held.drain(..here));
                continue;
            }
            if !is_block(frame.kind) || frame.kind == PUSH_PROMISE || self.held.len() > MAX_HELD {
                // A frame within a block, a push, or a block that is too long: `h2` ends the
                // connection.
                return self.give_up(out);
            }
            if self.held.len() < self.at + whole {
                return out;
            }
            self.at += whole;
            if frame.has(END_HEADERS) {
                let Some(block) = self.conclude() else { return self.give_up(out) };
                out.extend(block);
            }
        }
        out
    }

    /// Judges the block that is complete, and returns its frames, as they were or corrected.
    fn conclude(&mut self) -> Option<Vec<u8>> {
        let frames = &self.held[..self.at];
        let first = Frame::parse(frames).filter(|first| first.kind == HEADERS)?;
        let mut block = Vec::new();
        let (mut at, mut parts) = (0, 0);
        while let Some(frame) = Frame::parse(&frames[at..]) {
            let payload = frames.get(at + HEAD..at + HEAD + frame.length)?;
            if frame.stream != first.stream || (at > 0) != (frame.kind == CONTINUATION) {
                return None;
            }
            block.extend_from_slice(frame.fragment(payload)?);
            at += HEAD + frame.length;
            parts += 1;
        }
        let is_trailer = self.bodies.contains(&first.stream);
        self.known.clear();
        let mut seen = self.table.read(&block, is_trailer)?;
        let is_excessive = self.is_excessive(first.stream, &seen, is_trailer);
        seen.is_too_large |= is_excessive;
        let corrected = if seen.is_malformed || is_excessive {
            self.table.rewind();
            Some(frames_of(&first, &self.table.correct(&block, is_trailer)?))
        } else if parts > MAX_PARTS {
            Some(frames_of(&first, &block))
        } else {
            None
        };
        self.note(&first, &seen, is_trailer);
        let rest = self.held.split_off(self.at);
        let frames = std::mem::replace(&mut self.held, rest);
        self.at = 0;
        Some(corrected.unwrap_or(frames))
    }

    fn give_up(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        self.is_off = true;
        out.append(&mut self.held);
        out
    }
}

/// Small parts of one body that follow one another, and are all here; or one without a byte.
struct SmallParts {
    stream: u32,
    /// End of the last one.
    end: usize,
    /// Length of all of them.
    length: usize,
    /// The last one ends the body.
    ends: bool,
}

impl SmallParts {
    /// Finds the run at the start of `bytes`, which begin with the frame. `None` if nothing is to be
    /// joined.
    fn at_start(bytes: &[u8], first: &Frame) -> Option<Self> {
        if !first.is_small_part() || first.has(END_STREAM) {
            return None;
        }
        let mut run = Self { stream: first.stream, end: 0, length: 0, ends: false };
        let mut parts = 0;
        while !run.ends
            && let Some(frame) = Frame::parse(&bytes[run.end..])
            && frame.is_small_part()
            && frame.stream == run.stream
            && run.end + HEAD + frame.length <= bytes.len()
            && run.length + frame.length <= MAX_FRAME
        {
            run.end += HEAD + frame.length;
            run.length += frame.length;
            run.ends = frame.has(END_STREAM);
            parts += 1;
        }
        let says_nothing = parts == 1 && run.length == 0 && !run.ends;
        (parts > 1 || says_nothing).then_some(run)
    }
}

/// Appends the head of a frame.
fn put_head(out: &mut Vec<u8>, length: usize, (kind, flags): (u8, u8), stream: u32) {
    let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

const fn is_block(kind: u8) -> bool {
    matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION)
}

/// Frames of a block, without padding and priority.
fn frames_of(first: &Frame, block: &[u8]) -> Vec<u8> {
    let mut frames = Vec::with_capacity(block.len() + HEAD);
    let parts = block.chunks(MAX_FRAME);
    let last = parts.len().saturating_sub(1);
    // An empty block is one frame too.
    let none = block.is_empty().then_some(block);
    for (index, part) in parts.chain(none).enumerate() {
        let ends = if index == last { END_HEADERS } else { 0 };
        let (kind, flags) = match index {
            0 => (HEADERS, ends | (first.flags & END_STREAM)),
            _ => (CONTINUATION, ends),
        };
        put_head(&mut frames, part.len(), (kind, flags), first.stream);
        frames.extend_from_slice(part);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
        [&head, payload].concat()
    }

    /// Passes bytes through a guard in pieces of a size.
    fn through(bytes: &[u8], size: usize) -> Vec<u8> {
        let mut guard = Guard::default();
        let pieces = bytes.chunks(size);
        pieces.flat_map(|piece| guard.take(piece).unwrap_or_else(|| piece.to_vec())).collect()
    }

    /// A response that enters the table, one that refers to it, a padded one in two frames, trailers.
    fn well_formed() -> Vec<u8> {
        // ":status: 201" and "server: www" in Huffman's code, and then by their places in the table.
        let first = [0x48, 0x82, 0x10, 0x03, 0x76, 0x83, 0xf1, 0xe3, 0xc7];
        [
            frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]),
            frame(HEADERS, END_HEADERS, 1, &first),
            frame(DATA, 0, 1, b"x"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 1, b'a', 1, b'b']),
            frame(HEADERS, PADDED | END_STREAM, 3, &[2, 0xbf, 0, 0]),
            frame(CONTINUATION, END_HEADERS, 3, &[0xbe]),
            frame(6, 0, 0, &[1; 8]),
        ]
        .concat()
    }

    #[test]
    fn well_formed_blocks_pass_in_any_pieces() {
        let bytes = well_formed();
        for size in 1..=bytes.len() {
            assert_eq!(through(&bytes, size), bytes, "pieces of {size}");
        }
    }

    #[test]
    fn corrections_are_the_same_in_any_pieces() {
        let bad = frame(HEADERS, END_HEADERS, 1, &[0x48, 1, b'x', 0x40, 2, b':', b'a', 1, b'b']);
        let bytes = [bad, well_formed()].concat();
        let whole = through(&bytes, bytes.len());
        // Both entries of the table keep their sizes: 7 + 1 and 2 + 1.
        let te = |enters, filler: &[u8]| {
            let length = u8::try_from(filler.len()).expect("short");
            [&[enters, 2, b't', b'e', length], filler].concat()
        };
        let block = [te(0x40, b"xxxxxx"), te(0x40, b"x"), te(0, b"x")].concat();
        let expected = [frame(HEADERS, END_HEADERS, 1, &block), well_formed()].concat();
        assert_eq!(whole, expected);
        for size in 1..bytes.len() {
            assert_eq!(through(&bytes, size), whole, "pieces of {size}");
        }
    }

    /// A body before its head, or after its end, fails its stream alone.
    #[test]
    fn misplaced_bodies_are_marked_once() {
        // Too long to be joined.
        let data = |stream| frame(DATA, 0, stream, &[b'x'; SMALL]);
        let mark = |stream| frame(HEADERS, END_HEADERS, stream, MALFORMED);
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x88]);
        let bytes = [data(1), data(1), head.clone(), data(3), data(0)].concat();
        let expected = [mark(1), data(1), data(1), head, mark(3), data(3), data(0)].concat();
        for size in 1..=bytes.len() {
            assert_eq!(through(&bytes, size), expected, "pieces of {size}");
        }
    }

    /// What a peer says of its connection is heard, and passed on as it was.
    #[test]
    fn settings_and_farewells_are_heard_in_any_pieces() {
        let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9, 0, 6, 0, 0, 0x40, 0]);
        let answer = frame(SETTINGS, ACK, 0, &[]);
        let calm = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let failed = frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 9, b'w', b'h', b'y']);
        let bytes = [well_formed(), settings, answer, calm, failed, well_formed()].concat();
        for size in 1..=bytes.len() {
            let mut guard = Guard::default();
            let (mut out, mut limit, mut farewell) = (Vec::new(), None, None);
            for piece in bytes.chunks(size) {
                out.extend(guard.take(piece).unwrap_or_else(|| piece.to_vec()));
                let said = guard.take_said().unwrap_or_default();
                limit = said.max_header_list.or(limit);
                farewell = said.farewell.or(farewell);
            }
            assert_eq!((out, limit), (bytes.clone(), Some(0x4000)), "pieces of {size}");
            assert_eq!(farewell, Some(Farewell { last: 5, code: 9 }), "pieces of {size}");
        }
        for (last, first) in [(0, 1), (5, 7)] {
            assert!(Farewell { last, code: 2 }.begins_at(first), "{last}");
        }
    }

    #[test]
    fn small_parts_are_joined() {
        let part = |flags, stream, data: &[u8]| frame(DATA, flags, stream, data);
        let begin = [1, 3].map(|stream| frame(HEADERS, END_HEADERS, stream, &[0x88])).concat();
        let empty = part(0, 1, b"");
        let mixed = [
            [empty.clone(), part(0, 1, b"ab"), empty.clone(), part(0, 1, b"c")].concat(),
            [part(0, 3, b"d"), empty.clone(), frame(6, 0, 0, &[1; 8]), empty].concat(),
            [part(0, 1, &[7; SMALL]), part(0, 1, b"e"), part(END_STREAM, 1, b"")].concat(),
            [part(PADDED, 3, b"\0"), part(0, 3, b"f"), part(END_STREAM, 3, b"g")].concat(),
        ];
        let joined = [
            [part(0, 1, b"abc"), part(0, 3, b"d"), frame(6, 0, 0, &[1; 8])].concat(),
            [part(0, 1, &[7; SMALL]), part(END_STREAM, 1, b"e")].concat(),
            [part(PADDED, 3, b"\0"), part(END_STREAM, 3, b"fg")].concat(),
        ];
        let bytes = [begin.clone(), mixed.concat()].concat();
        assert_eq!(through(&bytes, bytes.len()), [begin, joined.concat()].concat());
        let bodies = |frames: &[u8]| {
            let (mut at, mut bodies) = (0, [Vec::new(), Vec::new(), Vec::new(), Vec::new()]);
            while let Some(frame) = Frame::parse(&frames[at..]) {
                let payload = &frames[at + HEAD..at + HEAD + frame.length];
                if frame.kind == DATA && !frame.has(PADDED) {
                    bodies[frame.stream as usize].extend_from_slice(payload);
                }
                at += HEAD + frame.length;
            }
            bodies
        };
        for size in 1..=bytes.len() {
            assert_eq!(bodies(&through(&bytes, size)), bodies(&bytes), "pieces of {size}");
        }
    }

    #[test]
    fn block_in_many_parts_is_passed_on_in_few() {
        let parts = |count| {
            let mut bytes = frame(HEADERS, END_STREAM, 1, &[]);
            for index in 1..count {
                let flags = if index + 1 == count { END_HEADERS } else { 0 };
                let part: &[u8] = if index == 1 { &[0x88] } else { &[] };
                bytes.extend(frame(CONTINUATION, flags, 1, part));
            }
            bytes
        };
        assert_eq!(through(&parts(MAX_PARTS), 7), parts(MAX_PARTS));
        let one = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]);
        assert_eq!(through(&parts(MAX_PARTS + 1), 7), one);
        let first = Frame { length: 0, kind: HEADERS, flags: 0, stream: 1 };
        assert_eq!(frames_of(&first, &[]), frame(HEADERS, END_HEADERS, 1, &[]));
    }

    #[test]
    fn interim_responses_are_bounded() {
        let mut guard = Guard::default();
        // ":status: 103" and a field, 42 + 33 + 100_000 bytes by RFC 9113, 6.5.2.
        let mut block = vec![0x08, 3, b'1', b'0', b'3', 0, 1, b'a', 127, 0xa1, 0x8c, 0x06];
        block.extend(vec![b'x'; 100_000]);
        let interim = |guard: &mut Guard, stream| {
            let first = Frame { length: 0, kind: HEADERS, flags: 0, stream };
            let before = frames_of(&first, &block);
            guard.take(&before).is_none_or(|passed| passed == before)
        };
        for stream in [1, 3, 5] {
            let passed = (0..12).filter(|_| interim(&mut guard, stream)).count();
            assert_eq!(passed, MAX_INTERIM / 100_075, "{stream}");
        }
        assert!((0..3).all(|_| matches!(guard.take_too_large(), Some(1 | 3 | 5))));
        guard.take(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]));
        assert_eq!(guard.interim.len(), 2);
    }

    #[test]
    fn no_body_is_judged_by_a_full_memory() {
        let mut guard =
            Guard { bodies: (0..1024).map(|index| 2 * index).collect(), ..Guard::default() };
        assert_eq!(guard.take(&frame(HEADERS, END_HEADERS, 1, &[0x88])), None);
        assert_eq!(guard.bodies.len(), MAX_REMEMBERED);
        assert_eq!(guard.take(&frame(DATA, 0, 3, b"x")), None, "its head may be forgotten");
    }

    /// A block that refers to the table means another thing once the table has changed.
    #[test]
    fn known_block_is_read_again_after_a_change() {
        let mut guard = Guard::default();
        // The table: "a: b", and then, before it, a field that no response has.
        let enters = [0x88, 0x40, 1, b'a', 1, b'b'];
        let repeated = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x88, 0xbe]);
        assert_eq!(guard.take(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &enters)), None);
        assert_eq!(guard.take(&repeated), None);
        assert_eq!(guard.known, [0x88, 0xbe]);
        assert_eq!(guard.take(&repeated), None);
        let malformed = [0x88, 0x40, 2, b':', b'a', 1, b'b'];
        assert!(guard.take(&frame(HEADERS, END_HEADERS | END_STREAM, 5, &malformed)).is_some());
        assert!(guard.take(&repeated).is_some(), "it has the malformed field now");
    }

    /// A block that is known as a head is malformed as trailers.
    #[test]
    fn known_head_is_no_trailer() {
        let mut guard = Guard::default();
        let head = |stream| frame(HEADERS, END_HEADERS, stream, &[0x88]);
        for stream in [1, 3] {
            assert_eq!(guard.take(&head(stream)), None);
        }
        assert!(guard.take(&head(1)).is_some());
    }

    #[test]
    fn bytes_without_sense_pass_unchanged() {
        let mut noise = 1_u32;
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    u8::try_from(noise >> 24).expect("a byte")
                })
                .collect();
            let out = through(&bytes, 7);
            assert!(out.len() <= bytes.len() + 64, "{length}");
        }
        let broken = frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(through(&broken, 5), broken);
    }
}
