//! The arguments of the commands that work on records, and of those for packages.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use keepwarm_record::assertion::{self, Assertion};
use keepwarm_record::compare::{MIN_ROUNDS, RatioAssertion};

use super::LoadFormat;
use crate::otlp::Target;

/// The most rounds: what is exact would take long beyond.
const MAX_ROUNDS: usize = 100;

pub(crate) const REPORT_EXAMPLES: &str = "\
Examples:
  keepwarm report run.json
  keepwarm report run.json --format html -o run.html
  keepwarm report before.json after.json --format html -o both.html
  keepwarm report run.json --assert 'p99<20ms'
  keepwarm load --format json URL | keepwarm report - --format ab

The exit code is the one that the run's own numbers give: 1, 3, 4, 7 or 10 as in
`keepwarm --help`, and 2 for a file that is truncated or no record.";

#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// A record: what `keepwarm load --output` or `keepwarm lab --output` wrote, or `keepwarm watch
    /// --format json` (or jsonl: its last complete line); - reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A second load, laid over the first one; only with --format html
    #[arg(value_name = "FILE2")]
    pub(crate) second: Option<PathBuf>,

    /// Condition that the record has to meet, instead of those that the run was given; can be given
    /// several times. In a lab, each policy's load has to meet it
    #[arg(long = "assert", value_name = "ASSERTION", value_parser = assertion::parse)]
    pub(crate) assertions: Vec<Assertion>,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,

    /// Send the metrics of a load to a collector of OpenTelemetry, by OTLP over HTTP. Without a path
    /// the URL stands for its /v1/metrics. Takes a build with the feature otlp
    #[arg(long, value_name = "URL", value_parser = Target::parse, conflicts_with = "second")]
    pub(crate) otlp: Option<Target>,

    /// Write the report to this file instead of stdout; - is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// Text, as the command that wrote the record prints it
    Text,
    /// Record as a JSON document, judged by --assert, and nothing else
    Json,
    /// The layout of ApacheBench's report; only of a load
    Ab,
    /// Course of a load as a table: a row for each second
    Csv,
    /// Percentile distribution of HdrHistogram, in milliseconds; only of a load
    Hgrm,
    /// Interval log of HdrHistogram, with a histogram of version 2 for each second; only of a
    /// load
    Hlog,
    /// Test suite in JUnit's XML: the measurement, and each assertion; only of a load
    Junit,
    /// Annotations of a GitHub workflow; a Markdown summary goes to the file that
    /// GITHUB_STEP_SUMMARY names, else to stdout; only of a load
    Github,
    /// Metrics in OpenMetrics 1.0; only of a load
    Openmetrics,
    /// One page with charts, opened without a network
    Html,
}

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

pub(crate) const COMPARE_EXAMPLES: &str = "\
Examples:
  keepwarm compare before.json after.json
  keepwarm compare --each 'load -z 10s -c 50' base=URL new=URL
  keepwarm compare --rounds 10 base='load -z 5s URL' new='load -z 5s --close URL'
  keepwarm compare before.json after.json --assert 'p99.ratio<1.1'

Two targets are loaded in turn (base new new base), so that drift hits both, and
each is also held against itself: a difference within that of the same code is
not claimed, nor one under 2 %. Of two records, one run each, drift is not
covered.

Names for --assert: p50.ratio, p99.ratio, mean.ratio, rps.ratio,
errors.share.ratio, conn.opened_per_1000.ratio.

Exit codes: 0 compared; 2 the arguments cannot be used, or the settings of the
records differ; 4 a run is an invalid measurement; 10 an assertion does not hold.";

#[derive(Debug, Args)]
pub(crate) struct CompareOptions {
    /// The base: the record of a load, or NAME=URL with --each, or NAME='load … URL'
    pub(crate) base: String,

    /// The new one, in the same form
    pub(crate) new: String,

    /// Load that is put on both targets in turn, such as 'load -z 10s -c 50'
    #[arg(long, value_name = "LOAD")]
    pub(crate) each: Option<String>,

    /// Rounds in turn, each with two runs of both
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true,
          value_parser = rounds)]
    pub(crate) rounds: usize,

    /// Compare records although their settings differ, and say so
    #[arg(long)]
    pub(crate) anyway: bool,

    /// Condition that the ratio, new by base, has to meet, such as 'p99.ratio<1.1'; can be given
    /// several times
    #[arg(long = "assert", value_name = "ASSERTION", value_parser = RatioAssertion::parse)]
    pub(crate) assertions: Vec<RatioAssertion>,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = CompareFormat::Text)]
    pub(crate) format: CompareFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    /// A sentence, a table, and how it was found
    Text,
    /// Markdown for a comment, with a hidden mark by which a script finds it again
    Github,
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (MIN_ROUNDS..=MAX_ROUNDS).contains(&count) => Ok(count),
        Ok(_) => Err(format!(
            "between {MIN_ROUNDS} and {MAX_ROUNDS}: with fewer, no difference could be claimed"
        )),
        Err(_) => Err("it is not a whole number".to_owned()),
    }
}
