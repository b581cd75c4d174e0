//! Texts of `/proc` that other processes shape: cgroups, targets of links, sysctls of a namespace.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| keepwarm_sockets::fuzzing::proc_files(text));
