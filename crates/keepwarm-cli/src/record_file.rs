//! Reads a record from a file or from standard input.
//!
//! Owns how much is read, and the words for a file that cannot be used. The record crate reads the
//! text.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use keepwarm_record::load::LoadRecord;
use keepwarm_record::read::{AnyRecord, read};

use crate::exit::{Exit, Failure};
use crate::output;

/// The largest record that is read; an hour with everything in it has about a tenth of this.
const MAX_BYTES: u64 = 256 << 20;

/// The file name that means standard input.
const STANDARD_INPUT: &str = "-";

/// Reads the record of a file; of JSON lines, the last complete one.
pub(crate) fn open(file: &Path) -> Result<AnyRecord, Failure> {
    of_bytes(file, &bytes(file)?)
}

/// Reads the bytes of a file; of a long one, those of its last lines.
pub(crate) fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = tail(file).map_err(|error| unusable(file, &error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        let why = format!("more than {MAX_BYTES} bytes are more than any record has");
        return Err(unusable(file, &why));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(unusable(file, "it is compressed: decompress it first, as with zcat"));
    }
    Ok(bytes)
}

/// Reads the record in the bytes of a file.
pub(crate) fn of_bytes(file: &Path, bytes: &[u8]) -> Result<AnyRecord, Failure> {
    let read = read(bytes).map_err(|error| unusable(file, &error.to_string()))?;
    if read.is_truncated {
        let place = place(file);
        output::complain(&format!(
            "{place} is truncated: its last line ends within a record; this is the line before it"
        ));
    }
    Ok(read.record)
}

/// Reads the record of a load. `what` is done with loads alone, such as `merge`.
pub(crate) fn open_load(file: &Path, what: &str) -> Result<LoadRecord, Failure> {
    let other = match open(file)? {
        AnyRecord::Load(record) => return Ok(*record),
        AnyRecord::Lab(_) => "a lab",
        AnyRecord::Watch(_) => "a watch",
    };
    Err(unusable(file, &format!("it is the record of {other}, and {what} takes those of loads")))
}

/// The failure of a file that is of no use, for a reason.
pub(crate) fn unusable(file: &Path, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("cannot use {}: {why}", place(file)))
}

/// Returns the name of a file, as messages have it.
pub(crate) fn place(file: &Path) -> String {
    match file.to_str() {
        Some(STANDARD_INPUT) => "standard input".to_owned(),
        _ => file.display().to_string(),
    }
}

/// Refuses standard input where it is named twice: its second reader would get nothing.
pub(crate) fn refuse_twice(files: &[&Path]) -> Result<(), Failure> {
    let inputs = files.iter().filter(|file| file.to_str() == Some(STANDARD_INPUT)).count();
    if inputs > 1 {
        let message = "- is standard input, and can be read once; give the others as files";
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(())
}

/// Reads at most one byte more than a record may have.
fn tail(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.to_str() == Some(STANDARD_INPUT) {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let mut file = File::open(file)?;
    if file.metadata()?.is_file() {
        return last_lines(&mut file, MAX_BYTES);
    }
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file, or of one that is longer than `most` bytes the last lines: a long watch writes
/// many JSON lines, and the last of them is the record. If there is only one line, one byte more
/// than `most` is returned.
fn last_lines(file: &mut (impl Read + Seek), most: u64) -> io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(most + 1)))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    let end_of_first = bytes.iter().position(|byte| *byte == b'\n');
    if let Some(end) = end_of_first.filter(|_| length > most) {
        bytes.drain(..=end);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tails_of_long_files_count() {
        let last = |text: &str, most| {
            let bytes = last_lines(&mut io::Cursor::new(text), most).expect("bytes");
            String::from_utf8(bytes).expect("UTF-8")
        };
        let text = "first\nsecond\nthird\n";
        assert_eq!(last(text, 19), text, "it is as long as is read");
        assert_eq!(last(text, 18), "second\nthird\n");
        assert_eq!(last(text, 8), "third\n");
        assert_eq!(last("a long line", 5).len(), 6, "one byte too many is too long");
        assert_eq!(last("", 5), "");
    }
}
