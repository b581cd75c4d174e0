//! The arguments of every command.
//!
//! Owns their syntax and their help. Opens, looks up and starts nothing.

pub(crate) mod curl;
pub(crate) mod engine;
mod number;
pub(crate) mod records;
mod watch;
pub(crate) mod words;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keepwarm_lab::Policy;
use keepwarm_load::Expectation;
use keepwarm_record::assertion::{self, Assertion};
use keepwarm_record::duration;

use crate::load::Network;
use crate::otlp::Target;
use engine::EngineOptions;
use records::{
    COMPARE_EXAMPLES, CompareOptions, CompletionShell, MERGE_EXAMPLES, MergeOptions,
    REPORT_EXAMPLES,
};
pub(crate) use records::{ReportFormat, ReportOptions};
use watch::WATCH_EXAMPLES;
pub(crate) use watch::{ListenOptions, PrintedFile, WatchFormat, WatchLevel, WatchOptions};

/// keepwarm finds, proves and fixes HTTP connection churn.
#[derive(Debug, Parser)]
#[command(name = "keepwarm", version = VERSION, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Version and commit.
pub(crate) const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("KEEPWARM_COMMIT"), ")");

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  good
  1  failed, for a reason without a code of its own; no request was answered
     with 2xx or 3xx
  2  the arguments cannot be used
  3  the target cannot be reached
  4  the measurement is invalid: a sum does not hold, evidence was lost, the
     load itself was late, or most of a lab's answers were errors
  5  the address to listen on is taken, or cannot be had
  6  the kernel does not let us ask about sockets
  7  the file table is full, or too small for what is asked
  8  a child process failed
  9  the output could not be written
 10  an assertion did not hold, or could not be judged; --abort-if ended a load
130  interrupted";

