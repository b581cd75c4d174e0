//! Files of requests that a load sends in turn.
#![no_main]

use std::io;

use keepwarm_load::RequestSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parsed = RequestSpec::parse_all(text, |_| Err(io::ErrorKind::NotFound.into()));
    match parsed {
        Ok(requests) => assert!(!requests.is_empty() && requests.len() <= text.lines().count()),
        Err(error) => assert!(error.line() <= text.lines().count().max(1)),
    }
});
