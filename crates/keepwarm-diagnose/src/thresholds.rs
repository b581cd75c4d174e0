//! Every number at which a rule changes its mind, and every confidence that is not computed.
//!
//! Owns the constants alone; each rule says how it uses them.

use std::time::Duration;

// ---- closes -------------------------------------------------------------------------------------

/// Share of closes from which one closer, or one kind, dominates.
pub(crate) const DOMINANT: f64 = 0.8;
/// Share that leaves room for a few exceptions only.
pub(crate) const NEARLY_ALL: f64 = 0.95;
/// Closes below which no cause of them is named.
pub(crate) const ENOUGH_CLOSES: u64 = 30;
/// Share of closes from which what happened to them is their cause.
pub(crate) const WORTH_A_CAUSE: f64 = 0.1;
/// Requests a connection from which a close now and then is no churn.
pub(crate) const WELL_USED: u64 = 20;
/// Requests a connection from which a load without a close is healthy.
pub(crate) const USED_AGAIN: u64 = 2;

// ---- one request, and limits of them ------------------------------------------------------------

/// Most requests that are possible behind a handshake of TLS where each connection carried one: its
/// segments are counted, and what each of them holds is not known.
pub(crate) const ONE_BEHIND_HANDSHAKE: u32 = 3;
/// Messages that one request may take without an introduction: a head, a body, a log-in.
pub(crate) const ONE_REQUEST: u32 = 4;
/// Messages that one request may take behind an introduction: a ClientHello in two segments (a
/// post-quantum key share fills one), Finished, the preface of HTTP/2, its settings, a window and an
/// acknowledgement, the request, and close_notify.
pub(crate) const INTRODUCED: u32 = 8;
/// Connections below which a large pool that has just been filled is not called a leak.
pub(crate) const ENOUGH_TO_LEAK: u64 = 100;
/// Share of requests beyond one a connection from which the connections that stay are a pool.
pub(crate) const CARRIED_BY_KEPT: f64 = 0.05;
/// Requests a connection from which a limit of them costs next to nothing.
pub(crate) const LARGE_LIMIT: u32 = 200;
/// Factor within which the longest connection still has the number of the limit: the cluster's
/// width is 3 % to either side.
pub(crate) const SAME_LIMIT: f64 = 1.06;
/// Share of closes in one cluster of idle times, or of requests, that names a limit.
pub(crate) const CLUSTERED: f64 = 0.6;
/// Largest idle set that names a setting; a larger one is the load's own size.
pub(crate) const LARGEST_NAMED_IDLE: u64 = 32;

// ---- idle times ---------------------------------------------------------------------------------

/// Idle milliseconds up to which a close is the end of a request.
pub(crate) const AT_ONCE_MS: u32 = 500;
/// Idle milliseconds from which a close looks like a timeout, if the closes have one time.
pub(crate) const TIMEOUT_MS: u32 = 900;
/// Idle milliseconds from which closes that nearly all have one time look like a timeout.
pub(crate) const SHORT_TIMEOUT_MS: u32 = 200;
/// Idle milliseconds from which a close looks like a timeout where the times differ: on a host
/// without a free core the end of a request may be as late as a second.
pub(crate) const SOME_TIMEOUT_MS: u32 = 2_000;

// ---- D3 -----------------------------------------------------------------------------------------

/// Share of closes with unread data from which unread bodies are the cause.
pub(crate) const UNREAD: f64 = 0.3;

// ---- healthy, and D4 beside many requests ---------------------------------------------------------

/// Resets with a request under way from which a destination is not healthy.
pub(crate) const FAILED_REQUESTS: u64 = 3;

// ---- D7 -----------------------------------------------------------------------------------------

/// Connections by which CLOSE_WAIT has to grow.
pub(crate) const CLOSE_WAIT_GROWTH: u64 = 10;
/// Divisor of the number now that the growth has to reach: ten more of a hundred are the
/// fluctuation of a large pool.
pub(crate) const CLOSE_WAIT_PART: u64 = 5;
/// Connections in CLOSE_WAIT from which one dump alone is worth a finding.
pub(crate) const MANY_CLOSE_WAIT: u64 = 100;

// ---- D9 -----------------------------------------------------------------------------------------

/// Failed connects below which there is no finding.
pub(crate) const FAILED_CONNECTS: u64 = 3;
/// Share of connects above which failures are a finding.
pub(crate) const FAILED_SHARE: f64 = 0.05;

// ---- D10 ----------------------------------------------------------------------------------------

