//! `keepwarm watch`: who opens, who closes first, why, and when the ports run out.
//!
//! Owns the modes: one look, a window, or live until interrupted; and what is left out.

mod assert;
mod filter;
mod netns;
mod observe;
mod owner;
mod recent;
mod record;
mod runtime;
mod source;
mod text;
mod unseen;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use keepwarm_diagnose::Finding;
use keepwarm_sockets::{Filter, HostReport, Polls, Scope, SelfTest, Tracing};

use self::observe::{Judge, Judged};
use self::owner::Whose;
use self::recent::Recent;
use self::source::Source;
use self::text::Page;
use crate::args::{WatchFormat, WatchLevel, WatchOptions};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::{interrupt, output};

/// How often a live table is drawn, and a line of JSON written.
const REFRESH: Duration = Duration::from_secs(1);
/// How often a plain, live report is printed.
const PRINT_EVERY: Duration = Duration::from_secs(10);
/// How often the end of a wait is looked for.
const GLANCE: Duration = Duration::from_millis(50);
/// How long the end of a window waits for what is under way.
const SETTLE: Duration = Duration::from_millis(300);
/// As wide as text gets where nobody says.
const COLUMNS: usize = 100;

/// What is told: by the text, by the JSON.
#[derive(Debug)]
struct Report {
    level: Level,
    /// Why it is not the level that was asked for.
    refused: Option<String>,
    /// Events of traces that were read, and those that were lost; `None` where nothing is traced.
    trace_events: Option<u64>,
    lost_traces: Option<u64>,
    /// Zero for one look.
    window: Duration,
    /// How long the watch has lasted, of which the window is the end.
    watched: Duration,
    lost_events: u64,
    unattributed_aborts: u64,
    /// At level L0: by what it looks, and what the counters say.
    looks: Option<Polls>,
    /// What the counters of the whole network namespace show, at level L0.
    host: Vec<Finding>,
    /// SelfTest of the classifier that do not hold on this kernel; `None`: not tested (yet).
    broken_rules: Option<Vec<String>>,
    /// Why they were not, where they should have been.
    untested: Option<String>,
    destinations: Vec<Judged>,
    /// Destinations left out because nobody knows whose they are.
    nobodys: usize,
    /// What there is to say where there is no destination.
    nothing: String,
}

/// What no look tells, by whatever it was taken.
const ONE_LOOK_IS_BLIND_TO: &str = "who closed what the other side holds, resets, what was carried, \
                                    processes that were gone: --for 10s sees more";

impl Report {
    /// What it leaves open.
    fn blind_to(&self) -> &'static str {
        if self.window.is_zero() { ONE_LOOK_IS_BLIND_TO } else { self.level.blind_to() }
    }
}

/// What the kernel was asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Counters, and looks at the table of sockets.
    L0,
    /// Destroy events and dumps.
    L1,
    /// The same, and traces of connections' states and resets.
    L2,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::L0 => "level L0 (counters, and looks at the table of sockets)",
            Self::L1 => "level L1 (destroy events and dumps, no privilege needed)",
            Self::L2 => "level L2 (destroy events, dumps, and traces, as root)",
        }
    }

    const fn blind_to(self) -> &'static str {
        match self {
            Self::L0 => {
                "closes themselves, so not how many, by whom, by FIN or reset, what was carried, and \
                 idle times; connections that come and go between two looks"
            }
            Self::L1 => {
                "the process of a connection too short to be met alive, why a reset was sent, \
                 lifetimes"
            }
            Self::L2 => {
                "why another host sent a reset, the process of a server's end that was reset, what \
                 was opened before the window"
            }
        }
    }
}

pub(crate) fn run(options: &WatchOptions) -> Result<(), Failure> {
    let scope = filter::parse(&options.filter).map_err(|error| Failure::new(Exit::Usage, error))?;
    assert::check(&options.assertions, &scope)?;
    match &options.netns {
        Some(name) => netns::within(name, || run_here(options, scope)),
        None => run_here(options, scope),
    }
}

