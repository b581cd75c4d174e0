//! Messages of sock_diag, as a dump reads them and as destroy events are read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    // A row takes a header and a message of 72 bytes at least.
    assert!(keepwarm_sockets::fuzzing::netlink(datagram) <= datagram.len() / 72);
});
