//! `keepwarm load`: puts a load on one URL, and accounts for every connection.
//!
//! Owns the order: plan, warm-up, watch, run, record, show, exit code. `plan` makes the plan of the
//! arguments, the engine runs it, `fill` and `hop_record` make the record, `show` makes its text, `ending` the exit code.

mod abort;
mod allowed;
mod detail;
mod ending;
mod fill;
mod find;
mod fleet;
mod hop_record;
mod hops;
mod listen;
mod live;
mod plan;
mod serve;
mod speaks_tls;

pub(crate) use allowed::Network;
pub(crate) use ending::judge;
pub(crate) use find::judge_found;
pub(crate) use hop_record::OwnLoad;
pub(crate) use hops::Hops;
pub(crate) use plan::refused;

use std::time::{Duration, SystemTime};

use keepwarm_load::limits::DESCRIPTORS_PER_THREAD;
use keepwarm_load::{ClosePolicy, Plan, Run};
use keepwarm_record::load::{HopRecord, LoadRecord, Schedule};

use crate::args::engine::Spread;
use crate::args::{LoadFormat, LoadOptions, curl};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::output_file::Output;
use crate::{interrupt, limits, output, show};

/// Interval at which a running load is checked and its progress is drawn.
const TICK: Duration = Duration::from_millis(50);

pub(crate) fn run(options: LoadOptions) -> Result<(), Failure> {
    let options = &curl::apply(options)?;
    if options.fleet_check {
        fleet::refuse_unshared(options)?;
    }
    limits::make_room(descriptors(options), "ask for fewer connections with -c")?;
    plan::refuse(options)?;
    let plan = plan::of(options)?;
    allowed::check(&plan, &options.only)?;
    if options.fleet_check {
        return fleet::describe(&plan, options);
    }
    let output = Output::create(options.output.as_deref())?;
    // The first signal ends the load in order, the second one at once; both leave the account.
    interrupt::watch(3)?;
    let mut views = Views::start(&plan, options)?;
    warm_up(options)?;
    let mut hops = Hops::start(&options.watch)?;
    if options.live_lines {
        fleet::end_with_stdin()?;
    }
    if let Some(instant) = options.begin_at {
        fleet::wait_until(instant)?;
    }
    let lines = options.live_lines.then(fleet::LiveLines::default);
    let record = if options.find.is_some() {
        find::run(options)?
    } else {
        let mut abort = abort::of(options);
        drive(plan, "load", &hops, lines, |run| {
            views.update(run, &hops);
            abort(run)
        })?
    };
    views.count(&record);
    let mut watched = hops.finish(&OwnLoad::of(&record), speaks_tls::speaks_tls)?;
    if let Some(drain) = options.drain {
        hops.drain(drain, &mut watched, |so_far| views.drain(&record, so_far))?;
    }
    let mut record = record.with_hops(watched);
    if record.capacity.is_none() {
        record.settings.schedule = schedule(options, &record);
    }
    record.command = options.command_line.clone();
    record.labels = options.labels.iter().cloned().collect();
    record.judge(&options.assertions);
    views.show(&record);
    let kept = output.write(&record, is_private(&record));
    let printed = match options.format {
        LoadFormat::Json if output.is_stdout() => Ok(()),
        _ if options.live_lines && kept.is_err() => fleet::print_record(&record),
        _ if options.live_lines => Ok(()),
        LoadFormat::Text => {
            output.print_text(|colour, columns| show::load::render(&record, colour, columns))
        }
        LoadFormat::Json => print(&record, LoadFormat::Json),
        format => {
            let text = text_of(&record, format)?;
            output.print_text(|_, _| text.clone())
        }
    };
    // The report is out before the first failure ends the command.
    kept?;
    printed?;
    views.end();
    options.otlp.as_ref().map_or(Ok(()), |otlp| otlp.send(&record))?;
    if interrupted().is_none() {
        find::judge_found(&record)?;
    }
    ending::judge(&record, interrupted())
}

/// Pages of a running load: `--listen` for Prometheus, `--serve` for a browser.
struct Views<'a> {
    exporter: Option<listen::LoadExporter>,
    page: Option<serve::LivePage<'a>>,
}

impl<'a> Views<'a> {
    fn start(plan: &Plan, options: &'a LoadOptions) -> Result<Self, Failure> {
        let labels = || options.labels.iter().cloned().collect();
        let exporter = options.listen.map(|at| listen::LoadExporter::start(at, labels()));
        let page = options.serve.map(|at| serve::LivePage::start(at, plan, options));
        Ok(Self { exporter: exporter.transpose()?, page: page.transpose()? })
    }

    fn update(&mut self, run: &Run, hops: &Hops) {
        if let Some(exporter) = &mut self.exporter {
            exporter.update(run);
        }
        if let Some(page) = &mut self.page {
            page.update(run, hops);
        }
    }

    /// Shows the counts of the whole run, which is over.
    fn count(&self, record: &LoadRecord) {
        if let Some(exporter) = &self.exporter {
            exporter.show(record.clone());
        }
    }

    /// Shows the run, which is over, while the sockets of the watched ports drain.
    fn drain(&mut self, record: &LoadRecord, hops: &dyn Fn() -> Vec<HopRecord>) {
        if let Some(page) = &mut self.page {
            page.drain(record, hops);
        }
    }

    /// Shows the whole record.
    fn show(&self, record: &LoadRecord) {
        if let Some(page) = &self.page {
            page.show(record);
        }
    }

    fn end(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.end();
        }
        if let Some(page) = &self.page {
            page.end();
        }
    }
}

