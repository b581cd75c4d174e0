//! Tables of `{csv:FILE.column}`: every row of one that is read has as many values as there are names.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some((columns, rows)) = keepwarm_load::fuzzing::csv(text) {
        assert!(columns > 0 && rows > 0 && rows <= text.len(), "{columns} by {rows}");
    }
});
