//! Files of runs, and assertions about them. A record that is read is written and read again alike.
#![no_main]

use keepwarm_record::read::{AnyRecord, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = keepwarm_record::assertion::parse(text);
    }
    if let Ok(found) = read(bytes)
        && let AnyRecord::Watch(record) = &found.record
    {
        let again = read(&serde_json::to_vec(record).expect("JSON")).expect("our own");
        assert_eq!(again.record, found.record);
    }
});
