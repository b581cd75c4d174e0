//! Asks which workers are there. Owns the question, and the table of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use keepwarm_record::numbers::thousands;
use tokio::time::{Instant, timeout_at};

use crate::args::LookOptions;
use crate::exit::{Exit, Failure};
use crate::link::Link;
use crate::print;
use crate::protocol::{LOOK, MAX_WORKERS, Presence};

/// Prints the workers that answer.
pub(crate) async fn run(options: &LookOptions) -> Result<(), Failure> {
    let link = Link::open(&options.server, "keepwarm look").await?;
    let workers = ask(&link, options.window, MAX_WORKERS).await?;
    if workers.is_empty() {
        return Err(no_worker(&link));
    }
    print(&table(&workers))
}

/// The failure of a server at which no worker waits.
pub(crate) fn no_worker(link: &Link) -> Failure {
    let way_out = "start some: keepwarm fleet worker --nats URL --allow-target NETWORK:PORT";
    Failure::new(Exit::Unreachable, format!("{}: no worker answers; {way_out}", link.url()))
}

/// Collects the workers that answer within `window`, or until `enough` of them are free.
pub(crate) async fn ask(
    link: &Link,
    window: Duration,
    enough: usize,
) -> Result<BTreeMap<String, Presence>, Failure> {
    let failed = |error: &dyn std::fmt::Display| link.failed("cannot ask for workers", &error);
    let inbox = link.client.new_inbox();
    let mut replies = link.client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
    let question = link.client.publish_with_reply(LOOK, inbox, "".into()).await;
    question.map_err(|error| failed(&error))?;
    link.client.flush().await.map_err(|error| failed(&error))?;
    let deadline = Instant::now() + window;
    let mut workers = BTreeMap::new();
    while let Ok(Some(reply)) = timeout_at(deadline, replies.next()).await {
        // Where no worker is subscribed, the server itself sends an empty reply.
        let Ok(presence) = serde_json::from_slice::<Presence>(&reply.payload) else { continue };
        if workers.len() < MAX_WORKERS {
            workers.insert(presence.worker.clone(), presence);
        }
        if workers.values().filter(|worker| worker.busy.is_none()).count() >= enough {
            break;
        }
    }
    Ok(workers)
}

/// Columns of the table: those of the narrowest usual terminal.
const COLUMNS: usize = 80;

/// The widest name that stands in the line of its numbers; a longer one has a line of its own.
const NAME: usize = 18;

fn table(workers: &BTreeMap<String, Presence>) -> String {
    let free = workers.values().filter(|worker| worker.busy.is_none()).count();
    let mut text = format!("{} workers, {free} free\n", workers.len());
    text += &grouped("", workers, |worker| worker.version.clone());
    text += &grouped("may load ", workers, |worker| worker.allowed.join(" "));
    let width = workers.keys().map(|name| name.len().min(NAME)).max().unwrap_or(0).max(6);
    text += &format!(
        "\n{:width$}  {:>5}  {:>10}  {:>9}  {:>7}  state\n",
        "worker", "cores", "max rate", "max conn", "longest"
    );
    for worker in workers.values() {
        let state = match &worker.busy {
            Some(run) => format!("in {run}"),
            None => "free".to_owned(),
        };
        let mut name = worker.worker.as_str();
        if name.len() > NAME {
            text += &format!("{name}\n");
            name = "";
        }
        let row = format!(
            "{name:width$}  {:>5}  {:>10}  {:>9}  {:>7}  ",
            worker.cores,
            rate(worker.max_rate),
            thousands(worker.max_connections),
            length(worker.max_duration_s),
        );
        let gap = if row.len() + state.len() > COLUMNS { "\n    " } else { "" };
        text += &format!("{row}{gap}{state}\n");
    }
    text
}

/// Says a fact that many workers share once for all of them, in lines that fit.
fn grouped(
    before: &str,
    workers: &BTreeMap<String, Presence>,
    fact: impl Fn(&Presence) -> String,
) -> String {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for worker in workers.values() {
        groups.entry(fact(worker)).or_default().push(&worker.worker);
    }
    let is_one = groups.len() == 1;
    let mut text = String::new();
    for (fact, names) in groups {
        let names = if is_one { String::new() } else { format!("{}: ", names.join(", ")) };
        text += &wrapped(&format!("{names}{before}{fact}"));
    }
    text
}

/// Breaks a text at spaces into lines that fit; all but the first are indented.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let fits = length + 1 + word.chars().count() <= COLUMNS;
        let gap = if length == 0 {
            ""
        } else if fits {
            " "
        } else {
            "\n  "
        };
        length = if fits || length == 0 { length + gap.len() } else { 2 } + word.chars().count();
        lines += gap;
        lines += word;
    }
    lines + "\n"
}

fn rate(rate: f64) -> String {
    if rate.fract() == 0.0 { thousands(rate as u64) } else { rate.to_string() }
}

/// Writes a length of time in its largest unit that is whole: `10m`, `90s`.
fn length(seconds: f64) -> String {
    let whole = seconds as u64;
    match (whole % 3600, whole % 60) {
        (0, _) if whole > 0 => format!("{}h", whole / 3600),
        (_, 0) if whole > 0 => format!("{}m", whole / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PROTOCOL;

    fn worker(name: &str, allowed: &[&str], busy: Option<&str>) -> (String, Presence) {
        let presence = Presence {
            worker: name.to_owned(),
            version: "keepwarm 1.2.3 (0123456789ab)".to_owned(),
            protocol: PROTOCOL,
            cores: 128,
            host: "host".to_owned(),
            allowed: allowed.iter().map(|one| (*one).to_owned()).collect(),
            max_rate: 10_000_000.0,
            max_connections: 1_000_000,
            max_duration_s: 600.0,
            busy: busy.map(str::to_owned),
        };
        (name.to_owned(), presence)
    }

    #[test]
    fn shared_facts_are_told_once() {
        let allowed = ["10.0.0.0/8:80", "[fd00::/8]:*"];
        let workers =
            [worker("w1", &allowed, None), worker("w2", &allowed, Some("1700000000-4711"))];
        let expected = "\
2 workers, 1 free
keepwarm 1.2.3 (0123456789ab)
may load 10.0.0.0/8:80 [fd00::/8]:*

worker  cores    max rate   max conn  longest  state
w1        128  10,000,000  1,000,000      10m  free
w2        128  10,000,000  1,000,000      10m  in 1700000000-4711
";
        assert_eq!(table(&workers.into()), expected);
    }

    #[test]
    fn table_fits_80_columns() {
        let networks: Vec<String> = (0..20).map(|one| format!("10.{one}.0.0/16:8080")).collect();
        let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
        let (long, longer) = ("n".repeat(18), "m".repeat(64));
        let workers = [
            worker(&long, &networks, Some("1700000000-4194304")),
            worker(&longer, &["[2001:db8:1234:5678:9abc:def0:1234:5678/128]:65535"], None),
            worker("w", &networks, Some(&"r".repeat(64))),
        ];
        let text = table(&workers.into());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}\n{text}");
        }
        assert!(text.contains(&longer) && text.contains("10.19.0.0/16:8080"), "{text}");
    }
}
