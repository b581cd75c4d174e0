//! Entrances of the decoders for the fuzz targets, compiled with `--cfg fuzzing` alone.
//!
//! Owns no rule of a decoder: bytes go in, and a panic is the finding.

use crate::kernel::counters::Counters;
use crate::kernel::dump::decode_rows;
use crate::kernel::socket_table;
use crate::kernel::trace::event::Layouts;
use crate::kernel::trace::ring_page::PageLayout;
use crate::kernel::trace::traced_sockets::TracedSockets;
use crate::kernel::wire::diag::{decode_socket, ports};
use crate::kernel::wire::netlink::{Message, Messages};

/// Decodes a datagram as a dump does, and as destroy events are. Returns the number of rows.
pub fn netlink(datagram: &[u8]) -> usize {
    for message in Messages::of(datagram) {
        if let Ok(Message::Data { body, .. }) = message
            && ports(body).is_some()
        {
            let _ = decode_socket(body);
        }
    }
    let mut rows = 0;
    let _ = decode_rows(datagram, &mut |_| rows += 1);
    rows
}

/// Parses a text as rows of `/proc/net/tcp`, and as tables of counters.
pub fn proc_net(text: &str) {
    for line in text.lines() {
        let _ = socket_table::parse(line);
    }
    let mut counters = Counters::default();
    counters.add_pairs_of_lines(text);
    counters.add_pairs_of_words(text);
}

/// Reads a page of the trace ring by the texts that describe it: that of a page, and those of the
/// three events. Returns the number of records; `None` if a text describes no layout.
pub fn trace(page_layout: &str, formats: [&str; 3], page: &[u8]) -> Option<usize> {
    let layout = PageLayout::parse(page_layout)?;
    let layouts = Layouts::parse(formats[0], formats[1], formats[2])?;
    let mut sockets = TracedSockets::default();
    let mut records = 0;
    layout.each(page, |at, record| {
        records += 1;
        if let Some(event) = layouts.decode(record) {
            sockets.handle(at, &event);
        }
    });
    Some(records)
}
