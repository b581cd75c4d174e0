//! Histograms of HDR V2 in a record. One that is read is written and read again alike.
#![no_main]

use keepwarm_record::fold::hdr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(buckets) = hdr::decode(bytes) else { return };
    assert!(buckets.is_sorted_by(|one, next| one.0 < next.0), "values rise");
    if let Ok(again) = hdr::decode(&hdr::encode(buckets.iter().copied())) {
        assert_eq!(again, buckets);
    }
});
