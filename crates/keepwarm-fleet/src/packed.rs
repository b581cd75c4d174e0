//! Records on their way to the coordinator: histograms in HDR V2, the whole compressed, and read back
//! within a limit.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use keepwarm_record::fold::hdr;
use keepwarm_record::load::LoadRecord;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// The largest record that is read, unpacked.
const MAX_RECORD: u64 = 1 << 30;

/// Packs a record.
pub(crate) fn pack(record: &LoadRecord) -> Bytes {
    // A record has texts for keys alone, and so cannot fail.
    let mut record = serde_json::to_value(record).unwrap_or_default();
    shorten(&mut record);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(record.to_string().as_bytes());
    encoder.finish().unwrap_or_default().into()
}

/// Writes the buckets of every distribution as a histogram of HDR V2, where that keeps each bucket.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let buckets = (name == "buckets").then(|| pairs(field)).flatten();
                match buckets.and_then(|buckets| hdr::to_text(&buckets)) {
                    Some(text) => *field = Value::String(text),
                    None => shorten(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn pairs(value: &Value) -> Option<Vec<(u64, u64)>> {
    let pair = |pair: &Value| Some((pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?));
    value.as_array()?.iter().map(pair).collect()
}

/// Reads a packed record of `worker`.
pub(crate) fn unpack(packed: &[u8], worker: &str) -> Result<LoadRecord, Failure> {
    read_packed(packed, worker)
}

/// Refuses a record that is cut or damaged, and builds nothing of it.
pub(crate) fn check(packed: &[u8], worker: &str) -> Result<(), Failure> {
    read_packed::<IgnoredAny>(packed, worker).map(drop)
}

fn read_packed<T: DeserializeOwned>(packed: &[u8], worker: &str) -> Result<T, Failure> {
    let mut text = Vec::new();
    let read = DeflateDecoder::new(packed).take(MAX_RECORD).read_to_end(&mut text);
    read.map_err(|error| error.to_string()).and_then(|_| parse(&text)).map_err(|why| {
        let way_out = "the worker's --directory keeps its own copy, if it was complete";
        let message = format!("the record of worker {worker} cannot be read: {why}; {way_out}");
        Failure::new(Exit::Invalid, message)
    })
}

/// Reads a record, and says whether it ends too soon.
pub(crate) fn read_record(text: &[u8]) -> Result<LoadRecord, String> {
    parse(text)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
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

    fn inflated(packed: &[u8]) -> Value {
        let mut text = Vec::new();
        DeflateDecoder::new(packed).read_to_end(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn record_survives_packing() {
        let record = read_record(RECORD).unwrap();
        let packed = pack(&record);
        assert_eq!(unpack(&packed, "w1"), Ok(record));
        assert!(packed.len() * 2 < RECORD.len());
    }

    /// Another reader of HDR V2 than this program's own.
    #[test]
    fn histograms_travel_as_hdr_v2() {
        use hdrhistogram::serialization::Deserializer;
        let record = read_record(RECORD).unwrap();
        let packed = inflated(&pack(&record));
        let text = packed["latency_us"]["buckets"].as_str().unwrap();
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).unwrap();
        let histogram: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        let buckets = histogram.iter_recorded();
        let buckets: Vec<(u64, u64)> =
            buckets.map(|one| (one.value_iterated_to(), one.count_at_value())).collect();
        assert_eq!(buckets, record.latency_us.buckets);
        let slices = packed["timeline"]["slices"].as_array().unwrap();
        assert!(slices.iter().any(|slice| slice["latency_us"]["buckets"].is_string()));
    }

    #[test]
    fn cut_record_is_named() {
        let packed = pack(&read_record(RECORD).unwrap());
        let cut = &packed[..packed.len() / 2];
        for error in [unpack(cut, "w1").unwrap_err(), check(cut, "w1").unwrap_err()] {
            assert!(error.to_string().contains("worker w1"), "{error}");
        }
        assert_eq!(check(&packed, "w1"), Ok(()));
        let error = read_record(&RECORD[..RECORD.len() / 2]).unwrap_err();
        assert!(error.contains("cut short"), "{error}");
    }
}
