//! Server-sent events (WHATWG HTML, 9.2) over the client: `cargo run --example sse -- URL`.
//!
//! The client needs nothing of its own for them: a response is read chunk by chunk, and an event is
//! whole at its empty line. `tests/suite/sse.rs` reads a real server with this code.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

use keepwarm::{Client, Result};

/// Bytes of one event beyond which a stream is given up: a server that never ends an event would
/// fill the memory.
const MAX_EVENT: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` unless the server names another.
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// Reader of the bytes of a stream, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// A line ended by CR, whose LF may follow.
    after_return: bool,
    past_first_line: bool,
    /// The id that a reconnection asks to go on from.
    pub(crate) last_id: String,
    /// The pause before a reconnection, once the server has named one.
    pub(crate) retry: Option<Duration>,
}

/// An event of more than [`MAX_EVENT`] bytes.
#[derive(Debug)]
pub(crate) struct TooLong;

impl Parser {
    /// Reads a piece, and adds the events that end in it to `found`.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        found: &mut Vec<Event>,
    ) -> std::result::Result<(), TooLong> {
        for &byte in piece {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_line(found);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                }
            }
            if self.line.len() + self.event.data.len() > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// Forgets the event that a connection has ended in the middle of.
    pub(crate) fn reconnected(&mut self) {
        let (last_id, retry) = (std::mem::take(&mut self.last_id), self.retry);
        *self = Self { last_id, retry, ..Self::default() };
    }

    fn end_line(&mut self, found: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let mark = if self.past_first_line { '\0' } else { '\u{feff}' };
        self.past_first_line = true;
        let line = line.strip_prefix(mark).unwrap_or(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                let kind = if event.kind.is_empty() { "message".to_owned() } else { event.kind };
                found.push(Event { kind, data: event.data });
            }
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.kind),
            "id" if !value.contains('\0') => value.clone_into(&mut self.last_id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            // A comment, which keeps the connection from being idle, or a field to be ignored.
            _ => {}
        }
    }
}

/// Reads the events of a URL, and connects again with the last id when a connection ends. Returns
/// when the server says 204, when `each` returns false, or with the first error that another
/// attempt would repeat.
pub(crate) async fn follow(
    client: &Client,
    url: &str,
    mut each: impl FnMut(Event) -> bool,
) -> Result<()> {
    let mut parser = Parser::default();
    loop {
        let mut request = client.get(url).header("accept", "text/event-stream");
        if !parser.last_id.is_empty() {
            request = request.header("last-event-id", &parser.last_id);
        }
        // A server that is alive sends comments; one that sends nothing for a minute is left.
        let request = request.stall_timeout(Duration::from_secs(60));
        let mut response = request.send().await?.error_for_status()?;
        if response.status() == 204 {
            return Ok(());
        }
        let mut found = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            if parser.push(&piece, &mut found).is_err() {
                println!("an event of more than {MAX_EVENT} bytes: the server is left");
                return Ok(());
            }
            for event in found.drain(..) {
                if !each(event) {
                    return Ok(());
                }
            }
        }
        parser.reconnected();
        tokio::time::sleep(parser.retry.unwrap_or(Duration::from_secs(3))).await;
    }
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, reason = "a test reads the rest of this file as a module")]
pub(crate) async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or("http://127.0.0.1:8081/events".to_owned());
    follow(&Client::new(), &url, |event| {
        println!("{}: {}", event.kind, event.data);
        true
    })
    .await
}