fn run_here(options: &WatchOptions, scope: Scope) -> Result<(), Failure> {
    if let Some(state) = options.count {
        return count_state(state.into(), scope, options.level);
    }
    let mut face = Face::new(options, scope);
    face.whose.check()?;
    if options.once {
        let (traffic, refused) = source::look_once(options.level, scope)?;
        face.refused = refused;
        let report = face.show(&traffic)?;
        return assert::judge(&report, &options.assertions);
    }
    interrupt::watch(2)?;
    if options.level != WatchLevel::L0 {
        // Before the window, so that the test's own connections are not in it.
        match SelfTest::check() {
            Ok(rules) => face.rules = Some(rules),
            Err(error) => face.untested = Some(error.to_string()),
        }
    }
    let (mut source, refused) = Source::start(options.level, scope)?;
    face.refused = refused;
    let left = |begun: Instant| match options.window {
        Some(window) => window.saturating_sub(begun.elapsed()),
        None => GLANCE,
    };
    // Whoever waits for the window to begin reads this.
    face.progress.note("watching; Ctrl-C ends it (`keepwarm explain columns` has the words)");
    let begun = Instant::now();
    while !interrupt::happened()
        && !source.has_ended()
        && !left(begun).is_zero()
        && output::is_read()
    {
        std::thread::sleep(GLANCE.min(left(begun)));
        source.look_if_due()?;
        face.glance(&source)?;
    }
    let traffic = source.finish(SETTLE)?;
    face.finished = true;
    let report = face.show(&traffic)?;
    assert::judge(&report, &options.assertions)?;
    // A live watch has no other end than being interrupted.
    if options.window.is_some() && interrupt::happened() {
        Err(interrupt::failure())
    } else {
        Ok(())
    }
}

/// The post's `netstat | grep | wc`: one number, both ends of this host's connections counted as
/// the rows they are.
fn count_state(
    state: keepwarm_sockets::State,
    scope: Scope,
    level: WatchLevel,
) -> Result<(), Failure> {
    let filter = Filter { states: state.into(), either_port: scope.port, ..Filter::default() };
    let found = source::count(level, &filter, &scope)?;
    output::print(&format!("{found}\n"))
}

/// Where it is shown, and in which form.
struct Face {
    format: WatchFormat,
    /// A report each second, in the place of the last one.
    in_place: bool,
    /// How often there is a report before the last one, if at all.
    every: Option<Duration>,
    /// A live report for people is about what happened lately.
    recent: Option<Recent>,
    judge: Judge,
    whose: Whose,
    scope: Scope,
    rules: Option<SelfTest>,
    /// Why they were not tested.
    untested: Option<String>,
    /// Why the level is not the one that was asked for.
    refused: Option<String>,
    shown_at: Instant,
    /// Lines of the report on the screen.
    lines: usize,
    /// The next report is the last.
    finished: bool,
    progress: Progress,
    window: Option<Duration>,
    begun: Instant,
}

