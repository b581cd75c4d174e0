//! Compressed bodies: the same bytes come out in whichever pieces they come in, and each step is
//! bounded.
#![no_main]

use keepwarm::fuzzing::undo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (coding, cut, bytes) = input;
    let coding = ["gzip", "deflate", "br", "zstd"][usize::from(coding % 4)];
    let whole = undo(coding, &[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut) % (bytes.len() + 1));
    assert_eq!(whole, undo(coding, &[first, second]));
});
