//! D6: one request a connection, because one side says `Connection: close` or HTTP/1.0.

use super::one_request_each::OneEach;
use super::{d01_client_per_request, finding};
use crate::evidence::{Evidence, LoadKnowledge, Side, share};
use crate::finding::{Cause, Finding};
use crate::thresholds::{
    DOMINANT, EITHER_SIDE, FAREWELLS_MEET, KNOWN_CLOSERS, MORE_THAN_HALF, NEARLY_ALL, WORTH_A_CAUSE,
};
use crate::words::{percent, thousands};

/// Finds orderly closes at once after one request each, by either side.
pub(super) fn judge(seen: &Evidence, each: &OneEach) -> Option<Finding> {
    let closed = seen.closed();
    let (by_client, by_server) =
        (seen.share_closed_by(Side::Client), seen.share_closed_by(Side::Server));
    let fins = seen.local_fin + seen.remote_fin + seen.peer_said_farewell();
    let known = closed - seen.unclassified;
    let known_share = share(known, closed);
    let main = if by_server >= by_client { Side::Server } else { Side::Client };
    let idle = seen.idle_before_close_by(main);
    // A reset is not an orderly end of an exchange, and a late close is a timeout's.
    if share(fins, known) < DOMINANT || known_share < KNOWN_CLOSERS || OneEach::is_late(idle) {
        return None;
    }
    let said_by = seen.load.as_ref().and_then(|load| said_by(seen, load));
    let who = match said_by {
        Some(Side::Client) => "the client's requests say Connection: close",
        Some(Side::Server) => "the server's responses say Connection: close, or HTTP/1.0",
        None => "one of the two says Connection: close, or HTTP/1.0",
    };
    let mut summary = format!(
        "{} connections were closed after one request each{}, {} of them first by the server and {} \
         by the client: {who}{}",
        thousands(closed),
        each.probes,
        percent(by_server),
        percent(by_client),
        each.bound
    );
    // The kernel's evidence does not show which side says it.
    let sure = if said_by.is_some() { 1.0 } else { EITHER_SIDE };
    let of_known = if known_share >= DOMINANT { 1.0 } else { known_share };
    let mut confidence = each.share * sure * of_known * each.certainty * OneEach::punctuality(idle);
    let of_client = share(seen.closed_by(Side::Client), known);
    // Behind a handshake a client that waits for the server's farewell closes second, whatever was said.
    let may_be_farewells = seen.load.is_none() && seen.messages.may_have_handshake();
    if may_be_farewells && of_client >= MORE_THAN_HALF {
        return Some(d01_client_per_request::behind_farewells(seen, each, confidence));
    }
    if may_be_farewells && of_client >= 1.0 - NEARLY_ALL {
        confidence = confidence.min(FAREWELLS_MEET);
        summary.push_str(
            "; or the client throws connections away (D1), and the server's farewell came first",
        );
    }
    Some(finding(seen, Cause::ConnectionClose { said_by }, confidence, summary))
}

/// Returns the side that says it, where a load has read the exchange. It notices what the response
/// said only if it closed the connection itself: that must hold for its closes, and these be some.
fn said_by(seen: &Evidence, load: &LoadKnowledge) -> Option<Side> {
    if load.requests_said_close {
        return Some(Side::Client);
    }
    let said = load.responses_said_close;
    let is_cause = share(said, seen.closed_by(Side::Client)) >= DOMINANT;
    (is_cause && share(said, seen.closed()) >= WORTH_A_CAUSE).then_some(Side::Server)
}
