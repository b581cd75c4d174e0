//! A response that `h2` reads, a load's reader reads alike; where the bytes are cut changes
//! nothing.
#![no_main]

#[path = "../../crates/keepwarm-http2/tests/common/reading.rs"]
mod reading;

use libfuzzer_sys::fuzz_target;

use reading::{compare, read};

fuzz_target!(|bytes: &[u8]| {
    compare(bytes);
    assert_eq!(read(bytes, &[]), read(bytes, &[1, 7, 2]));
});
