//! Asks which workers are there. Owns the question, and the table of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
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
        // The server itself answers a question without subscribers, with no content.
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

fn table(workers: &BTreeMap<String, Presence>) -> String {
    let free = workers.values().filter(|worker| worker.busy.is_none()).count();
    let mut text = format!("{} workers, {free} free\n\n", workers.len());
    let width = workers.keys().map(String::len).max().unwrap_or(0).max(6);
    let header = ("worker", "cores", "max rate", "max conn");
    text += &format!(
        "{:width$}  {:>5}  {:>9}  {:>8}  version, state, allowed targets\n",
        header.0, header.1, header.2, header.3
    );
    for worker in workers.values() {
        let state = match &worker.busy {
            Some(run) => format!("in run {run}"),
            None => "free".to_owned(),
        };
        text += &format!(
            "{:width$}  {:>5}  {:>9}  {:>8}  {}, {state}, {}\n",
            worker.worker,
            worker.cores,
            worker.max_rate,
            worker.max_connections,
            worker.version,
            worker.allowed.join(" ")
        );
    }
    text
}
