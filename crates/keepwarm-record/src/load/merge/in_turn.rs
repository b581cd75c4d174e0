//! Merges many records with few of them in memory: a thousand of a minute take 190 MB as text alone.

use super::{MergeError, Merged, Part, Span, complete, note, settings, unite};
use crate::load::{LoadRecord, Settings};

/// Records that are united at a time.
const AT_ONCE: usize = 16;

/// A merge that takes its records one by one. Equal to [`merge`](super::merge) of all of them, but
/// for their assertions: the caller judges the whole.
#[derive(Debug)]
pub struct Merger {
    start_unix_ms: u64,
    /// Records that wait for others: single ones, then sums of [`AT_ONCE`] each, then sums of as many of
    /// these, and so on. A sum grows with its parts, so each record is copied once a level, and no more.
    levels: Vec<Vec<LoadRecord>>,
    settings: Vec<Settings>,
    fingerprints: Vec<Fingerprint>,
}

/// Numbers that no two runs share.
type Fingerprint = (u64, Option<(u64, u64)>, u64, u64, u64);

impl Merger {
    /// Begins a merge of records whose first one started then.
    #[must_use]
    pub const fn new(start_unix_ms: u64) -> Self {
        Self { start_unix_ms, levels: Vec::new(), settings: Vec::new(), fingerprints: Vec::new() }
    }

    /// Adds the record of a fleet's worker, which began this long after the declared start.
    ///
    /// # Errors
    ///
    /// If the record is not of the same load, or there already.
    pub fn push(
        &mut self,
        mut record: LoadRecord,
        worker: &str,
        began_us: Option<i64>,
    ) -> Result<(), MergeError> {
        self.refuse_twice(&record)?;
        self.settings.push(record.settings.clone());
        // The settings are compared with those of the first record, as those of each record before were.
        let (first, last) = (&self.settings[0], &self.settings[self.settings.len() - 1]);
        if let Err(MergeError::Differs { setting, first, other, .. }) =
            settings::check(&[first, last])
        {
            let part = self.settings.len();
            self.settings.pop();
            return Err(MergeError::Differs { part, setting, first, other });
        }
        let part = Part { worker: Some(worker.to_owned()), began_us, ..Part::of(&record) };
        record.merged = Some(Merged { parts: vec![part], notes: Vec::new(), fleet: None });
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(record);
            if self.levels[level].len() < AT_ONCE {
                break;
            }
            let full = std::mem::take(&mut self.levels[level]);
            record = self.unite(&full)?;
        }
        Ok(())
    }

    /// Returns the record of all.
    ///
    /// # Errors
    ///
    /// If there is no record, or the records are more than a week apart.
    pub fn finish(mut self) -> Result<LoadRecord, MergeError> {
        // Sums of many are of earlier records.
        let levels = std::mem::take(&mut self.levels);
        let waiting: Vec<LoadRecord> = levels.into_iter().rev().flatten().collect();
        let mut whole = self.unite(&waiting)?;
        let all: Vec<&Settings> = self.settings.iter().collect();
        whole.settings = settings::unite(&all);
        note(&mut whole, settings::missing_note(&all));
        complete(&mut whole, Vec::new());
        Ok(whole)
    }

    fn unite(&self, records: &[LoadRecord]) -> Result<LoadRecord, MergeError> {
        if records.is_empty() {
            return Err(MergeError::Nothing);
        }
        let span = Span::from(self.start_unix_ms, records)?;
        let settings: Vec<&Settings> = records.iter().map(|one| &one.settings).collect();
        Ok(unite(records, &span, settings::unite(&settings)))
    }

    fn refuse_twice(&mut self, record: &LoadRecord) -> Result<(), MergeError> {
        let share = record.settings.share;
        let print = (
            record.started_unix_ms,
            share,
            record.elapsed_s.to_bits(),
            record.loader.cpu_s.to_bits(),
            record.requests.completed,
        );
        let same = |one: &Fingerprint| *one == print || (share.is_some() && one.1 == share);
        if let Some(earlier) = self.fingerprints.iter().position(same) {
            return Err(MergeError::Twice(earlier + 1, self.fingerprints.len() + 1));
        }
        self.fingerprints.push(print);
        Ok(())
    }
}