impl Face {
    fn new(options: &WatchOptions, scope: Scope) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        let live = !options.once && options.window.is_none();
        let every = match options.format {
            WatchFormat::Jsonl => Some(REFRESH),
            WatchFormat::Text if live => Some(if terminal { REFRESH } else { PRINT_EVERY }),
            WatchFormat::Text | WatchFormat::Json => None,
        };
        Self {
            format: options.format,
            in_place: live && terminal && options.format == WatchFormat::Text,
            every,
            recent: (live && options.format == WatchFormat::Text).then(Recent::default),
            judge: Judge::new(),
            whose: Whose::new(options),
            scope,
            rules: None,
            untested: None,
            refused: None,
            shown_at: Instant::now(),
            lines: 0,
            finished: false,
            progress: Progress::new(),
            window: options.window,
            begun: Instant::now(),
        }
    }

    /// Says how far a window is, and shows a report when one is due.
    fn glance(&mut self, source: &Source) -> Result<(), Failure> {
        if let Some(window) = self.window {
            self.progress.update(&format!(
                "watching, {:.0} of {:.0} s",
                self.begun.elapsed().as_secs_f64(),
                window.as_secs_f64()
            ));
        }
        if self.every.is_some_and(|every| self.shown_at.elapsed() >= every) {
            self.shown_at = Instant::now();
            self.show(&source.snapshot()?)?;
        } else if self.every.is_none() && self.shown_at.elapsed() >= REFRESH {
            self.shown_at = Instant::now();
            self.judge.meet(&source.snapshot()?);
        }
        Ok(())
    }

    fn show(&mut self, traffic: &HostReport) -> Result<Report, Failure> {
        self.progress.clear();
        let watched = traffic.window;
        // The last report of a watch is about all of it.
        let mut traffic = match &mut self.recent {
            Some(recent) if !self.finished => recent.of(traffic),
            _ => traffic.clone(),
        };
        if let Some(rules) = &self.rules {
            rules.apply(&mut traffic);
        }
        let mut destinations = self.judge.judge(&traffic, self.rules.as_ref());
        let nobodys = destinations.iter().filter(|one| self.whose.cannot_tell(one)).count();
        destinations.retain(|one| self.whose.owns(one));
        let (level, refused, traces) = match &traffic.tracing {
            _ if traffic.looks.is_some() => (Level::L0, self.refused.clone(), None),
            Tracing::Off => (Level::L1, None, None),
            Tracing::Refused(error) => (Level::L1, Some(error.to_string()), None),
            Tracing::On { events, lost_events } => (Level::L2, None, Some((*events, *lost_events))),
        };
        let report = Report {
            level,
            refused,
            trace_events: traces.map(|(read, _)| read),
            lost_traces: traces.map(|(_, lost)| lost),
            window: traffic.window,
            watched,
            lost_events: traffic.lost_events,
            unattributed_aborts: traffic.unattributed_aborts,
            looks: traffic.looks,
            host: observe::host(&traffic),
            broken_rules: self.rules.as_ref().filter(|_| level != Level::L0).map(broken),
            untested: self.untested.clone().filter(|_| level != Level::L0),
            nobodys,
            nothing: self.nothing(&destinations),
            destinations,
        };
        match self.format {
            WatchFormat::Text => self.draw(&report)?,
            WatchFormat::Json | WatchFormat::Jsonl => output::print(&record::to_json(&report)?)?,
        }
        Ok(report)
    }

    fn nothing(&self, destinations: &[Judged]) -> String {
        if !destinations.is_empty() {
            return String::new();
        }
        let what = format!("No TCP connection in scope ({})", filter::describe(&self.scope));
        match self.whose.nothing_of() {
            Some(why) => format!("{what}: {why}."),
            None => format!("{what}."),
        }
    }

    /// The last report is there to stay, so it need not fit.
    fn draw(&mut self, report: &Report) -> Result<(), Failure> {
        let fits = self.in_place && !self.finished;
        let text = text::render(report, output::colour(), page(fits));
        let up = if self.lines > 0 { format!("\x1b[{}F", self.lines) } else { String::new() };
        if !fits {
            let clear = if self.in_place { format!("{up}\x1b[J") } else { String::new() };
            return output::print(&format!("{clear}{text}"));
        }
        let (columns, rows) = screen();
        // A line that wraps, or scrolls away, could not be drawn over.
        let lines: Vec<String> =
            text.lines().take(rows.saturating_sub(1)).map(|line| cut(line, columns)).collect();
        self.lines = lines.len();
        output::print(&format!("{up}\x1b[J{}\n", lines.join("\n")))
    }
}

/// The room on the terminal; a file has room for everything.
fn page(fits: bool) -> Page {
    if !std::io::stdout().is_terminal() {
        return Page { columns: COLUMNS, table_columns: usize::MAX, rows: None };
    }
    let (columns, rows) = screen();
    let rows = fits.then(|| rows.saturating_sub(1));
    Page { columns: columns.min(COLUMNS), table_columns: columns, rows }
}

fn broken(rules: &SelfTest) -> Vec<String> {
    rules.broken().into_iter().map(str::to_owned).collect()
}

/// Columns and rows of the terminal.
fn screen() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (COLUMNS, 24),
    }
}

/// As much of a line as fits, colours not counted.
fn cut(line: &str, columns: usize) -> String {
    let mut cut = String::new();
    let (mut width, mut escaped) = (0, false);
    for letter in line.chars() {
        escaped |= letter == '\x1b';
        if escaped {
            escaped = letter != 'm';
        } else if width == columns {
            continue;
        } else {
            width += 1;
        }
        cut.push(letter);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it() {
        assert_eq!(cut("abcdef", 4), "abcd");
        assert_eq!(cut("\x1b[1;31mabcdef\x1b[0m", 4), "\x1b[1;31mabcd\x1b[0m");
        assert_eq!(cut("abc", 4), "abc");
    }
}
