//! `keepwarm watch`: who opens connections, who closes them first and why, and when the ports run
//! out.
//!
//! Owns the run: parse, start a source, loop, make a record, show it. `source` has the evidence,
//! `fill` makes records of it, `show` makes text of those, `screen` draws it.

mod confine;
mod fill;
mod filter;
mod heap;
pub(crate) mod listen;
mod netns;
mod print;
mod privileges;
mod recent;
mod resolve;
mod screen;
mod source;

use std::time::{Duration, Instant};

use keepwarm_record::assertion::{self, Assertion};
use keepwarm_record::watch::{WatchRecord, cannot_judge};
use keepwarm_sockets::{Filter, HostReport, Scope};

use self::fill::Recorder;
use self::listen::Exporter;
use self::recent::Recent;
use self::screen::{Drawing, Screen};
use self::source::{Prepared, Source};
use crate::args::{WatchFormat, WatchLevel, WatchOptions};
use crate::evidence::names::NameFinder;
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::{interrupt, limits, output};

/// Interval between reports on a terminal, and between lines of JSON.
const REFRESH: Duration = Duration::from_secs(1);
/// Interval between the reports of a live watch that go to a pipe or a file.
const PRINT_EVERY: Duration = Duration::from_secs(10);
/// Longest time without a check of whether the source goes on.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Interval between two questions whether a poll is due, where there are polls.
const POLL_TICK: Duration = Duration::from_millis(50);
/// Time that the end of a window waits for closes that are under way.
const SETTLE: Duration = Duration::from_millis(300);
/// Descriptors of a watch of all network namespaces, at most: six for each.
const NAMESPACE_FILES: u64 = 1_536;

pub(crate) fn run(options: &WatchOptions) -> Result<(), Failure> {
    if let Some(file) = options.listen.print {
        return print::run(file);
    }
    if options.listen.listen.is_some() {
        heap::fix_thresholds();
    }
    let scope = filter::parse(&options.filter).map_err(|error| Failure::new(Exit::Usage, error))?;
    check(&options.assertions, scope.port)?;
    if options.all_netns {
        check_all_netns(options)?;
    }
    limits::make_room(if options.all_netns { NAMESPACE_FILES } else { 0 }, "close some")?;
    // The page is for this network namespace, whichever is watched.
    let page = listen::open(&options.listen)?;
    let stays = page.is_some();
    match &options.netns {
        Some(name) => netns::within(name, stays, || run_here(options, scope, page)),
        None => run_here(options, scope, page),
    }
}

fn run_here(
    options: &WatchOptions,
    scope: Scope,
    page: Option<listen::Opened>,
) -> Result<(), Failure> {
    if let Some(state) = options.count {
        return count_state(state.into(), scope, options.level);
    }
    let record =
        if options.once { dump_once(options, scope) } else { watch(options, scope, page) }?;
    judge_assertions(&record)?;
    // A live watch has no other end than an interrupt; a window has.
    if options.window.is_some() && options.listen.listen.is_none() && interrupt::happened() {
        return Err(interrupt::failure());
    }
    Ok(())
}

fn dump_once(options: &WatchOptions, scope: Scope) -> Result<WatchRecord, Failure> {
    let mut recorder = Recorder::new(options, scope)?;
    let (report, refused) = source::dump_once(options.level, scope)?;
    recorder.refused(refused);
    let record = recorder.record(report, Duration::ZERO);
    show(&record, options.format, &mut Screen::new(Drawing::Appended))?;
    Ok(record)
}

