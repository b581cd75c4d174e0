//! Text of `/proc/net`: rows of sockets, and tables of counters.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| keepwarm_sockets::fuzzing::proc_net(text));
