//! A page of the kernel's trace ring, read by the layouts of Linux 6.18.
#![no_main]

use libfuzzer_sys::fuzz_target;

macro_rules! layout {
    ($name:literal) => {
        include_str!(concat!("../../crates/keepwarm-sockets/testdata/trace/", $name, ".txt"))
    };
}

fuzz_target!(|page: &[u8]| {
    let formats =
        [layout!("inet_sock_set_state"), layout!("tcp_send_reset"), layout!("tcp_receive_reset")];
    let records = keepwarm_sockets::fuzzing::trace(layout!("header_page"), formats, page);
    // A record is a header of four bytes at least.
    assert!(records.expect("captured layouts") <= page.len() / 4);
});
