//! The promises of a pooling client, written once and asked of two: keepwarm, which keeps all of it, and
//! hyper-util's legacy client, the pool under reqwest, as a check on the contracts. A contract that
//! no other client could keep would say little of ours; one that ours alone keeps is a difference,
//! and stands in [`DIFFERENCES`] with its reason.
//!
//! Everything is judged by what a server on loopback saw. No contract uses what only one of the two
//! clients can do.

#[macro_use]
mod ensure;

mod dropped;
mod framing;
mod idle;
mod load;
mod retries;
mod reuse;
mod subject;
mod uploads;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ensure::Kept;
use subject::{HyperUtil, Keepwarm};

/// Contracts that the legacy client does not promise, and why that is so.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "a_small_body_dropped_before_it_came_leaves_its_connection",
        "What has arrived when a body is dropped is read; the rest is not waited for.",
    ),
    (
        "a_length_beside_chunks_ends_its_connection",
        "hyper reads such a response as chunked and keeps the connection; RFC 9112, 6.3, asks to close it.",
    ),
    (
        "a_get_that_meets_a_close_is_sent_again",
        "Only a request of which nothing was sent goes out again.",
    ),
    (
        "a_post_with_an_idempotency_key_is_sent_again",
        "Only a request of which nothing was sent goes out again.",
    ),
    (
        "a_dial_whose_request_was_dropped_serves_the_next_one",
        "A dial belongs to its request, and is dropped with it.",
    ),
    (
        "a_stuck_upload_does_not_hold_its_connection_for_ever",
        "The connection waits for the rest of the upload without a limit, in a task that nobody can end.",
    ),
];

/// Contracts that it keeps or breaks as threads happen to run.
const BY_CHANCE: &[(&str, &str)] = &[
    (
        "a_steady_load_opens_no_more_than_its_peak_on_several_threads",
        "A connection comes back by a task of its own, later than the end of its body; a request that is faster dials.",
    ),
    (
        "larger_bodies_open_no_more_than_their_peak_on_one_thread",
        "A connection comes back by a task of its own, later than the end of its body; a request that is faster dials.",
    ),
    (
        "bursts_open_no_more_than_the_largest_of_them_on_several_threads",
        "A connection comes back by a task of its own, later than the end of its body; a request that is faster dials.",
    ),
];

struct Contract {
    name: &'static str,
    threads: usize,
    ours: fn() -> Running,
    peers: fn() -> Running,
}

type Running = Pin<Box<dyn Future<Output = Kept> + Send>>;

macro_rules! contracts {
    ($($threads:literal $topic:ident::$name:ident;)*) => {
        &[$(Contract {
            name: stringify!($name),
            threads: $threads,
            ours: || Box::pin($topic::$name::<Keepwarm>()),
            peers: || Box::pin($topic::$name::<HyperUtil>()),
        },)*]
    };
}

