//! The texts by which the kernel describes its trace: any layout, and a page read by it.
#![no_main]

use libfuzzer_sys::fuzz_target;

const PAGE: &[u8] = include_bytes!("../../crates/keepwarm-sockets/testdata/trace/page.bin");

fuzz_target!(|texts: (&str, &str, &str, &str)| {
    let (page, state, sent, received) = texts;
    keepwarm_sockets::fuzzing::trace(page, [state, sent, received], PAGE);
});
