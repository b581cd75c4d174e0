//! `just bench-closing`: a server that closes its idle connections without a word, and what that
//! costs the callers of each client. Counts, no times: nothing here needs a quiet machine.

mod clients;
pub(crate) mod load;
mod row;

use std::time::Duration;

use keepwarm_testkit::closing::{ClosingServer, Habit};

use crate::clients::{Failure, GO};
use crate::go;

use clients::{Asker, Keepwarm, Reqwest};
use load::{Load, Outcome};
use row::{Document, Row};

/// The two habits of the server, by name, and the load that meets each.
const SHAPES: [(&str, Habit, Load); 2] = [
    ("after-1s", Habit::AfterIdle(Duration::from_secs(1)), Load::Rounds { rounds: 8, lanes: 100 }),
    ("at-random", Habit::AtRandom, Load::Steady { lanes: 16, requests: 250 }),
];

/// A client that takes longer for one shape is given up: something hangs. Six of them and the Go
/// build stay below a minute as it is.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs every client against both habits, and prints what came of it.
pub(crate) fn run<'a>(words: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut json = false;
    for word in words {
        match word {
            "--json" => json = true,
            _ => return Err(format!("closing takes --json, not {word:?}").into()),
        }
    }
    let go = go::build();
    let mut rows = Vec::new();
    for (shape, habit, load) in SHAPES {
        rows.push(here("keepwarm", shape, habit, load, Keepwarm::new())?);
        rows.push(here("reqwest", shape, habit, load, Reqwest::new()?)?);
        if go.is_ok() {
            rows.push(play(GO, shape, habit, |origin| go::closing(origin, load, LIMIT))?);
        }
    }
    let document = Document::new(rows, go.err());
    if json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", document.in_words());
    }
    Ok(())
}

/// A client of this process.
fn here(
    name: &str,
    shape: &str,
    habit: Habit,
    load: Load,
    client: impl Asker,
) -> Result<Row, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    play(name, shape, habit, |origin| {
        runtime.block_on(async { tokio::time::timeout(LIMIT, load.run(client, origin)).await? })
    })
}

fn play(
    client: &str,
    shape: &str,
    habit: Habit,
    load: impl FnOnce(&str) -> Result<Outcome, Failure>,
) -> Result<Row, Failure> {
    eprintln!("{shape}: {client}");
    // The same chances for each client.
    let server = ClosingServer::start(habit, 1);
    let outcome = load(&server.origin()).map_err(|error| format!("{client}, {shape}: {error}"))?;
    Ok(Row::new(shape, client, outcome, server.seen()))
}
