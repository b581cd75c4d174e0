//! Records on their way to the coordinator: compressed, and read back within a limit. A record of a
//! minute is 190 KB of JSON, and 50 KB packed.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use keepwarm_record::load::LoadRecord;

use crate::exit::{Exit, Failure};

/// The largest record that is read, unpacked.
const MAX_RECORD: u64 = 1 << 30;

/// Packs the text of a record.
pub(crate) fn pack(text: &[u8]) -> Bytes {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

/// Reads a packed record of `worker`.
pub(crate) fn unpack(packed: &[u8], worker: &str) -> Result<LoadRecord, Failure> {
    let mut text = Vec::new();
    let read = DeflateDecoder::new(packed).take(MAX_RECORD).read_to_end(&mut text);
    read.map_err(|error| error.to_string()).and_then(|_| read_record(&text)).map_err(|why| {
        let way_out = "the worker's --directory keeps its own copy, if it was complete";
        let message = format!("the record of worker {worker} cannot be read: {why}; {way_out}");
        Failure::new(Exit::Invalid, message)
    })
}

/// Reads a record, and says whether it ends too soon.
pub(crate) fn read_record(text: &[u8]) -> Result<LoadRecord, String> {
    serde_json::from_slice(text).map_err(|error| {
        if error.is_eof() {
            format!("it is cut short after {} bytes", text.len())
        } else {
            format!("{error}; is another version at work?")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &[u8] = include_bytes!("../../keepwarm-record/records/load.json");

    #[test]
    fn record_survives_packing() {
        let record = read_record(RECORD).unwrap();
        assert_eq!(unpack(&pack(RECORD), "w1"), Ok(record));
        assert!(pack(RECORD).len() * 2 < RECORD.len());
    }

    #[test]
    fn cut_record_is_named() {
        let half = &RECORD[..RECORD.len() / 2];
        let error = unpack(&pack(half), "w1").unwrap_err().to_string();
        assert!(error.contains("worker w1") && error.contains("cut short"), "{error}");
        let packed = pack(RECORD);
        let error = unpack(&packed[..packed.len() / 2], "w1").unwrap_err();
        assert!(error.to_string().contains("worker w1"), "{error}");
    }
}
