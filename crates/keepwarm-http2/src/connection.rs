//! One connection, seen from the client: what each frame means to it. Owns the settings of both
//! sides, the connection's windows, the numbers of streams, and the answers to SETTINGS and PING;
//! the engine owns the streams.

use alloc::vec::Vec;

use crate::dictionary::Kept;
use crate::event::Event;
use crate::reader::{Read, Reader};
use crate::table::{TABLE_SIZE, Table};
use crate::{Block, Code, FIRST_WINDOW, MAX_BLOCK, MAX_STREAM, MAX_WINDOW, Refusal, frame};

/// The window for responses, of a stream and of the connection. Content is counted and dropped, so a
/// large window costs no memory. WINDOW_UPDATE fills it up again each time half of it is used.
const WINDOW: i64 = (1 << 30) - 1;

/// The most bytes of answers (SETTINGS and PING with ACK, WINDOW_UPDATE) that wait to be written.
const MAX_ANSWERS: usize = 64 * 1024;

/// Streams that a connection may open before its server's SETTINGS have come. (RFC 9113 recommends
/// a limit of 100 or more to servers, and allows 0.)
const BEFORE_SETTINGS: u32 = 1;

/// The window for what this side receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflow {
    left: i64,
}

impl Inflow {
    /// The window of a new stream.
    pub const STREAM: Self = Self { left: WINDOW };

    /// Counts received bytes. Returns the bytes to announce by WINDOW_UPDATE, once half of the
    /// window is used.
    ///
    /// # Errors
    ///
    /// The peer has sent more than the window.
    #[inline]
    pub fn take(&mut self, bytes: usize) -> Result<Option<u32>, Refusal> {
        self.left -= i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.left < 0 {
            return Err(Refusal::Window);
        }
        if self.left >= WINDOW / 2 {
            return Ok(None);
        }
        let by = WINDOW - self.left;
        self.left = WINDOW;
        Ok(u32::try_from(by).ok())
    }
}

/// A connection's state, beside its streams.
#[derive(Debug, Default)]
pub struct Connection {
    reader: Reader,
    table: Table,
    state: State,
}

#[derive(Debug)]
struct State {
    next_stream: u32,
    /// The highest stream that may be processed, once the peer has said so.
    last_processed: Option<u32>,
    /// The peer's limit on streams at once.
    limit: u32,
    has_settings: bool,
    /// The window that the peer gives to a new stream.
    stream_window: i64,
    /// The peer's window for bodies on this connection.
    send_window: i64,
    inflow: Inflow,
    answers: usize,
    /// Fields of requests that the server keeps.
    kept: Kept,
}

impl Default for State {
    fn default() -> Self {
        Self {
            next_stream: 1,
            last_processed: None,
            limit: BEFORE_SETTINGS,
            has_settings: false,
            stream_window: FIRST_WINDOW,
            send_window: FIRST_WINDOW,
            inflow: Inflow { left: WINDOW },
            answers: 0,
            kept: Kept::First(0),
        }
    }
}

impl Connection {
    /// Appends the first bytes of a connection (RFC 9113, 3.4): no pushes, and windows that a load does
    /// not fill.
    pub fn write_preface(out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let window = u32::try_from(WINDOW).unwrap_or(0);
        let settings = [
            (frame::ENABLE_PUSH, 0),
            (frame::INITIAL_WINDOW_SIZE, window),
            (frame::MAX_HEADER_LIST_SIZE, u32::try_from(MAX_BLOCK).unwrap_or(0)),
        ];
        frame::write(out, settings.len() * 6, frame::SETTINGS, 0, 0);
        for (setting, value) in settings {
            out.extend_from_slice(&setting.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        write_window(out, 0, u32::try_from(WINDOW - FIRST_WINDOW).unwrap_or(0));
    }

    /// Returns how many streams may be opened beside `open` ones.
    #[inline]
    #[must_use]
    pub fn room(&self, open: usize) -> usize {
        if self.state.last_processed.is_some() || self.state.next_stream > MAX_STREAM {
            return 0;
        }
        usize::try_from(self.state.limit).unwrap_or(usize::MAX).saturating_sub(open)
    }

    /// Returns true if the stream ids are used up.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.state.next_stream > MAX_STREAM
    }

    /// Returns the peer's limit on streams at once; `None` if there is none, or before it is known.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        (self.state.has_settings && self.state.limit != u32::MAX).then_some(self.state.limit)
    }

    /// Appends the frames that open `stream` with the fields of `block`. The blocks of a connection have
    /// one dictionary, if any.
    #[inline]
    pub fn write_request(&mut self, block: &Block, out: &mut Vec<u8>, stream: u32, is_last: bool) {
        block.write(&mut self.state.kept, out, stream, is_last);
    }

    /// Opens a stream, and returns its id and its window for a body. The caller has asked for
    /// [`room`](Self::room).
    #[inline]
    pub fn open(&mut self) -> (u32, i64) {
        let stream = self.state.next_stream;
        self.state.next_stream = stream.saturating_add(2);
        (stream, self.state.stream_window)
    }

    /// Returns how many bytes of bodies the connection's window allows.
    #[inline]
    #[must_use]
    pub fn send_window(&self) -> i64 {
        self.state.send_window
    }

