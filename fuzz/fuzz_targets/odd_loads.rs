//! Records of loads from anywhere: merged, compared and judged, whatever their numbers are.
#![no_main]

use keepwarm_record::assertion;
use keepwarm_record::compare::{Comparison, differing_settings};
use keepwarm_record::load::{LoadRecord, merge};
use keepwarm_record::read::{AnyRecord, read};
use libfuzzer_sys::fuzz_target;

fn load(bytes: &[u8]) -> Option<LoadRecord> {
    match read(bytes).ok()?.record {
        AnyRecord::Load(record) => Some(*record),
        _ => None,
    }
}

const PLAIN: &[u8] = include_bytes!("../../crates/keepwarm-record/records/load.json");

fuzz_target!(|bytes: &[u8]| {
    let Some(mut odd) = load(bytes) else { return };
    let plain = load(PLAIN).expect("a record");
    for pair in [[&odd, &plain], [&odd, &odd]] {
        let names = || ["a".to_owned(), "b".to_owned()];
        let _ = Comparison::of_records(names(), pair[0], pair[1]).sentence();
        let _ = differing_settings(&pair[0].settings, &pair[1].settings);
        if let Ok(merged) = merge(&[pair[0].clone(), pair[1].clone()]) {
            let parts = pair.map(|part| part.requests.completed);
            assert_eq!(merged.requests.completed, parts[0].saturating_add(parts[1]));
        }
    }
    let asserted = ["p99<1s", "errors.share<1%", "rps>1"];
    let asserted: Vec<_> = asserted.iter().filter_map(|text| assertion::parse(text).ok()).collect();
    odd.judge(&asserted);
});
