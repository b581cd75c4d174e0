//! Every number at which a rule decides otherwise, and every confidence that is not computed.
//!
//! Owns the constants alone; each rule says how it uses them. A share is of 1, and "from" includes the
//! number.

use std::time::Duration;

// ---- closes -------------------------------------------------------------------------------------

/// Smallest share of all closes at which one closer, or one kind of close, dominates.
pub(crate) const DOMINANT: f64 = 0.8;
/// Smallest share of the closes with a known closer from which these speak for the others.
pub(crate) const KNOWN_CLOSERS: f64 = 0.5;
/// Smallest share that counts as "nearly all": a few exceptions are allowed.
pub(crate) const NEARLY_ALL: f64 = 0.95;
/// Smallest number of closes for which a cause is named.
pub(crate) const ENOUGH_CLOSES: u64 = 30;
/// Smallest number of closes after one idle time that makes another finding less sure.
pub(crate) const SOME_CLOSES: u64 = 5;
/// Smallest share of the closes with one symptom at which that symptom is named as a cause.
pub(crate) const WORTH_A_CAUSE: f64 = 0.1;
/// Requests per connection from which an occasional close is not churn.
pub(crate) const WELL_USED: u64 = 20;
/// Requests per connection from which a load without any close is healthy.
pub(crate) const USED_AGAIN: u64 = 2;

// ---- one request, and limits of them ------------------------------------------------------------

/// Upper bound of the requests that a TLS connection with one request may seem to have carried: the
/// segments are counted, those of the handshake too, and their content is not known.
pub(crate) const ONE_BEHIND_HANDSHAKE: u32 = 3;
/// Messages that one request may take without an introduction: a head, a body, a log-in.
pub(crate) const ONE_REQUEST: u32 = 4;
/// Messages that one request may take behind an introduction: a ClientHello in two segments (a
/// post-quantum key share fills one), Finished, the preface of HTTP/2, its settings, a window and an
/// acknowledgement, the request, and close_notify.
pub(crate) const INTRODUCED: u32 = 8;
/// Smallest number of open connections that is called a leak: a pool that has just been filled has
/// many connections too.
pub(crate) const ENOUGH_TO_LEAK: u64 = 100;
/// Smallest share of requests on already used connections at which the connections left open are a
/// pool.
pub(crate) const CARRIED_BY_KEPT: f64 = 0.05;
/// Requests per connection from which a server's limit on them costs next to nothing.
pub(crate) const LARGE_LIMIT: u32 = 200;
/// Largest ratio of the longest connection's requests to the presumed limit: a cluster is 3 % wide to
/// either side.
pub(crate) const SAME_LIMIT: f64 = 1.06;
/// Smallest share of closes with about one idle time, or about one number of requests, that reveals a
/// limit.
pub(crate) const CLUSTERED: f64 = 0.6;
/// Largest number of idle connections that reveals a setting; a larger number follows from the load.
pub(crate) const LARGEST_NAMED_IDLE: u64 = 32;

// ---- idle times ---------------------------------------------------------------------------------

/// Longest idle time before a close that belongs to the end of a request.
pub(crate) const AT_ONCE_MS: u32 = 500;
/// Idle milliseconds from which a close looks like a timeout, if the closes have one time.
pub(crate) const TIMEOUT_MS: u32 = 900;
/// Idle milliseconds from which closes that nearly all have one time look like a timeout.
pub(crate) const SHORT_TIMEOUT_MS: u32 = 200;
/// Share of closes that dumps, one a second, met idle before, from which connections idle for a while.
pub(crate) const MET_IDLE: f64 = 0.3;
/// Idle milliseconds from which a close looks like a timeout where the times differ: on a host
/// without a free core the end of a request may be as late as a second.
pub(crate) const SOME_TIMEOUT_MS: u32 = 2_000;

// ---- D3 -----------------------------------------------------------------------------------------

