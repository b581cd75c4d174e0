//! Folds: numbers and words derived from records.