/// Share of the local ports from which they are a finding.
pub(crate) const PORTS_WORTH_A_WORD: f64 = 0.35;
/// The time ahead within which a forecast of slow connects is a finding.
pub(crate) const PORTS_FORESEEN_WITHIN: Duration = Duration::from_secs(3_600);

// ---- D12 ----------------------------------------------------------------------------------------

/// Segments on a connection from which their pairing is evidence.
pub(crate) const MANY_SEGMENTS: u64 = 100;
/// Ratio of segments to the server and back above which they do not pair up: retransmissions count
/// too.
pub(crate) const UNPAIRED: f64 = 1.05;

// ---- polls, level L0 ----------------------------------------------------------------------------

/// Window in which a long-lived connection shows: two seconds, and two dumps.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// Connections that wait for accept(2) from which a queue is worth a finding though it is not full.
pub(crate) const NOT_ACCEPTED: u64 = 10;

// ---- D11 and D1 ---------------------------------------------------------------------------------

/// Connections that idle on average while others are opened, from which no pool is shared.
pub(crate) const IDLE_BESIDE_NEW: f64 = 10.0;

// ---- D13 ----------------------------------------------------------------------------------------

/// Share of closes before an answer from which giving up is the cause.
pub(crate) const GIVEN_UP: f64 = 0.3;
/// Milliseconds by which the kernel's clock of the last data may be off: it ticks every 10 ms at the
/// slowest (HZ=100), and the data and the close are one tick off each.
pub(crate) const TICKS_MS: u32 = 20;
/// Milliseconds up to which data before a close is a farewell, not a request. A program says both in
/// one go, so they are apart by the ticks of the clock, and by what a thread may wait for a core (50,
/// as the tracker allows). The round trip that a FIN takes is not among them.
pub const LONGEST_FAREWELL_MS: u32 = TICKS_MS + 50;
/// Share of the waiting that was in vain, at least, from which giving up is the cause.
pub(crate) const IN_VAIN: f64 = 0.5;
/// Open connections without one answer from which they are worth a finding.
pub(crate) const MANY_WAIT: u64 = 10;

// ---- D14 ----------------------------------------------------------------------------------------

/// Milliseconds of silence from which a socket is stuck: three retransmissions take 1.4 s.
pub(crate) const SILENT_MS: u32 = 1_000;
/// Share of the open connections from which stuck ones are a finding.
pub(crate) const SILENT_SHARE: f64 = 0.05;
/// Stuck sockets from which their share does not matter.
pub(crate) const STUCK_MANY: u64 = 10;
/// Share of the open connections of which chance makes no silence.
pub(crate) const MANY_SILENT: f64 = 0.2;
/// Milliseconds of silence that chance does not explain: four retransmissions, at 200 ms and twice as
/// long each time, of which at a loss of 5 % all get lost once in 160,000 times.
pub(crate) const LONG_SILENCE_MS: u32 = 3_000;
/// Retransmissions a socket that chance does not explain.
pub(crate) const RETRIES: u64 = 2;

// ---- streams ------------------------------------------------------------------------------------

/// Data segments from the server on each open connection from which it is a stream: a short answer
/// is one or two.
pub(crate) const STREAMED: u64 = 4;

// ---- lost events --------------------------------------------------------------------------------

/// Share of lost events from which a finding on closes is lowered to [`LOST_SOME`].
pub(crate) const LOST_LITTLE: f64 = 0.01;
/// Share of lost events from which a finding on closes is withheld.
pub(crate) const LOST_MUCH: f64 = 0.3;

// ---- confidences --------------------------------------------------------------------------------

