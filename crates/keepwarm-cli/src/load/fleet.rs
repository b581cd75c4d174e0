//! Parts of a load that serve the fleet that started it: the check of arguments that workers share,
//! the start at an instant that all workers were given, and a line of JSON each second. The fleet's
//! own binary does the rest.

use std::time::Duration;

use keepwarm_load::{Count, Plan, Run};
use keepwarm_record::load::LoadRecord;
use rustix::process::Signal;
use serde::Serialize;

use crate::args::LoadOptions;
use crate::exit::{Exit, Failure};
use crate::{interrupt, limits, output};

/// Time that the requests in flight have to complete once the worker of the load is gone.
const ORDERLY_END: Duration = Duration::from_secs(3);

/// Facts on a load that a fleet needs before it starts.
#[derive(Serialize)]
struct Description<'a> {
    url: &'a str,
    addresses: Vec<String>,
    connections: u64,
    requests: Option<u64>,
    duration_s: Option<f64>,
    /// Highest rate of an open loop; none of a closed loop.
    peak_rate: Option<f64>,
    timeout_s: f64,
    warm_up_s: f64,
}

/// Refuses arguments that belong to one machine: before any file that they name is read.
pub(super) fn refuse_unshared(options: &LoadOptions) -> Result<(), Failure> {
    let engine = &options.engine;
    let reads_body = options.body.as_deref().is_some_and(|body| body.starts_with('@'));
    let unshared = [
        ("--output", options.output.is_some()),
        ("--unix-socket", engine.unix_socket.is_some()),
        ("--body-file", options.body_file.is_some() || reads_body),
        ("--requests-file", engine.requests_file.is_some()),
        ("--ca-cert", engine.ca_cert.is_some()),
        ("--cert", engine.cert.is_some()),
        ("--source", !engine.sources.is_empty()),
        ("--find", options.find.is_some()),
        ("--one", options.one),
        ("--dns-ttl", engine.dns_ttl.is_some()),
        ("--listen", options.listen.is_some()),
        ("--drain", options.drain.is_some()),
        ("--serve", options.serve.is_some()),
        ("--otlp", options.otlp.is_some()),
        ("{csv:FILE.column} of --template", reads_csv(options)),
    ];
    match unshared.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Failure::of_one_machine(name)),
        None => Ok(()),
    }
}

/// Prints what a fleet asks of a load.
pub(super) fn describe(plan: &Plan, options: &LoadOptions) -> Result<(), Failure> {
    let engine = &options.engine;
    let rates = engine.rate.into_iter().chain(engine.stages.iter().map(|stage| stage.rate));
    print(&Description {
        url: plan.url(),
        addresses: plan.addresses().map(|address| address.to_string()).collect(),
        connections: plan.concurrency() as u64,
        requests: plan.requests(),
        duration_s: plan.duration().map(|duration| duration.as_secs_f64()),
        peak_rate: rates.reduce(f64::max),
        timeout_s: plan.timeout().as_secs_f64(),
        warm_up_s: engine.warm_up.unwrap_or_default().as_secs_f64(),
    })
}

/// Returns true if a template names a table, which is a file of one machine.
fn reads_csv(options: &LoadOptions) -> bool {
    let pairs = options.headers.iter().chain(&options.engine.form);
    let texts = [&options.url, &options.body].into_iter().flatten();
    let mut texts = texts.chain(pairs.flat_map(|(name, value)| [name, value]));
    let of_curl = String::from_utf8_lossy(options.body_bytes.as_deref().unwrap_or_default());
    let names_one = |text: &str| text.contains("{csv:");
    options.engine.template && (texts.any(|text| names_one(text)) || names_one(&of_curl))
}

/// Returns the time of CLOCK_MONOTONIC, which is never negative.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Waits until CLOCK_MONOTONIC shows `instant`, in nanoseconds; not at all if that is over. A signal
/// ends the wait, and the command.
pub(super) fn wait_until(instant: u64) -> Result<(), Failure> {
    loop {
        if interrupt::happened() {
            return Err(interrupt::failure());
        }
        match Duration::from_nanos(instant).saturating_sub(monotonic()) {
            Duration::ZERO => return Ok(()),
            left => interrupt::sleep(left),
        }
    }
}

/// Ends the load when stdin ends: its worker is gone, however it ended. First in order, and at once if
/// that takes longer than [`ORDERLY_END`]; the record is written either way.
pub(super) fn end_with_stdin() -> Result<(), Failure> {
    let interrupt = || {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::INT);
    };
    let watch = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        interrupt();
        // Time itself is waited for: an end in order ends the process, and this thread with it.
        std::thread::sleep(ORDERLY_END);
        // A third signal would end the process without its record.
        if interrupt::count() < 2 {
            interrupt();
        }
    };
    let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(watch);
    thread.map(drop).map_err(|error| limits::refused(Exit::Failed, "cannot watch stdin", &error))
}

/// The lines that a load prints for its worker: one when it has begun, one for each second.
#[derive(Debug, Default)]
pub(crate) struct LiveLines {
    begun: bool,
    printed: Option<u64>,
}

/// A line of a running load.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The run has begun at this nanosecond of CLOCK_MONOTONIC.
    Begun { monotonic_ns: u64 },
    /// A whole second of the run is over.
    Second(Second),
    /// The record, where its file could not be written: the worker still sends it.
    Record(Box<LoadRecord>),
}

/// Prints the record, whose file could not be written.
pub(super) fn print_record(record: &LoadRecord) -> Result<(), Failure> {
    print(&Line::Record(Box::new(record.clone())))
}

