//! Answers of a name server to the one kind of question that a watch asks (`--resolve`).
#![no_main]
// The file is pure, and private to the tool: it is read here as it stands there.
#![allow(dead_code)]

#[path = "../../crates/keepwarm-cli/src/watch/resolve/ptr.rs"]
mod ptr;

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;

const ID: u16 = 0x1234;

fuzz_target!(|input: (u8, &[u8])| {
    let (records, bytes) = input;
    let question = ptr::name_of(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)));
    let _ = ptr::decode(bytes, ID, &question);
    // An answer to the question, whose records are anything.
    let mut message = ptr::encode(ID, &question);
    message[2] |= 0x80;
    message[7] = records;
    message.extend_from_slice(bytes);
    if let Some(Some(name)) = ptr::decode(&message, ID, &question) {
        let shows = |c: char| c.is_ascii_alphanumeric() || "-_.?".contains(c);
        assert!((1..=253).contains(&name.len()) && name.chars().all(shows), "{name:?}");
    }
});
