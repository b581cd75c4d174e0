//! Header blocks of a server, as the client's guard passes them to `h2`: the same in any pieces, and never
//! much longer.
#![no_main]
// The two files are pure, and private to the client: they are read here as they stand there.
#![allow(dead_code)]

#[path = "../../crates/keepwarm/src/wire/http2/guard.rs"]
mod guard;
#[path = "../../crates/keepwarm/src/wire/http2/hpack.rs"]
mod hpack;

use libfuzzer_sys::fuzz_target;

/// The client's own limit.
const MAX_HEADER_LIST: u32 = 1 << 20;

/// Passes bytes through a guard, cut at a place.
fn through(bytes: &[u8], cut: usize) -> Vec<u8> {
    let mut guard = guard::Guard::default();
    let (first, second) = bytes.split_at(cut);
    let mut out = Vec::new();
    for piece in [first, second] {
        match guard.take(piece) {
            Some(passed) => out.extend(passed),
            None => out.extend_from_slice(piece),
        }
        while guard.take_too_large().is_some() {}
    }
    out
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = through(bytes, bytes.len());
    assert!(whole.len() <= 2 * bytes.len() + 64, "{} bytes pass as {}", bytes.len(), whole.len());
    assert_eq!(through(bytes, usize::from(cut) % (bytes.len() + 1)), whole);
});