    /// Counts bytes of a body against the connection's window.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.state.send_window -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.reader.advance();
    }

    /// Notes that the last frame advanced a response: idle frames are counted from 0 again.
    #[inline]
    pub fn advance(&mut self) {
        self.reader.advance();
    }

    /// Notes that all answers are written.
    #[inline]
    pub fn flushed(&mut self) {
        self.state.answers = 0;
    }

    /// Returns true if the peer has said that it has not processed `stream`.
    #[must_use]
    pub fn is_unprocessed(&self, stream: u32) -> bool {
        self.state.last_processed.is_some_and(|last| stream > last)
    }

    /// Reads the next event, takes its bytes from `bytes`, and appends answers to `out`. Returns
    /// `None` when the bytes end.
    ///
    /// # Errors
    ///
    /// The connection cannot go on: [`write_goaway`](Self::write_goaway) says so to the peer.
    #[inline]
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Refusal> {
        let event = match self.reader.next(bytes)? {
            Some(read) => self.state.understand(read, out)?,
            None => return Ok(None),
        };
        let Event::Headers { stream, block, is_last } = event else { return Ok(Some(event)) };
        let block = match block {
            Some(block) => self.table.resolve(block)?,
            None => {
                self.table.forget();
                None
            }
        };
        Ok(Some(Event::Headers { stream, block, is_last }))
    }

    /// Appends GOAWAY, the last frame of this side.
    pub fn write_goaway(out: &mut Vec<u8>, code: Code) {
        frame::write(out, 8, frame::GOAWAY, 0, 0);
        // No stream of the server was opened.
        out.extend_from_slice(&0_u32.to_be_bytes());
        out.extend_from_slice(&code.0.to_be_bytes());
    }

    /// Appends the end of a stream that is not needed any more.
    pub fn write_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
        frame::write(out, 4, frame::RST_STREAM, 0, stream);
        out.extend_from_slice(&code.0.to_be_bytes());
    }

    /// Appends the growth of a stream's window.
    pub fn write_window(out: &mut Vec<u8>, stream: u32, by: u32) {
        write_window(out, stream, by);
    }
}

/// Appends WINDOW_UPDATE.
fn write_window(out: &mut Vec<u8>, stream: u32, by: u32) {
    frame::write(out, 4, frame::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&by.to_be_bytes());
}

impl State {
    #[inline]
    fn understand<'a>(&mut self, read: Read<'a>, out: &mut Vec<u8>) -> Result<Event<'a>, Refusal> {
        Ok(match read {
            Read::Settings(payload) => {
                let window = self.settings(payload)?;
                self.answer(9)?;
                frame::write(out, 0, frame::SETTINGS, frame::ACK, 0);
                Event::Settings { window }
            }
            Read::Ping(payload) => {
                self.answer(17)?;
                frame::write(out, 8, frame::PING, frame::ACK, 0);
                out.extend_from_slice(&payload);
                Event::Nothing
            }
            Read::SettingsAck | Read::Pong => Event::Nothing,
            Read::WindowUpdate { by: 0, .. } => return Err(Refusal::EmptyUpdate),
            Read::WindowUpdate { stream: 0, by } => {
                self.send_window += i64::from(by);
                if self.send_window > MAX_WINDOW {
                    return Err(Refusal::Window);
                }
                Event::Window
            }
            Read::WindowUpdate { stream, by } => {
                self.check_opened(stream)?;
                Event::StreamWindow { stream, by: i64::from(by) }
            }
            Read::Event(event) => self.judge(event, out)?,
        })
    }

    /// Checks a frame that is handed on, and counts it.
    #[inline]
    fn judge<'a>(&mut self, event: Event<'a>, out: &mut Vec<u8>) -> Result<Event<'a>, Refusal> {
        match event {
            Event::Headers { stream, .. } | Event::Reset { stream, .. } => {
                self.check_opened(stream)?;
            }
            Event::Data { stream, flow, .. } => {
                self.check_opened(stream)?;
                if let Some(by) = self.inflow.take(flow)? {
                    self.answer(13)?;
                    write_window(out, 0, by);
                }
            }
            Event::GoAway { last, code } => {
                // A second one may lower the number, and may not raise it (RFC 9113, 6.8).
                let last = self.last_processed.map_or(last, |before| before.min(last));
                self.last_processed = Some(last);
                return Ok(Event::GoAway { last, code });
            }
            Event::Nothing
            | Event::Settings { .. }
            | Event::Window
            | Event::StreamWindow { .. } => {}
        }
        Ok(event)
    }

    /// Refuses a frame for a stream that this side has not opened.
    #[inline]
    fn check_opened(&self, stream: u32) -> Result<(), Refusal> {
        if stream % 2 == 1 && stream < self.next_stream { Ok(()) } else { Err(Refusal::IdleStream) }
    }

    fn answer(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.answers += bytes;
        if self.answers > MAX_ANSWERS { Err(Refusal::Unread) } else { Ok(()) }
    }

    /// Takes the peer's settings. Returns the change of every open stream's window.
    fn settings(&mut self, payload: &[u8]) -> Result<i64, Refusal> {
        let before = self.stream_window;
        if !self.has_settings {
            self.has_settings = true;
            self.limit = u32::MAX;
        }
        for setting in payload.chunks_exact(6) {
            let [n0, n1, v0, v1, v2, v3] = *setting else { continue };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                frame::ENABLE_PUSH if value != 0 => return Err(Refusal::Setting),
                frame::MAX_CONCURRENT_STREAMS => self.limit = value,
                frame::INITIAL_WINDOW_SIZE => {
                    self.stream_window = i64::from(value);
                    if self.stream_window > MAX_WINDOW {
                        return Err(Refusal::Window);
                    }
                }
                frame::MAX_FRAME_SIZE if !(0x4000..=0xff_ffff).contains(&value) => {
                    return Err(Refusal::Setting);
                }
                frame::HEADER_TABLE_SIZE => {
                    let is_smaller = usize::try_from(value).is_ok_and(|size| size < TABLE_SIZE);
                    if is_smaller && matches!(self.kept, Kept::First(_)) {
                        self.kept = Kept::Refused;
                    }
                }
                // The other settings allow more than this side uses: small frames.
                _ => {}
            }
        }
        Ok(self.stream_window - before)
    }
}
