//! Bytes of a peer as frames, and parts of a block of fields as one block. Owns what is kept of a
//! frame that came in pieces, and the limits on frames; the connection owns their meaning.

use alloc::vec::Vec;

use crate::event::Event;
use crate::frame::{self, Frame, HEADER};
use crate::{Code, MAX_FRAME, Refusal};

/// The largest block of fields that is read, in bytes. A larger one fails its stream.
pub const MAX_BLOCK: usize = 64 * 1024;

/// The most bytes of one block of fields that are read and thrown away. A longer block ends the
/// connection.
pub const MAX_PASSED_OVER: usize = 1024 * 1024;

/// The most parts of a block of fields.
const MAX_PARTS: u32 = 1024;

/// The most frames in a row that advance no response: PING, SETTINGS, PRIORITY, empty DATA,
/// and frames of streams that have ended.
pub const MAX_IDLE_FRAMES: u32 = 10_000;

/// A frame, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// The payload of a SETTINGS frame without ACK.
    Settings(&'a [u8]),
    SettingsAck,
    Ping([u8; 8]),
    Pong,
    WindowUpdate {
        stream: u32,
        by: u32,
    },
    /// HEADERS with a whole block, a piece of DATA, RST_STREAM, or GOAWAY.
    Event(Event<'a>),
}

/// A block of fields whose end has not come.
#[derive(Debug, Clone, Copy)]
struct Open {
    stream: u32,
    is_last: bool,
    parts: u32,
    length: usize,
}

/// A DATA frame of which a part has come.
#[derive(Debug, Clone, Copy)]
struct Data {
    frame: Frame,
    /// Bytes of the payload that have not come.
    left: usize,
    /// Of these, bytes of padding; `None` before the byte with the length of the padding has come.
    padding: Option<usize>,
}

/// A parsed frame that borrows nothing: its bytes are looked up by range afterwards.
#[derive(Debug, Clone, Copy)]
enum Found {
    Nothing,
    /// Content without bytes of the payload.
    Whole(Read<'static>),
    /// The payload is the content.
    Settings,
    /// A block that is the range of the payload.
    Block {
        stream: u32,
        is_last: bool,
        start: usize,
        end: usize,
    },
    /// A block that was gathered; `kept` if it was not too large.
    Gathered {
        stream: u32,
        is_last: bool,
        kept: bool,
    },
}

/// Reads frames of a connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    header: [u8; HEADER],
    header_length: usize,
    frame: Option<Frame>,
    data: Option<Data>,
    /// The payload of a frame other than DATA that came in pieces.
    partial: Vec<u8>,
    /// `partial` was handed out, and is to be emptied.
    is_spent: bool,
    blocks: Blocks,
    has_begun: bool,
    /// Frames since the last one that advanced a response.
    idle: u32,
}

/// Blocks of fields in parts.
#[derive(Debug, Default)]
struct Blocks {
    open: Option<Open>,
    gathered: Vec<u8>,
}

impl Reader {
    /// Notes that the last frame advanced a response.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.idle = 0;
    }

    /// Parses the next frame, and takes its bytes from `bytes`; `None` if they end first.
    #[inline]
    pub(crate) fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<Read<'a>>, Refusal> {
        if self.is_spent {
            self.partial.clear();
            self.is_spent = false;
        }
        loop {
            if self.data.is_some() {
                return self.take_data(bytes);
            }
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.take_header(bytes)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            if frame.kind == frame::DATA {
                let padding = if frame.has(frame::PADDED) { None } else { Some(0) };
                if padding.is_none() && frame.length == 0 {
                    return Err(Refusal::FrameSize);
                }
                self.data = Some(Data { frame, left: frame.length, padding });
                continue;
            }
            let input: Option<&'b [u8]> = match bytes.split_at_checked(frame.length) {
                Some((payload, rest)) if self.partial.is_empty() => {
                    *bytes = rest;
                    Some(payload)
                }
                _ => {
                    let wanted = frame.length - self.partial.len();
                    let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
                    self.partial.extend_from_slice(piece);
                    *bytes = rest;
                    if self.partial.len() < frame.length {
                        self.frame = Some(frame);
                        return Ok(None);
                    }
                    self.is_spent = true;
                    None
                }
            };
            self.frame = None;
            let payload = input.unwrap_or(&self.partial);
            match self.blocks.understand(frame, payload)? {
                Found::Nothing if self.is_spent => {
                    self.partial.clear();
                    self.is_spent = false;
                }
                Found::Nothing => {}
                found => return Ok(self.say(found, input)),
            }
        }
    }

    fn say<'a>(&'a self, found: Found, input: Option<&'a [u8]>) -> Option<Read<'a>> {
        let payload = input.unwrap_or(&self.partial);
        Some(match found {
            Found::Nothing => return None,
            Found::Whole(read) => read,
            Found::Settings => Read::Settings(payload),
            Found::Block { stream, is_last, start, end } => {
                let block = payload.get(start..end);
                Read::Event(Event::Headers { stream, block, is_last })
            }
            Found::Gathered { stream, is_last, kept } => {
                let block = kept.then_some(&self.blocks.gathered[..]);
                Read::Event(Event::Headers { stream, block, is_last })
            }
        })
    }

    /// Takes the header of a frame, and checks all that the header alone shows.
    #[inline]
    fn take_header(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Refusal> {
        let frame = match bytes.split_first_chunk::<HEADER>() {
            Some((header, rest)) if self.header_length == 0 => {
                *bytes = rest;
                Frame::parse(header)
            }
            _ => {
                let room = HEADER - self.header_length;
                let (piece, rest) = bytes.split_at(room.min(bytes.len()));
                self.header[self.header_length..][..piece.len()].copy_from_slice(piece);
                self.header_length += piece.len();
                *bytes = rest;
                if self.header_length < HEADER {
                    return Ok(None);
                }
                self.header_length = 0;
                Frame::parse(&self.header)
            }
        };
        if !self.has_begun {
            // The first frame has to be SETTINGS. This is checked before its payload is read, because the
            // peer may speak another protocol.
            let is_settings = frame.kind == frame::SETTINGS && !frame.has(frame::ACK);
            if !is_settings || frame.stream != 0 || frame.length > MAX_FRAME {
                return Err(Refusal::NotHttp2);
            }
            self.has_begun = true;
        }
        if frame.length > MAX_FRAME {
            return Err(Refusal::FrameSize);
        }
        self.idle += 1;
        if self.idle > MAX_IDLE_FRAMES {
            return Err(Refusal::Flood);
        }
        let continues = frame.kind == frame::CONTINUATION;
        match self.blocks.open {
            Some(open) if !continues || open.stream != frame.stream => Err(Refusal::Continuation),
            None if continues => Err(Refusal::Continuation),
            _ if frame.kind == frame::DATA && frame.stream == 0 => Err(Refusal::Malformed),
            _ => Ok(Some(frame)),
        }
    }

    /// Takes a piece of a DATA frame.
    #[inline]
    fn take_data<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Read<'a>>, Refusal> {
        let Some(data) = &mut self.data else { return Ok(None) };
        let stream = data.frame.stream;
        let mut flow = 0;
        let padding = match data.padding {
            Some(padding) => padding,
            None => {
                let Some((padding, rest)) = bytes.split_first() else { return Ok(None) };
                *bytes = rest;
                data.left -= 1;
                flow = 1;
                let padding = usize::from(*padding);
                if padding > data.left {
                    return Err(Refusal::Malformed);
                }
                data.padding = Some(padding);
                padding
            }
        };
        if bytes.is_empty() && data.left > 0 && flow == 0 {
            return Ok(None);
        }
        let (piece, rest) = bytes.split_at(data.left.min(bytes.len()));
        *bytes = rest;
        let content = data.left.saturating_sub(padding).min(piece.len());
        data.left -= piece.len();
        data.padding = Some(padding.min(data.left));
        flow += piece.len();
        let is_last = data.left == 0 && data.frame.has(frame::END_STREAM);
        if data.left == 0 {
            self.data = None;
        }
        let bytes = &piece[..content];
        Ok(Some(Read::Event(Event::Data { stream, bytes, flow, is_last })))
    }
}

