//! Lets the clients take turns, each measurement in a process of its own.

use std::process::{Command, Stdio};

use crate::clients::{BARE_SOCKET, CLIENTS, FEATURED, Failure, GO, H2_SPAWNED};
use crate::row::{Document, Row, SCHEMA, Skipped, Summary};
use crate::scenario::{Scenario, Wire};
use crate::{go, nghttpd, place, table};

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) json: bool,
    pub(crate) rounds: usize,
    /// Of the usual number of requests.
    pub(crate) percent: usize,
    /// None means all.
    pub(crate) scenarios: Vec<Scenario>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { json: false, rounds: 5, percent: 100, scenarios: Vec::new() }
    }
}

/// Measures everything, and prints it.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    let (clients, mut skipped) = available();
    let mut scenarios = match settings.scenarios.as_slice() {
        [] => Scenario::all(),
        chosen => chosen.to_vec(),
    };
    if let Err(why) = nghttpd::find() {
        scenarios.retain(|scenario| scenario.shape.wire != Wire::Nghttpd);
        skipped.push(Skipped { client: "nghttpd".to_owned(), why });
    }
    let mut rows = Vec::new();
    for &scenario in &scenarios {
        let is_featured = scenario.shape.wire == Wire::Featured;
        let clients = if is_featured { FEATURED } else { &clients[..] };
        rows.extend(play(scenario, clients, settings)?);
    }
    let document = Document {
        schema: SCHEMA,
        rounds: settings.rounds,
        requests_percent: settings.percent,
        cores: place::cores().len(),
        rows,
        skipped,
    };
    if settings.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        print!("{}", table::of(&document, &scenarios));
    }
    Ok(())
}

fn available() -> (Vec<&'static str>, Vec<Skipped>) {
    match go::build() {
        Ok(()) => (CLIENTS.to_vec(), Vec::new()),
        Err(why) => {
            let clients = CLIENTS.iter().copied().filter(|&client| client != GO).collect();
            (clients, vec![Skipped { client: GO.to_owned(), why }])
        }
    }
}

/// A B C D E, A B C D E, ...: what disturbs the machine for a while disturbs all of them.
fn play(
    scenario: Scenario,
    clients: &[&str],
    settings: &Settings,
) -> Result<Vec<Summary>, Failure> {
    let mut rows = Vec::new();
    for round in 1..=settings.rounds {
        eprintln!("{}, round {round} of {}", scenario.name(), settings.rounds);
        for client in clients.iter().filter(|client| measures(client, scenario)) {
            rows.push(measure(client, scenario, settings.percent)?);
        }
    }
    Ok(clients
        .iter()
        .filter(|client| measures(client, scenario))
        .map(|client| {
            let own: Vec<Row> =
                rows.iter().filter(|row: &&Row| row.client == *client).cloned().collect();
            Summary::of(&own, &rows)
        })
        .collect())
}

fn measures(client: &str, scenario: Scenario) -> bool {
    match client {
        BARE_SOCKET => scenario.is_one_stream(),
        H2_SPAWNED => scenario.http2().is_some(),
        _ => true,
    }
}

fn measure(client: &str, scenario: Scenario, percent: usize) -> Result<Row, Failure> {
    // It ends by itself, when it hangs too; and with this process, however that ends.
    let output = Command::new(std::env::current_exe()?)
        .args(["run", client, &scenario.name(), "--percent", &percent.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{client} in {}: {}", scenario.name(), output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
