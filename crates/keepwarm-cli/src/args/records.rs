//! The arguments of the commands that work on records, and of those for packages.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use keepwarm_record::assertion::{self, Assertion};

use super::LoadFormat;

pub(crate) const MERGE_EXAMPLES: &str = "\
Examples:
  keepwarm merge a.json b.json -o all.json
  keepwarm merge worker-*.json --assert 'p99<20ms'

The parts are loads on one URL with the same settings, from several processes or
machines. Counts and equal buckets of times add, so the percentiles are those of
all requests, never a mean of percentiles. A port that several parts watched on
one machine counts once. The exit code is that of the whole, as with `keepwarm
report`; 2 names the setting in which a part differs.";

#[derive(Debug, Args)]
pub(crate) struct MergeOptions {
    /// Records of loads: what `keepwarm load --output` wrote; - reads standard input
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,

    /// Condition that the whole has to meet, instead of those that the parts were given; can be
    /// given several times
    #[arg(long = "assert", value_name = "ASSERTION", value_parser = assertion::parse)]
    pub(crate) assertions: Vec<Assertion>,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = LoadFormat::Text)]
    pub(crate) format: LoadFormat,

    /// Also write the merged record, the JSON, to this file; - is stdout, and the report goes to
    /// stderr
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// A shell that completes arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    /// For /usr/share/bash-completion/completions/keepwarm
    Bash,
    /// For a folder of $fpath, as _keepwarm
    Zsh,
    /// For ~/.config/fish/completions/keepwarm.fish
    Fish,
}