/// Polls: factor on a finding that needs no counted closes.
pub(crate) const WEAKER: f64 = 0.8;
/// Polls: the closer is known, the requests are not: two or three causes fit.
pub(crate) const LIKELY: f64 = 0.5;
/// Polls: the closer, too, is known only by a TIME_WAIT that is not there.
pub(crate) const POSSIBLE: f64 = 0.3;
/// Factor on a finding that another cause can no longer be told from.
pub(crate) const LESS_SURE: f64 = 0.7;
/// Factor on a close that came later than at once, and earlier than a timeout.
pub(crate) const SOMEWHAT_LATE: f64 = 0.5;
/// Factor on a close within [`AT_ONCE_MS`] that is later than a farewell: a short timeout looks the
/// same.
pub(crate) const NOT_AT_ONCE: f64 = 0.85;
/// Factor on D13 if the times of waiting are not twice the longest farewell.
pub(crate) const SHORT_WAIT: f64 = 0.8;
/// Share of connections at the largest number of requests from which a limit of them is likely.
pub(crate) const PILED_AT_MOST: f64 = 0.3;
/// Healthy, if closes pile up at one number of requests: a limit of them, or a restart.
pub(crate) const LIMITED: f64 = 0.8;
/// D1, if pools pile up: a large pool that is new looks the same.
pub(crate) const PILED_UP: f64 = 0.7;
/// D1, if each connection carried a few requests.
pub(crate) const FEW_REQUESTS: f64 = 0.6;
/// D2, by the idle set of a known client.
pub(crate) const KNOWN_IDLE_SET: f64 = 0.95;
/// D2, without a known idle set.
pub(crate) const UNKNOWN_IDLE_SET: f64 = 0.7;
/// D2 from polls, without a known idle set.
pub(crate) const UNKNOWN_IDLE_SET_POLLED: f64 = 0.7;
/// D3 at the server, by resets alone: a cancelled request and SO_LINGER 0 look the same.
pub(crate) const GUESSED_UNREAD: f64 = 0.4;
/// D3 by answers that were cut: a deadline in the middle of a body looks the same.
pub(crate) const CUT_ANSWERS: f64 = 0.8;
/// Most confidence of D1 where data came after the client's close: it may be D3 or D13.
pub(crate) const ANSWERED_AFTER_CLOSE: f64 = 0.8;
/// D1, D6: factor where one request behind an introduction, and a limit of a few requests (D5),
/// look the same.
pub(crate) const BEHIND_INTRODUCTION: f64 = 0.7;
/// D1, D6 over TLS: factor where two or three requests a connection look the same as one.
pub(crate) const ONE_REQUEST_OVER_TLS: f64 = 0.95;
/// D5, if the closer is not known for most.
pub(crate) const UNKNOWN_CLOSER: f64 = 0.85;
/// D8 by answered requests that end by a reset on purpose; if the client is a load balancer.
pub(crate) const RESET_CHECKS: f64 = 0.6;
pub(crate) const KNOWN_CHECKER: f64 = 0.9;
/// D8 of a host, by resets of which neither the service nor the requests are known.
pub(crate) const RESETS_ON_HOST: f64 = 0.45;
/// D4 and D11, if the idle times differ.
pub(crate) const NO_COMMON_TIME: f64 = 0.5;
/// D6: which side says `Connection: close` cannot be seen from outside.
pub(crate) const EITHER_SIDE: f64 = 0.9;
/// D7, if CLOSE_WAIT grew by [`ENOUGH_CLOSES`]; if by less; in one dump.
pub(crate) const GREW_MUCH: f64 = 0.9;
pub(crate) const GREW_LITTLE: f64 = 0.6;
pub(crate) const ONE_DUMP: f64 = 0.5;
/// D9, below [`ENOUGH_CLOSES`] failures.
pub(crate) const FEW_FAILURES: f64 = 0.8;
/// D10, if it rests only on the port forecast.
pub(crate) const FORESEEN: f64 = 0.8;
/// D12: offset of the ratio of segments, and the most it reaches.
pub(crate) const RATIO_OFFSET: f64 = 0.5;
pub(crate) const MOST_UNPAIRED: f64 = 0.9;
/// Factor on a finding where it is a guess which end is the service.
pub(crate) const GUESSED_SIDE: f64 = 0.5;
/// Most confidence of a finding on closes of which some events were lost.
pub(crate) const LOST_SOME: f64 = 0.6;
/// Factor on D1, D5 and D6 where requests are known within bounds only.
pub(crate) const BOUNDED: f64 = 0.8;
/// D13: base for data without an answer; for a close while an answer was due, which frames of HTTP/2
/// before an idle timeout resemble; with a common deadline, for all of the closes, by each; and where
/// only open connections show it.
pub(crate) const UNANSWERED_SURE: f64 = 0.8;
pub(crate) const GIVEN_UP_SURE: f64 = 0.6;
pub(crate) const COMMON_DEADLINE: f64 = 0.95;
pub(crate) const COMMON_WAIT: f64 = 0.85;
pub(crate) const HALF_SURE: f64 = 0.5;
/// D14, by retransmissions; and without them.
pub(crate) const RETRANSMITTED: f64 = 0.95;
pub(crate) const WITHOUT_RETRANSMITS: f64 = 0.7;
/// D9 by a full accept queue; by one that is not full.
pub(crate) const QUEUE_FULL: f64 = 0.9;
pub(crate) const QUEUE_GROWS: f64 = 0.7;
/// D4, if requests met the closes and the idle times differ.
pub(crate) const MET_REQUESTS: f64 = 0.8;
/// D4 after a time that is shorter than any default.
pub(crate) const SHORT_TIME: f64 = 0.8;
/// Healthy streams.
pub(crate) const STREAMS: f64 = 0.8;