fn watch(
    options: &WatchOptions,
    scope: Scope,
    page: Option<listen::Opened>,
) -> Result<WatchRecord, Failure> {
    let mut recorder = Recorder::new(options, scope)?;
    let name_servers = NameFinder::new(options.rootfs.as_deref()).name_servers();
    // Every thread has capabilities of its own: none is started before they are dropped.
    let drops = page.is_some() || options.all_netns || options.no_owners;
    if !drops {
        interrupt::watch(2)?;
    }
    if options.level != WatchLevel::L0 {
        recorder.test_kernel();
    }
    let prepared = match options.all_netns {
        true => Prepared::everywhere(scope)?,
        false if options.no_owners => Prepared::unowned(options.level, scope)?,
        false => Prepared::here(options.level, scope)?,
    };
    let mut unconfined = None;
    if drops {
        privileges::keep_needed(options)?;
        if options.no_owners {
            unconfined = confine::confine();
        }
        interrupt::watch(2)?;
    }
    if options.resolve {
        recorder.resolve(&name_servers)?;
    }
    let (mut source, refused) = Source::start(prepared, scope)?;
    recorder.refused(refused);
    let exporter = page.map(|page| Exporter::start(page, &options.listen)).transpose()?;
    let mut session = Session::new(options, recorder, exporter);
    if let Some(why) = unconfined {
        session.progress.note(&format!("not confined by Landlock: {why}"));
    }
    session.begin(&source)?;
    // Scripts and tests wait for this line: the window has begun.
    session.progress.note("watching; Ctrl-C ends it (`keepwarm explain columns` has the words)");
    let mut is_read = true;
    while !interrupt::happened() && !source.has_ended() && !session.left().is_zero() && is_read {
        is_read = output::sleep_while_read(session.pause(&source), interrupt::arrived());
        source.poll_if_due()?;
        session.refresh_if_due(&source)?;
    }
    session.finish(source.finish(SETTLE)?)
}

/// Prints the number of sockets in one state, as `netstat | grep | wc` does: a connection within
/// this host has two.
fn count_state(
    state: keepwarm_sockets::State,
    scope: Scope,
    level: WatchLevel,
) -> Result<(), Failure> {
    let filter = Filter::of_states(state).with_either_port(scope.port);
    let found = source::count(level, &filter, &scope)?;
    output::print(&format!("{found}\n"))
}

/// Judges a record again: by `assertions`, if there are any, else by those of the watch. Shows it
/// first.
pub(crate) fn show_again(
    mut record: WatchRecord,
    format: WatchFormat,
    assertions: &[Assertion],
) -> Result<(), Failure> {
    judge_again(&mut record, assertions)?;
    show(&record, format, &mut Screen::new(Drawing::Appended))?;
    judge_assertions(&record)
}

/// Judges a record by other assertions, if there are any.
pub(crate) fn judge_again(
    record: &mut WatchRecord,
    assertions: &[Assertion],
) -> Result<(), Failure> {
    if !assertions.is_empty() {
        check(assertions, record.scope.and_then(|scope| scope.port))?;
        record.judge(assertions);
    }
    Ok(())
}

/// Fails where not every network namespace could be watched.
fn check_all_netns(options: &WatchOptions) -> Result<(), Failure> {
    if options.level == WatchLevel::L0 {
        let why = "--all-netns takes destroy events (level L1), and polls (--level l0) have none";
        return Err(Failure::new(Exit::Usage, why.to_owned()));
    }
    privileges::check_all_netns()
}

/// Fails if an assertion can never be judged. Asked before the watch begins, not after it.
fn check(assertions: &[Assertion], port: Option<u16>) -> Result<(), Failure> {
    let mut reasons = assertions.iter().filter_map(|one| cannot_judge(one, port));
    reasons.next().map_or(Ok(()), |why| Err(Failure::new(Exit::Usage, why)))
}

/// Fails if an assertion does not hold, or could not be judged.
pub(crate) fn judge_assertions(record: &WatchRecord) -> Result<(), Failure> {
    let failures = assertion::failures(&record.assertions);
    failures.map_or(Ok(()), |why| Err(Failure::new(Exit::Assertion, why)))
}

/// Writes a record in the form that was asked for.
fn show(record: &WatchRecord, format: WatchFormat, screen: &mut Screen) -> Result<(), Failure> {
    match format {
        WatchFormat::Text => screen.finish(record),
        WatchFormat::Json | WatchFormat::Jsonl => print_json(record),
    }
}

fn print_json(record: &WatchRecord) -> Result<(), Failure> {
    let json = record.to_json();
    let json =
        json.map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))?;
    output::print(&format!("{json}\n"))
}

/// A watch that goes on: when it ends, and which reports it gives before.
struct Session {
    recorder: Recorder,
    format: WatchFormat,
    screen: Screen,
    interim: Interim,
    refreshed_at: Instant,
    progress: Progress,
    begun: Instant,
    /// The length of the watch; `None`: until interrupted.
    window: Option<Duration>,
}

/// Reports before the last one.
enum Interim {
    /// None: a window that ends in one report.
    Silent,
    /// Each about the whole watch until then: JSON lines.
    Whole,
    /// Each about the last half minute, so that a mended fault shows: a live watch for people.
    Recent { recent: Recent, every: Duration },
    /// For a page that is scraped: of the whole watch, and of the last half minute.
    Served { recent: Recent, exporter: Exporter },
}