/// Smallest share of closes with unread data at which unread bodies are the cause.
pub(crate) const UNREAD: f64 = 0.3;

// ---- healthy, and D4 beside many requests ---------------------------------------------------------

/// Smallest number of resets during a request at which a destination is not healthy.
pub(crate) const FAILED_REQUESTS: u64 = 3;

// ---- D7 -----------------------------------------------------------------------------------------

/// Smallest growth of CLOSE_WAIT, in connections, that is a finding.
pub(crate) const CLOSE_WAIT_GROWTH: u64 = 10;
/// The growth must also be at least the present number divided by this: ten more than ninety is the
/// usual fluctuation of a large pool.
pub(crate) const CLOSE_WAIT_PART: u64 = 5;
/// Number of rises, from dump to dump, from which the growth is steady.
pub(crate) const STEADY_RISES: u64 = 3;
/// Smallest number of connections in CLOSE_WAIT that is a finding by one dump alone.
pub(crate) const MANY_CLOSE_WAIT: u64 = 100;

// ---- D9 -----------------------------------------------------------------------------------------

/// Smallest number of failed connects that is a finding.
pub(crate) const FAILED_CONNECTS: u64 = 3;
/// Share of all connects that failures must exceed to be a finding.
pub(crate) const FAILED_SHARE: f64 = 0.05;

// ---- D10 ----------------------------------------------------------------------------------------

/// Smallest share of the local ports in use that is a finding.
pub(crate) const PORTS_WORTH_A_WORD: f64 = 0.35;
/// The time ahead within which a forecast of slow connects is a finding.
pub(crate) const PORTS_FORESEEN_WITHIN: Duration = Duration::from_secs(3_600);

// ---- D12 ----------------------------------------------------------------------------------------

/// Segments per connection from which it is evidence whether requests and answers pair up.
pub(crate) const MANY_SEGMENTS: u64 = 100;
/// Ratio of segments to the server and back above which they do not pair up: retransmissions count
/// too.
pub(crate) const UNPAIRED: f64 = 1.05;

// ---- polls, level L0 ----------------------------------------------------------------------------

/// Shortest window in which a long-lived connection is recognised: two seconds, and two dumps.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// Smallest number of connections waiting for accept(2) that is a finding although the queue is not
/// full.
pub(crate) const NOT_ACCEPTED: u64 = 10;

// ---- D11 and D1 ---------------------------------------------------------------------------------

/// Average number of idle connections, while new ones are opened, from which no pool is shared.
pub(crate) const IDLE_BESIDE_NEW: f64 = 10.0;

// ---- D13 ----------------------------------------------------------------------------------------

/// Smallest share of closes before an answer at which giving up is the cause.
pub(crate) const GIVEN_UP: f64 = 0.3;
/// Milliseconds by which the kernel's clock of the last data may be off: it ticks every 10 ms at the
/// slowest (HZ=100), and the data and the close are one tick off each.
pub(crate) const TICKS_MS: u32 = 20;
/// Milliseconds up to which data before a close is a farewell, not a request. A program says both in
/// one go, so they are apart by the ticks of the clock, and by what a thread may wait for a core (50,
/// as the tracker allows). The round trip that a FIN takes is not among them.
pub const LONGEST_FAREWELL_MS: u32 = TICKS_MS + 50;
/// Smallest share of the time spent waiting that ended without an answer, at which giving up is the
/// cause.
pub(crate) const IN_VAIN: f64 = 0.5;
/// Smallest such share where the evidence is stronger: a client of TLS closed, and always after the same time.
pub(crate) const SOME_IN_VAIN: f64 = 0.2;
/// Smallest number of open connections without any answer that is a finding.
pub(crate) const MANY_WAIT: u64 = 10;

// ---- D14 ----------------------------------------------------------------------------------------

