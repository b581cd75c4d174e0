//! HTTP/2 frame by frame: what a peer may do on the wire, and what becomes of the requests. The peer
//! is in this process, its frames are written by hand, and tokio's clock is paused, so no result
//! depends on time. Beside that, real servers.
//!
//! The obligations of a pool and a client that speak HTTP/2, and the tests of each. Those with a
//! file's name are of the pool, those without `::` of `suite/`; `named_tests_exist` reads the list.
//!
//! | | obligation | shown by |
//! |---|---|---|
//! | 1 | no stream beyond the limit, none on a connection that drains, is in doubt or has ended | `streams.rs: every_end_of_streams`, `every_doubt`, `random_streams_keep_the_obligations` |
//! | 2 | no waiter beside room, and none without a dial that may serve it | the same, and `gate.rs: peer_without_streams_is_waited_for` |
//! | 3 | a burst to an unknown origin is one dial, and a wrong guess costs no request | `gate.rs: burst_to_unknown_origin_dials_once`, `exclusive_answer_dials_for_all_others`, `wrong_guess_rejects_no_request`, `slow_first_dial_is_joined_by_others` |
//! | 4 | a dead origin is an error within two dial times | `gate.rs: gated_origin_that_is_down_fails_fast`, `origin_down.rs: burst_to_a_dead_origin_ends_within_two_dials` |
//! | 5 | as few connections as the streams need, and surplus ones go idle | `gate.rs: streams_need_few_connections` |
//! | 6 | one queue, first come, first served | `streams.rs: every_demand_for_streams`, `waiters.rs: waiters_are_served_in_order` |
//! | 7 | a lease ends once | `streams.rs: random_streams_keep_the_obligations`, `ten_thousand_cancels_lose_no_place` |
//! | 8 | a stream and its return allocate nothing in the pool | `allocations.rs: stream_and_its_return_allocate_nothing` |
//! | 9 | a burst is one connection; the server's limit holds, also before its settings | `burst_opens_one_connection`, `stream_limit_opens_further_connections`, `streams::late_settings_are_waited_for` |
//! | 10 | GOAWAY costs no request | `goaway_costs_no_request`, `endings::goaway_may_come_twice`, `endings::unprocessed_streams_go_again_whatever_the_code`, `endings::cut_after_goaway_repeats_no_post`, `endings::calm_is_kept_before_the_next_dial` |
//! | 11 | settings change in flight | `streams::settings_change_in_flight`, `streams::limits_that_change_under_load_are_kept`, `endings::refused_beyond_a_shrunk_limit_waits` |
//! | 12 | cancels harm no other request, and look like no attack | `ten_thousand_cancels_lose_no_place`, `cancelled_requests_keep_their_places`, `many_resets_drain_the_connection`, `streams::cancelled_stream_keeps_its_place` |
//! | 13 | unread bodies, closed windows and tiny frames hold no other request up | `unread_body_holds_no_other_up`, `bodies::closed_window_holds_no_other_up`, `bodies::bodies_of_single_bytes_are_read`, `bodies::unread_small_frames_hold_no_other_up` |
//! | 14 | a dead connection is left, a frozen peer is heard, and no POST is doubled | `silence::dead_connection_is_left_after_a_ping`, `silence::frozen_peer_that_comes_back_is_trusted`, `silence::timeout_without_a_sign_puts_in_doubt` |
//! | 15 | ALPN may change, HTTP/1.1 may be wanted, and a peer without HTTP/2 is named | `alpn_may_change_with_each_dial`, `http1_required_goes_again_by_http1`, `malformed::peer_without_http2_is_told_apart`, `http2_server_refuses_http1_only` |
//! | 16 | early, interim and bodiless responses, trailers and lengths | `bodies::early_response_is_heard`, `bodies::answer_to_a_refused_body_is_read`, `bodies::interim_responses_are_heard`, `bodies::responses_without_body_are_complete`, `bodies::declared_length_of_response_is_checked`, `bodies_and_trailers_pass_both_ways` |
//! | 17 | one place for origins of both versions | `both_versions_share_one_place` |
//! | 18 | no ping at a steady load, one after silence | `silence::steady_load_sends_no_ping`, `silence::silence_is_asked_about_once` |
//! | 19 | heads up to the limit of HTTP/1.1; beyond it one stream fails | `malformed::response_heads_are_read_to_the_limit` |
//! | 20 | real servers | `servers::go_server_serves_all`, `servers::node_server_serves_all`, `servers::nghttpd_serves_within_its_limit`, `servers::hyper_server_serves_all`, `tls_servers::nginx_reloads_cost_no_request`, `tls_servers::caddy_serves_all`, `tls_servers::h2o_serves_within_its_limit`, `tls_servers::haproxy_refusals_cost_no_request`, `tls_servers::apache_serves_all` |

mod adversary;
mod bodies;
mod distance;
mod endings;
mod malformed;
mod peer;
mod servers;
mod silence;
mod streams;
mod tls_servers;

use std::fs;
use std::path::{Path, PathBuf};

/// Every file of Rust below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The tests that the list above and docs/http2.md name.
#[test]
fn named_tests_exist() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder");
    let mut files = Vec::new();
    for folder in ["keepwarm/tests", "keepwarm/src", "keepwarm-pool/tests"] {
        sources(&crates.join(folder), &mut files);
    }
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("a file")).collect();
    let pages = ["keepwarm/tests/http2/main.rs", "../docs/http2.md"];
    for page in pages.map(|page| fs::read_to_string(crates.join(page)).expect("a page")) {
        let mut named = 0;
        // The last column of each row of a table.
        for row in page.lines().filter(|line| line.trim_start_matches("//! ").starts_with("| ")) {
            let column =
                row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
            for word in column.split('`').skip(1).step_by(2) {
                let name = word.rsplit([':', ' ']).next().unwrap_or_default();
                let is_module = crates.join(format!("keepwarm/tests/http2/{name}.rs")).exists();
                assert!(is_module || code.contains(&format!("fn {name}(")), "no test {name}");
                named += 1;
            }
        }
        assert!(named > 20, "{named}");
    }
}