/// Each with the number of threads that it is kept on.
const CONTRACTS: &[Contract] = contracts! {
    1 load::a_steady_load_opens_no_more_than_its_peak_on_one_thread;
    4 load::a_steady_load_opens_no_more_than_its_peak_on_several_threads;
    1 load::larger_bodies_open_no_more_than_their_peak_on_one_thread;
    1 load::a_cold_start_opens_no_more_than_its_peak_on_one_thread;
    4 load::a_cold_start_opens_no_more_than_its_peak_on_several_threads;
    1 load::bursts_open_no_more_than_the_largest_of_them_on_one_thread;
    4 load::bursts_open_no_more_than_the_largest_of_them_on_several_threads;
    1 load::one_request_after_the_other_opens_one_connection_on_one_thread;
    4 load::one_request_after_the_other_opens_one_connection_on_several_threads;

    1 reuse::a_body_read_to_its_last_frame_has_returned_its_connection;
    1 reuse::a_chunked_body_read_to_its_end_has_returned_its_connection;
    1 reuse::the_answer_to_a_head_has_returned_its_connection;
    1 reuse::a_204_has_returned_its_connection;
    1 reuse::a_304_has_returned_its_connection;
    1 reuse::an_empty_body_has_returned_its_connection;
    1 reuse::a_small_body_dropped_after_it_came_leaves_its_connection;
    1 reuse::a_small_body_dropped_before_it_came_leaves_its_connection;
    1 reuse::a_large_body_dropped_early_is_not_waited_for;
    1 reuse::a_held_body_allows_a_second_connection;
    1 reuse::the_newest_idle_connection_is_used_first;
    1 reuse::an_idle_connection_serves_no_other_origin;

    1 framing::bytes_behind_a_response_end_its_connection;
    1 framing::bytes_between_responses_end_their_connection;
    1 framing::a_server_that_says_close_is_left;
    1 framing::a_request_that_says_close_is_the_last;
    1 framing::http_1_0_without_keep_alive_is_left;
    1 framing::interim_responses_are_passed_over;
    1 framing::a_truncated_body_is_an_error;
    1 framing::a_truncated_chunked_body_is_an_error;
    1 framing::two_lengths_are_refused;
    1 framing::a_length_beside_chunks_ends_its_connection;

    1 idle::a_fin_while_idle_is_noticed;
    1 idle::a_reset_while_idle_is_noticed;
    1 idle::an_idle_connection_is_closed_at_the_idle_timeout;
    1 idle::a_connection_beyond_its_time_serves_nobody;
    1 idle::over_the_idle_limit_connections_are_closed;
    1 idle::a_dropped_client_closes_its_idle_connections;

    1 retries::a_post_is_never_sent_twice;
    1 retries::a_get_that_meets_a_close_is_sent_again;
    1 retries::a_post_with_an_idempotency_key_is_sent_again;
    1 retries::a_get_whose_response_began_is_not_sent_again;
    1 retries::a_get_that_fails_on_a_new_connection_is_not_sent_again;

    1 dropped::a_dial_whose_request_was_dropped_serves_the_next_one;
    1 dropped::a_dial_that_lost_to_a_return_is_kept;
    1 dropped::a_request_dropped_midway_harms_no_other;

    1 uploads::a_response_that_overtakes_its_upload_is_delivered;
    1 uploads::a_stuck_upload_does_not_hold_its_connection_for_ever;
};

/// Longer than any of them takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs one contract on a runtime of its own.
fn judge(contract: &Contract, run: fn() -> Running) -> Kept {
    let runtime = match contract.threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        }
    }
    .expect("a runtime");
    let kept = runtime.block_on(async {
        match tokio::time::timeout(LIMIT, tokio::spawn(run())).await {
            Ok(Ok(kept)) => kept,
            Ok(Err(panic)) => Err(format!("a wait in vain, or worse: {panic}")),
            Err(_) => Err(format!("nothing within {LIMIT:?}")),
        }
    });
    runtime.shutdown_background();
    kept
}

fn reason(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(listed, _)| *listed == name).map(|(_, why)| *why)
}

#[test]
fn keepwarm_keeps_every_contract() {
    let broken: Vec<String> = CONTRACTS
        .iter()
        .filter_map(|contract| {
            judge(contract, contract.ours).err().map(|why| format!("{}: {why}", contract.name))
        })
        .collect();
    assert!(broken.is_empty(), "broken:\n{}", broken.join("\n"));
}

#[test]
fn hyper_utils_legacy_client_breaks_what_is_listed_and_nothing_else() {
    let mut surprises = Vec::new();
    for contract in CONTRACTS {
        let name = contract.name;
        match (judge(contract, contract.peers), reason(DIFFERENCES, name)) {
            (Ok(()), Some(_)) => surprises.push(format!("{name}: kept, though listed")),
            (Err(why), None) if reason(BY_CHANCE, name).is_none() => {
                surprises.push(format!("{name}: broken, and not listed: {why}"));
            }
            _ => {}
        }
    }
    assert!(surprises.is_empty(), "surprises:\n{}", surprises.join("\n"));
}

#[test]
fn every_difference_is_a_contract_and_stands_in_the_page() {
    const PAGE: &str = include_str!("../../../../docs/differences-from-hyper-util.md");
    for (name, why) in DIFFERENCES.iter().chain(BY_CHANCE) {
        assert!(CONTRACTS.iter().any(|contract| contract.name == *name), "no contract {name}");
        assert!(PAGE.contains(&format!("| {} | {why} |", name.replace('_', " "))), "{name}");
    }
    let count = format!("{} contracts", CONTRACTS.len());
    assert!(PAGE.contains(&count), "the page does not say that there are {count}");
}