/// Returns true if the record may hold a secret: its URL, or the place that a redirect names, may
/// have a token or a password.
pub(crate) fn is_private(record: &LoadRecord) -> bool {
    let urls = [Some(&record.settings.url), record.location.as_ref()];
    urls.into_iter().flatten().any(|url| url.contains(['?', '@']))
}

/// Returns the descriptors that a load takes: its connections, and those of each thread.
fn descriptors(options: &LoadOptions) -> u64 {
    let threads = options.threads.map_or_else(limits::cores, |threads| threads as usize) as u64;
    let connections = u64::from(options.concurrency);
    connections + threads.min(connections) * DESCRIPTORS_PER_THREAD
}

/// The failure of a run that a signal has ended.
fn interrupted() -> Option<Failure> {
    interrupt::happened().then(interrupt::failure)
}

/// Loads the server without counting. RST ends the connections, so that no connection and no
/// TIME_WAIT of the warm-up is left when counting begins.
fn warm_up(options: &LoadOptions) -> Result<(), Failure> {
    let Some(duration) = options.engine.warm_up else {
        return Ok(());
    };
    let plan = plan::builder(options)?.without_count().duration(duration);
    let plan = plan.close_policy(ClosePolicy::Reset).build();
    let plan = plan.map_err(|error| plan::refused(&error, Some(options)))?;
    let record = drive(plan, "warm-up", &Hops::start(&[])?, None, |_| Ok(None))?;
    ending::judge_warm_up(&record, interrupted())
}

/// Prints a run, new or from a file.
pub(crate) fn print(record: &LoadRecord, format: LoadFormat) -> Result<(), Failure> {
    match format {
        LoadFormat::Text => {
            output::print(&show::load::render(record, output::colour(), output::columns()))
        }
        LoadFormat::Json => output::print_with(|to| output::write_json(record, to)),
        format => output::print(&text_of(record, format)?),
    }
}

/// Returns a record as text for another program.
fn text_of(record: &LoadRecord, format: LoadFormat) -> Result<String, Failure> {
    use show::formats::{csv, hdr, junit, metrics};
    Ok(match format {
        LoadFormat::Text | LoadFormat::Json | LoadFormat::Ab => show::ab::render(record),
        LoadFormat::Csv => csv::render(record),
        LoadFormat::Hgrm => hdr::hgrm(record),
        LoadFormat::Hlog => hdr::hlog(record),
        LoadFormat::Junit => junit::render(record),
        LoadFormat::Openmetrics => metrics::render(record, metrics::Dialect::OpenMetrics),
        LoadFormat::Github => github(record)?,
    })
}

/// Returns the annotations of a GitHub workflow. The summary goes to the file that the workflow
/// names, else behind them.
fn github(record: &LoadRecord) -> Result<String, Failure> {
    use std::io::Write as _;
    let annotations = show::formats::github::annotations(record);
    let summary = show::formats::github::summary(record);
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(format!("{annotations}\n{summary}"));
    };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(summary.as_bytes()));
    written.map(|()| annotations).map_err(|error| {
        let path = std::path::Path::new(&path).display();
        Failure::new(Exit::Output, format!("cannot write the summary to {path}: {error}"))
    })
}

/// Runs a plan to its end, or until interrupted, and shows its progress on stderr, and in `lines`.
///
/// `check` is called at each tick. Its failure ends the run, and is returned; a reason that it
/// returns aborts the run, and becomes a part of the record.
pub(crate) fn drive(
    plan: Plan,
    name: &str,
    hops: &Hops,
    mut lines: Option<fleet::LiveLines>,
    mut check: impl FnMut(&Run) -> Result<Option<String>, Failure>,
) -> Result<LoadRecord, Failure> {
    let started = SystemTime::now();
    let run = Run::start(plan.clone()).map_err(|error| match error.raw_os_error() {
        Some(code) if limits::is_file_table_full(code) => {
            Failure::new(Exit::FileTable, format!("the file table is full: {error}"))
        }
        _ => limits::refused(Exit::Failed, "cannot start the load", &error),
    })?;
    let stop = run.stop();
    let mut progress = Progress::new();
    let mut verdict = Ok(());
    let mut aborted = None;
    let mut is_over = false;
    while !is_over {
        is_over = run.wait_at_most(TICK);
        if verdict.is_ok() && aborted.is_none() {
            match check(&run) {
                Ok(reason) => aborted = reason,
                Err(failure) => verdict = Err(failure),
            }
            if aborted.is_some() {
                stop.stop();
            }
        }
        match interrupt::count() {
            0 if verdict.is_ok() => {}
            1 if verdict.is_ok() => stop.stop(),
            _ => stop.abort(),
        }
        progress.update(&live::line(name, &run, hops));
        if let Some(lines) = &mut lines
            && verdict.is_ok()
        {
            verdict = lines.update(&run);
        }
    }
    progress.clear();
    let summary = run.wait();
    verdict.map(|()| fill::record(&plan, &summary, started, aborted))
}

/// Returns the schedule as it was asked for; the plan keeps only its instants.
fn schedule(options: &LoadOptions, record: &LoadRecord) -> Option<Schedule> {
    let engine = &options.engine;
    let poisson = engine.arrivals == Spread::Poisson;
    let stages = engine.stages.iter().map(|stage| (stage.duration.as_secs_f64(), stage.rate));
    record.settings.open_loop.then(|| Schedule {
        rate: engine.rate,
        stages: stages.collect(),
        seed: poisson.then_some(engine.seed),
    })
}