/// Shortest silence, in milliseconds, of a stuck socket: three retransmissions take 1.4 s.
pub(crate) const SILENT_MS: u32 = 1_000;
/// Smallest share of the open connections that must be stuck for a finding.
pub(crate) const SILENT_SHARE: f64 = 0.05;
/// Number of stuck sockets that is a finding whatever their share.
pub(crate) const STUCK_MANY: u64 = 10;
/// Share of the open connections from which their silence is not chance.
pub(crate) const MANY_SILENT: f64 = 0.2;
/// Silence, in milliseconds, that chance does not explain: it takes four lost retransmissions (after
/// 200 ms, then twice as long each time), which at 5 % loss happens once in 160,000 times.
pub(crate) const LONG_SILENCE_MS: u32 = 3_000;
/// Retransmissions per socket, one after the other, that take as long as [`SILENT_MS`].
pub(crate) const SILENT_RETRIES: u64 = 3;
/// Retransmissions per socket that chance does not explain.
pub(crate) const RETRIES: u64 = 2;

// ---- streams ------------------------------------------------------------------------------------

/// Data segments from the server on each open connection from which it is a stream: a short answer
/// is one or two.
pub(crate) const STREAMED: u64 = 4;

// ---- lost events --------------------------------------------------------------------------------

/// Share of lost events from which the confidence of a finding on closes is at most [`LOST_SOME`].
pub(crate) const LOST_LITTLE: f64 = 0.01;
/// Share of lost events from which a finding on closes is withheld.
pub(crate) const LOST_MUCH: f64 = 0.3;

// ---- confidences --------------------------------------------------------------------------------

// From 0 to 1. "D2, without …" reads: the confidence of the finding D2 where … is missing.

