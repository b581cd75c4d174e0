//! Messages of a fleet, and packed records: what another machine sent is read, or refused by name.
#![no_main]
// The files do no I/O, and are private to the program: they are read here as they stand there.
#![allow(dead_code)]

#[path = "../../crates/keepwarm-fleet/src/exit.rs"]
mod exit;
#[path = "../../crates/keepwarm-fleet/src/packed.rs"]
mod packed;
#[path = "../../crates/keepwarm-fleet/src/protocol.rs"]
mod protocol;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::{Answer, Final, Frame, Presence, RunPlan, SignedPlan, Start, StopKind, WorkerState, decode};

fuzz_target!(|bytes: &[u8]| {
    macro_rules! survives {
        ($($message:ty),*) => {$(
            match decode::<$message>(bytes, "the message") {
                Ok(read) => {
                    let again = decode::<$message>(&protocol::encode(&read), "ours").expect("our own");
                    assert_eq!(format!("{again:?}"), format!("{read:?}"));
                }
                Err(error) => assert!(error.to_string().starts_with("the message cannot be read")),
            }
        )*};
    }
    survives!(Presence, SignedPlan, RunPlan, Answer, WorkerState, Start, StopKind, Frame);
    if let Ok((result, rest)) = Final::read(&Bytes::copy_from_slice(bytes), "w1") {
        assert!(result.worker == "w1" && rest.len() < bytes.len());
        let _ = packed::check(&rest, "w1");
    }
    // Compressed bytes that inflate to a record are one, and are packed again.
    if let Ok(record) = packed::unpack(bytes, "w1") {
        assert!(packed::check(&packed::pack(&record), "w1").is_ok());
    }
    let _ = packed::read_record(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(name) = protocol::check_name(text)
    {
        assert!(name.len() <= 64 && !protocol::live("run", &name).contains(['*', '>', ' ']));
    }
});