#[derive(Serialize)]
struct Second {
    /// Position of the second in the run, from 0.
    second: u64,
    /// Requests that completed in it.
    completed: u64,
    /// Requests that failed in it.
    failed: u64,
    /// Requests that were due and never sent.
    unsent: u64,
    /// 99th percentile in microseconds of the response times of an open loop, else of the service
    /// times; none without a completed request.
    p99_us: Option<u64>,
    /// Connections open now.
    open: u64,
}

impl LiveLines {
    /// Prints what has happened since the last call.
    pub(super) fn update(&mut self, run: &Run) -> Result<(), Failure> {
        if !self.begun {
            self.begun = true;
            let began = monotonic().saturating_sub(run.started().elapsed());
            print(&Line::Begun { monotonic_ns: u64::try_from(began.as_nanos()).unwrap_or(0) })?;
        }
        let Some((second, slice)) = run.last_second() else { return Ok(()) };
        if self.printed.is_some_and(|printed| printed >= second) {
            return Ok(());
        }
        self.printed = Some(second);
        let times = if run.plan().is_open_loop() { &slice.response } else { &slice.latency };
        print(&Line::Second(Second {
            second,
            completed: slice.count(Count::Completed),
            failed: slice.count(Count::Failed),
            unsent: slice.count(Count::Unsent),
            p99_us: times.quantile(0.99),
            open: run.progress().open_connections,
        }))
    }
}

fn print(line: &impl Serialize) -> Result<(), Failure> {
    output::print_with(|to| output::write_json(line, to))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::{Arguments, Command, curl};

    /// Flags that each worker of a fleet is given as they are. A key stands with its certificate.
    const SHARED: [&str; 39] = [
        "rate",
        "stages",
        "arrivals",
        "seed",
        "backlog",
        "http2",
        "streams",
        "requests-per-connection",
        "close-policy",
        "connect-rate",
        "connect-to",
        "max-lifetime",
        "ipv4",
        "ipv6",
        "form",
        "user",
        "template",
        "trace",
        "warm-up",
        "insecure",
        "key",
        "sni",
        "no-resumption",
        "requests",
        "concurrency",
        "duration",
        "threads",
        "close",
        "method",
        "header",
        "body",
        "timeout",
        "watch",
        "expect",
        "from",
        "to",
        "abort-if",
        "label",
        "assert",
    ];

    /// Flags that a worker gives its load itself: keepwarm-fleet refuses them in a plan.
    const OF_THE_WORKER: [&str; 6] =
        ["share", "begin-at", "live-lines", "only", "fleet-check", "format"];

    /// Flags that belong to one machine, with a value to try and what they need beside them.
    const OF_ONE_MACHINE: [(&str, &[&str]); 15] = [
        ("output", &["--output=run.json"]),
        ("unix-socket", &["--unix-socket=/run/a"]),
        ("body-file", &["--body-file=a"]),
        ("requests-file", &["--requests-file=a"]),
        ("ca-cert", &["--ca-cert=a"]),
        ("cert", &["--cert=a", "--key=b"]),
        ("source", &["--source=127.0.0.1"]),
        ("find", &["--find=p99<1s"]),
        ("one", &["--one"]),
        ("dns-ttl", &["--dns-ttl=1s"]),
        ("listen", &["--listen=127.0.0.1:0"]),
        ("drain", &["--watch=80", "--drain=1s"]),
        ("serve", &["--serve=127.0.0.1:0"]),
        ("otlp", &["--otlp=http://host"]),
        ("body", &["--body=@a"]),
    ];

    fn options(arguments: &[&str]) -> LoadOptions {
        let typed = ["keepwarm", "load", "--fleet-check"].iter().chain(arguments);
        match Arguments::try_parse_from(typed).expect("arguments").command {
            Command::Load(options) => *options,
            _ => panic!("it is a load"),
        }
    }

    #[test]
    fn every_flag_is_shared_or_refused() {
        let command = Arguments::command();
        let load = command.find_subcommand("load").expect("a command");
        for flag in load.get_arguments().filter_map(clap::Arg::get_long) {
            let refused = OF_ONE_MACHINE.iter().any(|(name, _)| *name == flag && flag != "body");
            let places = [SHARED.contains(&flag), OF_THE_WORKER.contains(&flag), refused];
            let count = places.iter().filter(|there| **there).count();
            assert_eq!(count, 1, "--{flag} is in {count} of the three lists: {places:?}");
        }
    }

    #[test]
    fn flags_of_one_machine_are_refused() {
        for (name, arguments) in OF_ONE_MACHINE {
            // Without the feature the parser has refused it already.
            if name == "otlp" && !cfg!(feature = "otlp") {
                continue;
            }
            let options = options(&[arguments, &["http://host/"]].concat());
            let error = refuse_unshared(&options).expect_err(name).to_string();
            assert!(error.starts_with(&format!("--{name}")), "{error}");
        }
        assert!(refuse_unshared(&options(&["--http2", "-d", "a=@b", "http://host/"])).is_ok());
    }

    #[test]
    fn curl_lines_read_no_file_for_a_fleet() {
        for line in [
            "-d @/etc/hostname",
            "--data-urlencode a@/etc/hostname",
            "--json @/etc/hostname",
            "-F a=@/etc/hostname",
            "-H @/etc/hostname",
            "-b /etc/hostname",
            "-T /etc/hostname",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let options = options(&[&["--", "curl", "http://host/"], &words[..]].concat());
            let error = curl::apply(options).expect_err(line).to_string();
            assert!(error.contains("belongs to one machine"), "{error}");
        }
    }
}
