//! The page of a watch: the answer, the services, their findings, and the course of JSON lines.

use keepwarm_record::watch::{DestinationRecord, FindingKind, WatchRecord};
use serde::Serialize;
use serde_json::Value;

use super::figures::Figures;
use super::write::{Chart, Html, escape, text_cell};
use crate::show;

/// Services whose course is drawn, and whose ages of TIME_WAITs are.
const DRAWN: usize = 6;

/// The most points of a course; of more, every second one is dropped.
const MAX_POINTS: usize = 3600;

/// The course of a watch: a row for each of its JSON lines, with a number for each service.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Course {
    /// Services, the busiest of the last line first.
    names: Vec<String>,
    at_s: Vec<f64>,
    opened: Vec<Vec<Option<u64>>>,
    closed: Vec<Vec<Option<u64>>>,
    time_wait: Vec<Vec<Option<u64>>>,
    established: Vec<Vec<Option<u64>>>,
    /// Lines between two that are kept.
    #[serde(skip)]
    step: usize,
    #[serde(skip)]
    skipped: usize,
}

impl Course {
    /// Begins the course that ends with this record.
    pub(crate) fn ending_with(last: &WatchRecord) -> Self {
        let names = last.destinations.iter().take(DRAWN).map(name).collect();
        Self { names, step: 1, ..Self::default() }
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: &WatchRecord) {
        self.skipped += 1;
        if self.skipped < self.step {
            return;
        }
        self.skipped = 0;
        let of = |value: fn(&DestinationRecord) -> Option<u64>| -> Vec<Option<u64>> {
            let find = |wanted: &String| line.destinations.iter().find(|one| name(one) == *wanted);
            self.names.iter().map(|name| find(name).and_then(value)).collect()
        };
        let opened = of(|one| one.opened);
        let closed = of(|one| one.closed.map(|closed| closed.total()));
        let time_wait = of(|one| one.time_wait);
        let established = of(|one| Some(one.established));
        self.opened.push(opened);
        self.closed.push(closed);
        self.time_wait.push(time_wait);
        self.established.push(established);
        self.at_s.push(line.watched_s.unwrap_or(self.at_s.len() as f64));
        if self.at_s.len() > MAX_POINTS {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        let mut index = 0;
        let mut is_kept = || {
            index += 1;
            index % 2 == 1
        };
        let keep: Vec<bool> = self.at_s.iter().map(|_| is_kept()).collect();
        let mut of = keep.iter();
        self.at_s.retain(|_| *of.next().unwrap_or(&true));
        for rows in [&mut self.opened, &mut self.closed, &mut self.time_wait, &mut self.established]
        {
            let mut of = keep.iter();
            rows.retain(|_| *of.next().unwrap_or(&true));
        }
        self.step *= 2;
    }

    /// Returns true if there is a course to draw.
    const fn is_drawn(&self) -> bool {
        self.at_s.len() > 1 && !self.names.is_empty()
    }
}

/// A service and the side that it is seen from.
fn name(one: &DestinationRecord) -> String {
    let remote = one.remote.map_or_else(|| "the quietest".to_owned(), |remote| remote.to_string());
    format!("{remote} ({})", one.side.as_str())
}

pub(super) fn body(record: &WatchRecord, value: &Value, course: Option<&Course>) -> Html {
    let mut html = Html::new();
    html.title(&show::watch::answer(record));
    let length = record.watched_s.map_or_else(|| "one dump".to_owned(), |s| format!("{s:.1} s"));
    let scope = record.scope.map_or_else(|| "everything".to_owned(), |scope| scope.describe());
    let level = record.level;
    html.of_kind("quiet", &format!("{scope}, {length}, level {level} ({})", level.sources()));
    if !record.limitations.is_empty() {
        html.of_kind("quiet", &format!("Not seen: {}.", record.limitations));
    }
    for finding in &record.host_findings {
        html.verdict("bad", &finding.code, &[finding.sentences()]);
    }
    if let Some(why) = &record.empty_because {
        html.paragraph(why);
    }
    if course.is_some_and(Course::is_drawn) {
        html.heading("Course");
        for (what, title, says) in [
            (
                "opened",
                "Opened in the window",
                "Connections opened, by service, at each line of the watch.",
            ),
            ("closed", "Closed in the window", "Connections closed, by service."),
            ("time_wait", "TIME_WAIT", "Sockets in TIME_WAIT on this host, by service."),
            ("established", "ESTABLISHED", "Sockets in ESTABLISHED, by service."),
        ] {
            let more = format!("data-what=\"{what}\"");
            html.chart(&Chart { name: "course", of: "0", title, says, more: &more });
        }
    }
    services(&mut html, record, value);
    for (at, one) in record.destinations.iter().enumerate() {
        service(&mut html, one, at);
    }
    html
}

fn services(html: &mut Html, record: &WatchRecord, value: &Value) {
    let rows: Vec<Vec<String>> = record
        .destinations
        .iter()
        .enumerate()
        .map(|(at, one)| {
            let root = format!("/destinations/{at}");
            let figures = Figures::new(value, 0, &root);
            let owner = one
                .owners
                .first()
                .and_then(|owner| Some(format!("{} [{}]", owner.process.as_deref()?, owner.pid)));
            let codes: Vec<&str> =
                one.findings.iter().map(|finding| finding.code.as_str()).collect();
            vec![
                escape(&name(one)),
                figures.count("/opened"),
                figures.count("/closed/local_fin"),
                figures.count("/closed/remote_fin"),
                figures.count("/closed/local_rst"),
                figures.count("/closed/remote_rst"),
                figures.count("/established"),
                figures.count("/close_wait"),
                figures.count("/time_wait"),
                figures.decimal("/requests_per_connection/mean"),
                text_cell(&owner.unwrap_or_default()),
                text_cell(&codes.join(", ")),
            ]
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    html.heading("Services");
    let head = [
        "service",
        "opened",
        "our FIN first",
        "their FIN first",
        "our RST",
        "their RST",
        "ESTABLISHED",
        "CLOSE_WAIT",
        "TIME_WAIT",
        "requests per connection",
        "owner",
        "findings",
    ];
    html.table("Connections by service", &head, &rows);
}

fn service(html: &mut Html, one: &DestinationRecord, at: usize) {
    if one.findings.is_empty() {
        return;
    }
    html.heading(&name(one));
    for finding in &one.findings {
        let shade = match finding.kind() {
            FindingKind::Fault => "bad",
            FindingKind::Sound => "good",
            FindingKind::Undecided => "care",
        };
        html.verdict(shade, &finding.code, &[finding.sentences()]);
    }
    let closes =
        one.closed_first_by_second.as_ref().is_some_and(|ages| ages.iter().any(|n| *n > 0));
    if closes && at < DRAWN {
        let says =
            "TIME_WAITs by age: connections that this side closed first, in each of the last 60 s.";
        let of = at.to_string();
        html.chart(&Chart {
            name: "age",
            of: &of,
            title: "Closes of the last minute",
            says,
            more: "",
        });
    }
}

#[cfg(test)]
mod tests {
    use keepwarm_record::watch::{Level, Mode};

    use super::*;

    #[test]
    fn long_course_keeps_its_shape() {
        let record = WatchRecord::new(Level::L1, Mode::of_seconds(1.0));
        let mut course = Course::ending_with(&record);
        for second in 0..10_000 {
            let mut line = record.clone();
            line.watched_s = Some(f64::from(second));
            course.add(&line);
        }
        assert!(course.at_s.len() <= MAX_POINTS && course.at_s.len() > MAX_POINTS / 4);
        assert_eq!(course.at_s.len(), course.opened.len());
        assert!(course.at_s.is_sorted());
        assert!(course.at_s.last().is_some_and(|last| *last > 9_990.0));
    }
}