impl Blocks {
    /// Understands a frame other than DATA, whose payload is whole.
    fn understand(&mut self, frame: Frame, payload: &[u8]) -> Result<Found, Refusal> {
        let on_connection = frame.stream == 0;
        let place = |right: bool| if right { Ok(()) } else { Err(Refusal::Malformed) };
        let size = |right: bool| if right { Ok(()) } else { Err(Refusal::FrameSize) };
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or(Refusal::FrameSize)
        };
        Ok(match frame.kind {
            frame::HEADERS => {
                place(!on_connection)?;
                return self.begin(frame, payload);
            }
            frame::CONTINUATION => return self.go_on(frame, payload),
            frame::PRIORITY => {
                place(!on_connection)?;
                size(payload.len() == 5)?;
                Found::Nothing
            }
            frame::RST_STREAM => {
                place(!on_connection)?;
                size(payload.len() == 4)?;
                let (stream, code) = (frame.stream, Code(number(0)?));
                Found::Whole(Read::Event(Event::Reset { stream, code }))
            }
            frame::SETTINGS => {
                place(on_connection)?;
                if frame.has(frame::ACK) {
                    size(payload.is_empty())?;
                    Found::Whole(Read::SettingsAck)
                } else {
                    size(payload.len().is_multiple_of(6))?;
                    Found::Settings
                }
            }
            frame::PUSH_PROMISE => return Err(Refusal::Push),
            frame::PING => {
                place(on_connection)?;
                let opaque = payload.try_into().map_err(|_| Refusal::FrameSize)?;
                Found::Whole(if frame.has(frame::ACK) { Read::Pong } else { Read::Ping(opaque) })
            }
            frame::GOAWAY => {
                place(on_connection)?;
                let (last, code) = (number(0)? & crate::MAX_STREAM, Code(number(4)?));
                Found::Whole(Read::Event(Event::GoAway { last, code }))
            }
            frame::WINDOW_UPDATE => {
                size(payload.len() == 4)?;
                let (stream, by) = (frame.stream, number(0)? & crate::MAX_STREAM);
                Found::Whole(Read::WindowUpdate { stream, by })
            }
            // A type without a meaning is passed over (RFC 9113, 5.5).
            _ => Found::Nothing,
        })
    }

    fn begin(&mut self, frame: Frame, payload: &[u8]) -> Result<Found, Refusal> {
        let (mut start, mut end) = (0, payload.len());
        if frame.has(frame::PADDED) {
            start = 1;
            let padding = payload.first().map(|padding| usize::from(*padding));
            let padding = padding.ok_or(Refusal::FrameSize)?;
            end = end.checked_sub(padding).ok_or(Refusal::Malformed)?;
        }
        if frame.has(frame::PRIORITISED) {
            start += 5;
        }
        let (stream, is_last) = (frame.stream, frame.has(frame::END_STREAM));
        let block = payload.get(start..end).ok_or(Refusal::Malformed)?;
        if frame.has(frame::END_HEADERS) {
            return Ok(Found::Block { stream, is_last, start, end });
        }
        self.gathered.clear();
        self.gathered.extend_from_slice(block);
        self.open = Some(Open { stream, is_last, parts: 1, length: block.len() });
        Ok(Found::Nothing)
    }

    fn go_on(&mut self, frame: Frame, payload: &[u8]) -> Result<Found, Refusal> {
        let Some(mut open) = self.open else { return Err(Refusal::Continuation) };
        open.parts += 1;
        open.length += payload.len();
        if open.parts > MAX_PARTS || open.length > MAX_PASSED_OVER {
            return Err(Refusal::EndlessBlock);
        }
        let kept = open.length <= MAX_BLOCK;
        if kept {
            self.gathered.extend_from_slice(payload);
        } else {
            self.gathered.clear();
        }
        if !frame.has(frame::END_HEADERS) {
            self.open = Some(open);
            return Ok(Found::Nothing);
        }
        self.open = None;
        Ok(Found::Gathered { stream: open.stream, is_last: open.is_last, kept })
    }
}
