//! Files of requests that a load sends in turn: their lines, and the URLs, fields and templates in them.
#![no_main]

use std::io;

use keepwarm_load::{Plan, RequestSpec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parsed = RequestSpec::parse_all(text, |_| Err(io::ErrorKind::NotFound.into()));
    match parsed {
        Ok(requests) => {
            assert!(!requests.is_empty() && requests.len() <= text.lines().count());
            // Every host leads to one address, so that no name is looked up.
            let rule = "::127.0.0.1:9".parse().expect("a rule");
            let plan = Plan::builder("http://127.0.0.1:9/").requests(1).templates(true);
            let _ = plan.connect_to(rule).request_specs(requests).build();
        }
        Err(error) => assert!(error.line() <= text.lines().count().max(1)),
    }
});