const POLICIES: &str = "\
Policies to play in this order, by commas [default: the first four]

  per-request  a new client, so a new pool, for each request
  go-default   one shared client, Go's DefaultTransport numbers: 2 idle per host
  tuned        one shared client, 1000 idle per host and in all: the post's fix
  keepwarm     one shared client, this library's defaults
  keepwarm-h2  one shared client, by HTTP/2 to the data service";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play the whole experiment: every client policy under the same load, side by side
    Lab(LabOptions),
    /// Put a load on a URL, and account for every connection
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<LoadOptions>),
    /// Show and judge a run again, from its record
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportOptions),
    /// Compare two loads: two records, or two targets in turn
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareOptions),
    /// Merge the records of loads that ran as parts of one
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeOptions),
    /// Put one load on a target from many machines; `keepwarm fleet --help` has its commands
    #[command(disable_help_flag = true)]
    Fleet {
        /// Arguments of keepwarm-fleet
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// Run one of the experiment's services by hand, until Ctrl-C or SIGTERM
    Serve {
        #[command(subcommand)]
        service: Service,
    },
    /// See who opens and closes connections on this host, why, and when the ports run out
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(Box<WatchOptions>),
    /// Print the version, as --version does
    #[command(hide = true)]
    Version,
    /// Explain a finding, a runtime or a word; without one, list what can be explained
    Explain {
        /// Topic, such as D2, go, TIME_WAIT, EADDRNOTAVAIL, assertions or 'exit codes'
        topic: Option<String>,
    },
    /// Print the completions of a shell, to be read by it
    Completions {
        /// Shell to complete in
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// Write the manual pages into a folder
    Man {
        /// Folder, which is made if it is not there
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

const LOAD_EXAMPLES: &str = "\
Examples:
  keepwarm load -n 10000 -c 100 URL
      as ab -k would, with the account of the connections
  keepwarm load -z 30s -c 100 --rate 2000 URL
      an open loop, which shows what a stall costs
  keepwarm load -n 10000 --watch 8081 URL
      and what happens behind the target
  keepwarm load -z 10s --assert 'p99<20ms' --assert 'conn.opened<=110' URL
  keepwarm load -n 10000 -o run.json URL
      then: keepwarm report run.json --format ab
  keepwarm load --one --expect 'status=2xx' URL
      one request, as sent and as answered, before the load
  keepwarm load -z 10s -- curl -X POST -d a=b URL
      a curl line under load
  keepwarm load --find 'p99<50ms && errors.share<0.1%' --from 100 --to 5000 URL
      the capacity of the server, with the curve of latency against throughput
  keepwarm load @load.args URL
      more arguments from a file

Ctrl-C ends a load in order, with its account; twice, at once.

Exit codes: 0 good, 1 no answer was 2xx or 3xx, 2 usage, 3 target unreachable,
4 invalid measurement, 10 an assertion did not hold, 130 interrupted;
`keepwarm --help` has the others.";

#[derive(Debug, Args)]
pub(crate) struct LabOptions {
    /// Requests for each policy
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000,
          allow_negative_numbers = true, value_parser = number::count(1, 100_000_000))]
    pub(crate) requests: u64,

    /// Requests in flight at once
    #[arg(short = 'c', long, value_name = "C", default_value_t = 100,
          allow_negative_numbers = true, value_parser = number::small_count(1, 10_000))]
    pub(crate) concurrency: u32,

    /// Policies to play, in this order, separated by commas [default: all]
    #[arg(short, long = "policy", value_name = "POLICY", value_delimiter = ',',
          long_help = POLICIES)]
    pub(crate) policies: Vec<Policy>,

    /// Port of the data service on 127.0.0.1 [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) data_port: Option<u16>,

    /// Port of the front service on 127.0.0.1 [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) front_port: Option<u16>,

    /// How long the front's call of the upstream may take; beyond it the answer is 504
    #[arg(long, value_name = "DURATION", default_value = "100ms", allow_hyphen_values = true,
          value_parser = duration::parse_length)]
    pub(crate) upstream_timeout: Duration,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = LabFormat::Text)]
    pub(crate) format: LabFormat,

    /// Also write the JSON to this file; - is stdout, and the report goes to stderr
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabFormat {
    /// Table of all policies, and a verdict for each
    Text,
    /// Record as a JSON document, schema keepwarm.lab/2, and nothing else
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// URL to put the load on: http://HOST:PORT/PATH, or https://
    #[arg(required_unless_present = "curl")]
    pub(crate) url: Option<String>,

    /// A curl command line instead of URL and requests: keepwarm load -n 1000 -- curl URL -H ...
    #[arg(last = true, value_name = "curl ...", allow_hyphen_values = true)]
    pub(crate) curl: Vec<String>,

    /// Data of a curl line, in which a leading @ names no file
    #[arg(skip)]
    pub(crate) body_bytes: Option<Vec<u8>>,

    /// Fields that a curl line leaves out, in small letters
    #[arg(skip)]
    pub(crate) omitted: Vec<String>,

    /// Command line of the whole command, without its secrets
    #[arg(skip)]
    pub(crate) command_line: Vec<String>,

    /// Requests in all [default: as many as 10s allow, unless -z or --stages is given]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true,
          value_parser = number::count(1, u64::MAX))]
    pub(crate) requests: Option<u64>,

    /// Connections, each with one request in flight
    #[arg(short = 'c', long, value_name = "C", default_value_t = 50,
          allow_negative_numbers = true, value_parser = number::small_count(1, 60_000))]
    pub(crate) concurrency: u32,

    /// Duration of the load, such as 10s or 2m; with -n, the first of both ends it. Requests in
    /// flight then have a second more, or twice the longest service time, and fail if they are
    /// unanswered
    #[arg(short = 'z', long, value_name = "DURATION", allow_hyphen_values = true,
          value_parser = duration::parse_length)]
    pub(crate) duration: Option<Duration>,

    /// Threads [default: one for each core]
    #[arg(short = 't', long, value_name = "T", allow_negative_numbers = true,
          value_parser = number::small_count(1, 1024))]
    pub(crate) threads: Option<u32>,

    /// Open a connection for each request, and send Connection: close
    #[arg(long)]
    pub(crate) close: bool,

    /// Request method [default: GET, or POST with --body, --body-file or --form]
    #[arg(short = 'm', long, value_name = "METHOD")]
    pub(crate) method: Option<String>,

    /// A header field, such as 'Accept: text/plain'; can be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,

    /// Request body; @FILE is the file's content. As with curl, its Content-Type is
    /// application/x-www-form-urlencoded unless -H names another. A file of more than 1 MiB is read
    /// while it is sent, and must keep its length
    #[arg(short = 'd', long, value_name = "TEXT", conflicts_with = "body_file")]
    pub(crate) body: Option<String>,

    /// Request body from a file, the same as -d @FILE
    #[arg(short = 'D', long, value_name = "FILE")]
    pub(crate) body_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) engine: EngineOptions,

    /// Time limit of one request, connecting included
    #[arg(long, value_name = "DURATION", default_value = "30s", allow_hyphen_values = true,
          value_parser = duration::parse_length)]
    pub(crate) timeout: Duration,

    /// Also account for this port on this host, from the kernel: a hop that the load causes, such
    /// as the upstream of the service under load; can be given several times
    #[arg(short = 'w', long = "watch", value_name = "PORT", allow_negative_numbers = true,
          value_parser = number::port)]
    pub(crate) watch: Vec<u16>,

    /// After the run, go on to sample the TIME_WAITs of the --watch ports until none is left, for at
    /// most this long, such as 60s, and an eighth more: the kernel's timers may be that late
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true,
          value_parser = duration::parse_length, requires = "watch")]
    pub(crate) drain: Option<Duration>,

    /// Send one request and show it: the request as sent, the response as read, the times of its
    /// stages, and what became of the connection
    #[arg(long, conflicts_with_all = ["requests", "concurrency", "duration", "threads", "paced",
          "warm_up", "watch"])]
    pub(crate) one: bool,

    /// Condition that each response has to meet: 'status=2xx', 'len=8', 'len<1000', 'body~"ok"',
    /// 'body!~"error"'. A response that does not is a miss, and no failure: --assert 'misses==0'
    /// fails the run. Can be given several times
    #[arg(long, value_name = "EXPECTATION")]
    pub(crate) expect: Vec<Expectation>,

    /// Search the highest rate at which these conditions hold, such as 'p99<50ms &&
    /// errors.share<0.1%': open loops at one rate each, of -z or 5s, with a pause between them. -c is
    /// the most connections. Exit code 10 if they do not hold at --from
    #[arg(long, value_name = "CONDITIONS", value_parser = conditions,
          conflicts_with_all = ["requests", "paced", "one", "watch", "abort_if"],
          help_heading = "Capacity")]
    pub(crate) find: Option<Conditions>,

    /// The lowest rate of --find
    #[arg(long, value_name = "R", default_value = "100", value_parser = number::rate,
          requires = "find", help_heading = "Capacity")]
    pub(crate) from: f64,

    /// The highest rate of --find
    #[arg(long, value_name = "R", default_value = "50000", value_parser = number::rate,
          requires = "find", help_heading = "Capacity")]
    pub(crate) to: f64,

    /// Serve the counts of the running load to Prometheus, on this address: /metrics. Port 0 takes a
    /// free one, which is said on stderr
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = number::listen,
          conflicts_with = "find")]
    pub(crate) listen: Option<SocketAddr>,

    /// Send the metrics at the end to a collector of OpenTelemetry, by OTLP over HTTP. Without a path
    /// the URL stands for its /v1/metrics. Takes a build with the feature otlp
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub(crate) otlp: Option<Target>,

    /// Serve the report as a page while the load runs, on this address: it renews itself each second,
    /// and is complete at the end. Port 0 takes a free one, which is said on stderr; without a
    /// password, so for this host alone unless the address says more
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = number::listen,
          conflicts_with_all = ["find", "one"])]
    pub(crate) serve: Option<SocketAddr>,

    /// End the run as soon as this holds, from its first whole second on, such as
    /// 'errors.share>5%'; exit code 10. Can be given several times
    #[arg(long, value_name = "CONDITION", value_parser = assertion::parse)]
    pub(crate) abort_if: Vec<Assertion>,

    /// A label that the record keeps, such as commit=1234567; can be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,

    /// Condition that the run has to meet, such as 'p99<20ms' or 'conn.opened<=110'; can be given
    /// several times. `keepwarm explain assertions` has all names
    #[arg(long = "assert", value_name = "ASSERTION", value_parser = assertion::parse)]
    pub(crate) assertions: Vec<Assertion>,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = LoadFormat::Text)]
    pub(crate) format: LoadFormat,

    /// Also write the run record, the JSON, to this file; - is stdout, and the report goes to stderr
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Networks and ports that the load may connect to, separated by commas, such as
    /// 10.0.0.0/8:80 or [fd00::/8]:*; names are resolved first [default: everything]
    #[arg(long, value_name = "NETWORK:PORT,...", value_delimiter = ',', value_parser = Network::parse)]
    pub(crate) only: Vec<Network>,

    /// Check the arguments, and print as JSON what a fleet asks of them, instead of a load
    #[arg(long, hide = true)]
    pub(crate) fleet_check: bool,

    /// Nanosecond of CLOCK_MONOTONIC at which the run begins: what a worker of a fleet is told
    #[arg(long, value_name = "NANOSECONDS", hide = true)]
    pub(crate) begin_at: Option<u64>,

    /// Print a line of JSON to stdout each second: what a worker of a fleet reads
    #[arg(long, hide = true, conflicts_with = "format")]
    pub(crate) live_lines: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadFormat {
    /// Verdict, latency, connections, errors
    Text,
    /// Record as a JSON document, schema keepwarm.load/1, and nothing else
    Json,
    /// The layout of ApacheBench's report
    Ab,
    /// Course of the run as a table: a row for each second
    Csv,
    /// Percentile distribution of HdrHistogram, in milliseconds
    Hgrm,
    /// Interval log of HdrHistogram, with a histogram of version 2 for each second
    Hlog,
    /// Test suite in JUnit's XML: the measurement, and each assertion
    Junit,
    /// Annotations of a GitHub workflow; a Markdown summary goes to the file that
    /// GITHUB_STEP_SUMMARY names, else to stdout
    Github,
    /// Metrics in OpenMetrics 1.0
    Openmetrics,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// The data service: GET /data answers "Data OK."
    Data {
        #[command(flatten)]
        common: ServeOptions,
    },
    /// The front service: GET /stresstest calls the data service and writes its answer back
    Front {
        #[command(flatten)]
        common: ServeOptions,

        /// URL that /stresstest calls
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081/data")]
        upstream: String,

        /// How its client is built: per-request, go-default, tuned, keepwarm or keepwarm-h2
        #[arg(long, value_name = "POLICY", default_value_t = Policy::Keepwarm)]
        client: Policy,

        /// How long one call of the upstream may take; beyond it the answer is 504
        #[arg(long, value_name = "DURATION", default_value = "100ms", allow_hyphen_values = true,
              value_parser = duration::parse_length)]
        upstream_timeout: Duration,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address to listen on; port 0 takes a free one [default: port 8081 for data, 8080 for front]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = number::listen)]
    pub(crate) listen: Option<SocketAddr>,

    /// Stop when standard input ends, because the parent has gone
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

