//! Entrances of the decoders for the fuzz targets, compiled with `--cfg fuzzing` alone.
//!
//! Owns no rule of a decoder: bytes go in, and a panic is the finding.

use crate::kernel::counters::Counters;
use crate::kernel::dump::decode_rows;
use crate::kernel::proc::{identity, namespaces, process, sysctl};
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

/// Parses texts of `/proc` that other processes can shape: the list of cgroups, with a name that a
/// container gave, the target of a link, and two sysctls.
pub fn proc_files(text: &str) {
    if let Some(main) = process::main_cgroup(text) {
        assert!(text.contains(main));
    }
    text.lines().filter_map(process::cgroup_path).for_each(|path| assert!(text.contains(path)));
    let _ = namespaces::inode(text);
    assert!(identity::parse_uuid(text).is_none_or(|id| id.len() == 36));
    let _ = sysctl::parse_reuse(text);
    let (range, reserved) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(ports) = sysctl::parse_ports(range, reserved) {
        assert!(ports.low <= ports.high && ports.size() <= 65_536);
    }
}