impl Session {
    fn new(options: &WatchOptions, recorder: Recorder, exporter: Option<Exporter>) -> Self {
        let live = options.window.is_none() && options.format == WatchFormat::Text;
        let in_place = live && screen::is_terminal();
        let interim = match (exporter, options.format) {
            (Some(exporter), _) => Interim::Served { recent: Recent::default(), exporter },
            (None, WatchFormat::Jsonl) => Interim::Whole,
            (None, WatchFormat::Text) if live => Interim::Recent {
                recent: Recent::default(),
                every: if in_place { REFRESH } else { PRINT_EVERY },
            },
            (None, WatchFormat::Text | WatchFormat::Json) => Interim::Silent,
        };
        Self {
            recorder,
            format: options.format,
            screen: Screen::new(if in_place { Drawing::InPlace } else { Drawing::Appended }),
            interim,
            refreshed_at: Instant::now(),
            progress: Progress::new(),
            begun: Instant::now(),
            window: options.window,
        }
    }

    /// The time until the window ends; a live watch always has some left.
    fn left(&self) -> Duration {
        self.window.map_or(CHECK_EVERY, |window| window.saturating_sub(self.begun.elapsed()))
    }

    /// The time until there is anything to do: a wake-up costs an idle host as much as a reading of
    /// the counters.
    fn pause(&self, source: &Source) -> Duration {
        let at_most = match source {
            Source::Polls(_) => POLL_TICK,
            Source::Events(_) | Source::Everywhere(_) => CHECK_EVERY,
        };
        self.every().saturating_sub(self.refreshed_at.elapsed()).min(self.left()).min(at_most)
    }

    /// The interval between two reports.
    fn every(&self) -> Duration {
        match self.interim {
            Interim::Silent | Interim::Whole => REFRESH,
            Interim::Recent { every, .. } => every,
            Interim::Served { .. } => listen::EVERY,
        }
    }

    /// Fills the page before the first scrape.
    fn begin(&mut self, source: &Source) -> Result<(), Failure> {
        if !matches!(self.interim, Interim::Served { .. }) {
            return Ok(());
        }
        self.look(source)?;
        match &self.interim {
            Interim::Served { exporter, .. } => exporter.announce(),
            Interim::Silent | Interim::Whole | Interim::Recent { .. } => Ok(()),
        }
    }

    /// Shows how far a window is, and a report when one is due.
    fn refresh_if_due(&mut self, source: &Source) -> Result<(), Failure> {
        if let Some(window) = self.window {
            self.progress.update(&format!(
                "watching, {:.0} of {:.0} s",
                self.begun.elapsed().as_secs_f64(),
                window.as_secs_f64()
            ));
        }
        if self.refreshed_at.elapsed() < self.every() {
            return Ok(());
        }
        self.look(source)
    }

    /// Takes a report, and shows it where one is shown.
    fn look(&mut self, source: &Source) -> Result<(), Failure> {
        self.refreshed_at = Instant::now();
        if matches!(self.interim, Interim::Silent) {
            // Many reports a minute of which only the owners are read: no copies.
            let reports = source.latest()?;
            self.recorder.remember_owners(reports.iter().flat_map(|one| &one.destinations));
            return Ok(());
        }
        let report = source.snapshot()?;
        let watched = report.window;
        match &mut self.interim {
            Interim::Silent => {}
            Interim::Whole => {
                self.progress.clear();
                print_json(&self.recorder.record(report, watched))?;
            }
            Interim::Recent { recent, .. } => {
                self.progress.clear();
                let record = self.recorder.record(recent.of(&report), watched);
                self.screen.refresh(&record)?;
            }
            Interim::Served { recent, exporter } => {
                let (record, numbers) = self.recorder.numbered(recent.of(&report), watched);
                exporter.take(&report, &record, &numbers);
            }
        }
        Ok(())
    }

    /// Shows the last report, which is about the whole watch.
    fn finish(mut self, report: HostReport) -> Result<WatchRecord, Failure> {
        self.progress.clear();
        let watched = report.window;
        let record = self.recorder.record(report, watched);
        match &self.interim {
            Interim::Served { exporter, .. } => exporter.end(),
            _ => show(&record, self.format, &mut self.screen)?,
        }
        Ok(record)
    }
}
