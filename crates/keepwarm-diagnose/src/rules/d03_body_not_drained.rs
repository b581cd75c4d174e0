//! D3: the client closes responses before it has read them to their end.

use super::finding;
use crate::evidence::{Evidence, Side, share};
use crate::finding::{Cause, Finding};
use crate::thresholds::{GUESSED_UNREAD, UNREAD};
use crate::words::{percent, thousands};

pub(super) fn judge(seen: &Evidence) -> Option<Finding> {
    let closed = seen.closed();
    let (aborted, how, sure) = match (seen.side, seen.level.reset_reasons()) {
        (Side::Client, _) => {
            (seen.undrained, "the client closed with a part of the body unread", 1.0)
        }
        // Traces name the reasons of a client on this host.
        (Side::Server, Some(reasons)) if reasons.by_client() >= seen.remote_rst / 2 => (
            reasons.unread,
            "the client closed with a part of the body unread: the kernel names its resets \
             (TCP_ABORT_ON_CLOSE, TCP_ABORT_ON_DATA)",
            1.0,
        ),
        (Side::Server, _) => (
            seen.remote_rst,
            "the client aborted them, as it does when it leaves a part of the body unread (or is \
             cancelled)",
            GUESSED_UNREAD,
        ),
    };
    let part = share(aborted, closed);
    if part < UNREAD {
        return None;
    }
    // A close in the middle of a body is a FIN if no data has arrived unread.
    let confidence = sure * seen.share_closed_by(Side::Client);
    let summary = format!(
        "{} of {} closes ({}): {how}",
        thousands(aborted),
        thousands(closed),
        percent(part)
    );
    Some(finding(seen, Cause::BodyNotDrained, confidence, summary))
}