impl LoadOptions {
    /// Returns the URL. Without one there is a curl line, which has it.
    pub(crate) fn url(&self) -> &str {
        self.url.as_deref().unwrap_or_default()
    }
}

/// The conditions of `--find`, which all have to hold.
#[derive(Clone, Debug)]
pub(crate) struct Conditions(pub(crate) Vec<Assertion>);

/// Parses conditions with `&&` between them.
fn conditions(text: &str) -> Result<Conditions, String> {
    let parsed = text.split("&&").map(|one| assertion::parse(one).map_err(|why| why.to_string()));
    parsed.collect::<Result<_, _>>().map(Conditions)
}

/// Parses a label: letters, digits, `_`, `-` and `.` in its name.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    if name.is_empty() || name.len() > 100 || !name.chars().all(fits) {
        return Err("its name has to have 1 to 100 letters, digits, _, - or .".to_owned());
    }
    if value.len() > 1000 || value.contains(char::is_control) {
        return Err("its value has to have at most 1000 bytes, and no control character".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as 'Name: value'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// Pages whose commands are held against the parser; `tests/readme.rs` runs those of two.
    fn pages() -> Vec<std::path::PathBuf> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let folders = ["", "docs", "docs/design", "crates/keepwarm-cli", "crates/keepwarm-load"];
        let files = folders.iter().flat_map(|folder| {
            std::fs::read_dir(format!("{root}/{folder}")).expect("a folder").flatten()
        });
        let pages = files.map(|file| file.path());
        pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")).collect()
    }

    #[test]
    fn commands_of_the_pages_parse() {
        let mut count = 0;
        for page in pages() {
            let text = std::fs::read_to_string(&page).expect("a page");
            let blocks = text.split("\n```").skip(1).step_by(2).flat_map(str::lines);
            let commands = blocks.flat_map(|line| line.split("; ")).map(str::trim);
            for command in commands.filter(|line| line.starts_with("keepwarm ")) {
                let words = words::split(command).expect("words of a shell");
                let words = words.iter().take_while(|word| !["|", ">"].contains(&word.as_str()));
                let names = Arguments::command();
                let name = words.clone().nth(1).map_or("", String::as_str);
                // A table of results, or prose, begins with the name too.
                if names.find_subcommand(name).is_none() {
                    continue;
                }
                let parsed = Arguments::try_parse_from(words);
                assert!(parsed.is_ok(), "{}: {command}: {:?}", page.display(), parsed.err());
                count += 1;
            }
        }
        assert!(count > 40, "{count} commands");
    }
}