/// Polls: factor on a finding that needs no counted closes.
pub(crate) const WEAKER: f64 = 0.8;
/// Polls: the closer is known, the requests are not: two or three causes fit.
pub(crate) const LIKELY: f64 = 0.5;
/// Polls: even the closer is only inferred, from the absence of a TIME_WAIT.
pub(crate) const POSSIBLE: f64 = 0.3;
/// Factor on a finding whose evidence another cause would leave too.
pub(crate) const LESS_SURE: f64 = 0.7;
/// Factor on a close after an idle time that is too long for "at once", and too short for a timeout.
pub(crate) const SOMEWHAT_LATE: f64 = 0.5;
/// Factor on a close within [`SHORT_TIMEOUT_MS`] that is later than a farewell: a short timeout looks the
/// same.
pub(crate) const NOT_AT_ONCE: f64 = 0.85;
/// Factor on D13 if the times of waiting are not twice the longest farewell.
pub(crate) const SHORT_WAIT: f64 = 0.8;
/// Share of connections at the largest number of requests from which a limit of them is likely.
pub(crate) const PILED_AT_MOST: f64 = 0.3;
/// Healthy, if closes pile up at one number of requests (a limit of them, or a restart), or after one idle
/// time (the server's timeout).
pub(crate) const LIMITED: f64 = 0.8;
/// D1, if pools pile up: a large pool that is new looks the same.
pub(crate) const PILED_UP: f64 = 0.7;
/// D1, if they piled up at about one time: so does a pool that is filled, or a set of silent subscriptions.
pub(crate) const PILED_UP_AT_ONCE: f64 = 0.5;
/// Highest confidence of D1 and D6 over TLS, if both sides closed first in a part of the connections: a server
/// closes too when it has read a farewell.
pub(crate) const FAREWELLS_MEET: f64 = 0.6;
/// From this share of the closers on, D1 is likelier there than D6.
pub(crate) const MORE_THAN_HALF: f64 = 0.5;
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
/// Highest confidence of D1 where data arrived after the client's close: it may be D3 or D13.
pub(crate) const ANSWERED_AFTER_CLOSE: f64 = 0.8;
/// D1, D6: factor where one request behind an introduction, and a limit of a few requests (D5),
/// look the same.
pub(crate) const BEHIND_INTRODUCTION: f64 = 0.7;
/// D1, D6 over TLS: factor where two or three requests a connection look the same as one.
pub(crate) const ONE_REQUEST_OVER_TLS: f64 = 0.95;
/// D5, if a lifetime of the connections explains the number as well, at a steady rate of requests.
pub(crate) const LIMIT_OR_LIFETIME: f64 = 0.85;
/// D5 at a usual number, if each connection was not replaced twice.
pub(crate) const REPLACED_ONCE: f64 = 0.85;
/// D11, by a common lifetime.
pub(crate) const COMMON_LIFETIME: f64 = 0.85;
/// D11, by a lifetime, if the last data may have been a farewell after an idle time.
pub(crate) const MAY_BE_FAREWELL: f64 = 0.4;
/// D4, D11: factor if each connection ended once, as at the end of a program.
pub(crate) const ENDED_ONCE: f64 = 0.8;
/// Highest confidence of D2 if each closed connection carried the same: another client beside the pool
/// looks alike.
pub(crate) const POOL_OR_STRANGER: f64 = 0.8;
/// Highest confidence of D1, D3 and D6 if the server sent again and again on each connection.
pub(crate) const STREAM_ENDED: f64 = 0.7;
/// Highest confidence of D13 if nothing shows that an answer was waited for.
pub(crate) const NOT_WAITED_FOR: f64 = 0.6;
/// D5, if the closer is not known for most.
pub(crate) const UNKNOWN_CLOSER: f64 = 0.85;
/// D8, by connections that are reset on purpose after an answer; and if the client is a load balancer.
pub(crate) const RESET_CHECKS: f64 = 0.6;
pub(crate) const KNOWN_CHECKER: f64 = 0.9;
/// D8 of a host, by resets of which neither the service nor the requests are known.
pub(crate) const RESETS_ON_HOST: f64 = 0.45;
/// D4 and D11, if the idle times differ.
pub(crate) const NO_COMMON_TIME: f64 = 0.5;
/// D6: which side says `Connection: close` cannot be seen from outside.
pub(crate) const EITHER_SIDE: f64 = 0.9;
/// D7, if CLOSE_WAIT grew by at least [`ENOUGH_CLOSES`]; if it grew by less; and by one dump.
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
/// Factor on a finding where the service's side of the connections is a guess.
pub(crate) const GUESSED_SIDE: f64 = 0.5;
/// Highest confidence of a finding on closes if some of their events were lost.
pub(crate) const LOST_SOME: f64 = 0.6;
/// Factor on D1, D5 and D6 where requests are known within bounds only.
pub(crate) const BOUNDED: f64 = 0.8;
/// D13, in this order: by data without an answer; by closes while an answer was due (frames of HTTP/2
/// before an idle timeout look alike); by a common deadline, if data without an answer proves the
/// waiting; by a common deadline otherwise; by open connections alone.
pub(crate) const UNANSWERED_SURE: f64 = 0.8;
pub(crate) const GIVEN_UP_SURE: f64 = 0.6;
pub(crate) const COMMON_DEADLINE: f64 = 0.95;
pub(crate) const COMMON_WAIT: f64 = 0.85;
pub(crate) const HALF_SURE: f64 = 0.5;
/// D14, by retransmissions; and without them.
pub(crate) const RETRANSMITTED: f64 = 0.95;
pub(crate) const WITHOUT_RETRANSMITS: f64 = 0.7;
/// D9, by a full accept queue; and by one that grows.
pub(crate) const QUEUE_FULL: f64 = 0.9;
pub(crate) const QUEUE_GROWS: f64 = 0.7;
/// D4, if requests met the closes and the idle times differ.
pub(crate) const MET_REQUESTS: f64 = 0.8;
/// D4 after a time that is shorter than any default.
pub(crate) const SHORT_TIME: f64 = 0.8;
/// Healthy, by connections that were opened at once and stay: a batch may have left them.
pub(crate) const OPENED_AT_ONCE: f64 = 0.6;
/// Healthy streams.
pub(crate) const STREAMS: f64 = 0.8;
