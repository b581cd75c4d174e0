//! Frames of a server that speaks HTTP/2, and the fields in their blocks. Answers stay within what was read.
#![no_main]

use keepwarm_http2::{Connection, Event, Fields, MAX_BLOCK};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(cut) % (bytes.len() + 1));
    let mut connection = Connection::default();
    let mut out = Vec::new();
    'pieces: for mut piece in [first, second] {
        loop {
            match connection.next(&mut piece, &mut out) {
                Ok(Some(Event::Headers { block: Some(block), .. })) => {
                    for field in Fields::of(block) {
                        let Ok(field) = field else { break };
                        let mut text = Vec::new();
                        field.decode_name(MAX_BLOCK, &mut text);
                        field.decode_value(MAX_BLOCK, &mut text);
                        assert!(text.len() <= 2 * MAX_BLOCK);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(refusal) => {
                    let _ = refusal.code();
                    break 'pieces;
                }
            }
        }
    }
    assert!(out.len() <= 4 * bytes.len() + 64, "{} bytes answer {}", out.len(), bytes.len());
});
