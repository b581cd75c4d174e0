//! The outcome of a load as a document, `keepwarm.bench.closing/1`, and as text.

use std::fmt::Write;

use keepwarm_testkit::closing::Seen;
use serde::Serialize;

use crate::clients::GO;
use crate::closing::load::Outcome;
use crate::row::Skipped;

pub(crate) const SCHEMA: &str = "keepwarm.bench.closing/1";

/// One client against one habit of the server.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    shape: String,
    client: String,
    gets: u64,
    posts: u64,
    /// GETs for which the caller got an error.
    failed_gets: u64,
    /// POSTs for which the caller got an error.
    failed_posts: u64,
    /// POSTs that reached the server more than once.
    doubled_posts: u64,
    /// GETs that reached the server more than once.
    repeated_gets: u64,
    /// Responses that were meant for another request.
    wrong_responses: u64,
    /// Requests that reached the server and that it left unanswered.
    unanswered: u64,
    /// Connections that the server closed.
    closed_by_server: u64,
    /// Connections that the server accepted.
    opened: u64,
}

impl Row {
    pub(crate) fn new(shape: &str, client: &str, outcome: Outcome, seen: Seen) -> Self {
        Self {
            shape: shape.to_owned(),
            client: client.to_owned(),
            gets: outcome.gets,
            posts: outcome.posts,
            failed_gets: outcome.failed_gets,
            failed_posts: outcome.failed_posts,
            doubled_posts: seen.doubled_posts,
            repeated_gets: seen.doubled_others,
            wrong_responses: outcome.wrong,
            unanswered: seen.unanswered,
            closed_by_server: seen.closed,
            opened: seen.accepted,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Document {
    schema: &'static str,
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
}

impl Document {
    /// `no_go` says why Go is not among the rows.
    pub(crate) fn new(rows: Vec<Row>, no_go: Option<String>) -> Self {
        let skipped = no_go.map(|why| Skipped { client: GO.to_owned(), why });
        Self { schema: SCHEMA, rows, skipped: skipped.into_iter().collect() }
    }

    pub(crate) fn in_words(&self) -> String {
        let mut text = "the server closes idle connections without a word; counts\n".to_owned();
        let mut shape = "";
        for row in &self.rows {
            if row.shape != shape {
                shape = &row.shape;
                // Writing to a string does not fail.
                let _ = write!(
                    text,
                    "\n{shape}: {}\n{:<9}{:>7}{:>7}{:>13}{:>14}{:>15}{:>12}{:>15}{:>8}\n",
                    match shape {
                        "after-1s" => "at 1 s of idling, which the next requests collide with",
                        _ => "right behind a response, later, or when a request has come",
                    },
                    "client",
                    "GETs",
                    "POSTs",
                    "failed GETs",
                    "failed POSTs",
                    "doubled POSTs",
                    "unanswered",
                    "closed by it",
                    "opened",
                );
            }
            let _ = writeln!(
                text,
                "{:<9}{:>7}{:>7}{:>13}{:>14}{:>15}{:>12}{:>15}{:>8}",
                row.client,
                row.gets,
                row.posts,
                row.failed_gets,
                row.failed_posts,
                row.doubled_posts,
                row.unanswered,
                row.closed_by_server,
                row.opened,
            );
            if row.wrong_responses > 0 {
                let _ = writeln!(text, "{}: {} wrong responses", row.client, row.wrong_responses);
            }
        }
        for skipped in &self.skipped {
            let _ = write!(text, "\n{}: not available here: {}\n", skipped.client, skipped.why);
        }
        text
    }
}
