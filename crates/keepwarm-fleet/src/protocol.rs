//! The messages of a fleet, their subjects and buckets. Owns the names and the formats; sends
//! nothing.
//!
//! | place | kind | content |
//! |---|---|---|
//! | `keepwarm.look` | request, many replies | [`Presence`] of each worker |
//! | `keepwarm.call.WORKER` | request | name of the run to join; the reply is [`Answer`] |
//! | `keepwarm.RUN.clock` | request | the reply is the coordinator's [`clock`](crate::clock) |
//! | `keepwarm.RUN.live.WORKER` | at most once | [`Frame`], one a second: heartbeat and picture |
//! | bucket `keepwarm_RUN` | by create and compare-and-set | `plan`, `start`, `stop`, `worker.WORKER` |
//! | stream `keepwarm_RUN_results` | at least once | [`Final`], with a message id a worker |
//! | object store `keepwarm_RUN_records` | by digest | packed records of more than [`MAX_INLINE`] |

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::exit::{Exit, Failure};

/// Version of these messages. A worker refuses a plan of another one.
pub(crate) const PROTOCOL: u32 = 1;

/// The largest packed record that is sent in a message; NATS allows 1 MiB by default, heads included.
pub(crate) const MAX_INLINE: usize = 768 * 1024;

/// The most workers of a run.
pub(crate) const MAX_WORKERS: usize = 1000;

pub(crate) const LOOK: &str = "keepwarm.look";

pub(crate) fn call(worker: &str) -> String {
    format!("keepwarm.call.{worker}")
}

pub(crate) fn clock(run: &str) -> String {
    format!("keepwarm.{run}.clock")
}

pub(crate) fn live(run: &str, worker: &str) -> String {
    format!("keepwarm.{run}.live.{worker}")
}

pub(crate) fn bucket(run: &str) -> String {
    format!("keepwarm_{run}")
}

pub(crate) fn results_stream(run: &str) -> String {
    format!("keepwarm_{run}_results")
}

pub(crate) fn results(run: &str, worker: &str) -> String {
    format!("keepwarm.{run}.results.{worker}")
}

pub(crate) fn records(run: &str) -> String {
    format!("keepwarm_{run}_records")
}

/// Refuses a name that NATS would read as several parts of a subject, or that is very long.
pub(crate) fn check_name(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err("a name has 1 to 64 letters, digits and dashes".to_owned());
    }
    Ok(name.to_owned())
}

/// A worker's description of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Presence {
    pub(crate) worker: String,
    pub(crate) version: String,
    pub(crate) protocol: u32,
    pub(crate) cores: u64,
    pub(crate) host: String,
    /// Networks and ports that the worker may load.
    pub(crate) allowed: Vec<String>,
    pub(crate) max_rate: f64,
    pub(crate) max_connections: u64,
    pub(crate) max_duration_s: f64,
    /// Run that the worker is part of now.
    pub(crate) busy: Option<String>,
}

/// A plan as its coordinator wrote it, with the signature of the bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SignedPlan {
    /// A [`RunPlan`] in JSON. Signed as it stands, so that no reader has to write it the same way.
    pub(crate) plan: String,
    /// Public NKey of the coordinator; empty if it has none.
    pub(crate) key: String,
    /// Ed25519 signature of `plan`, in base64.
    pub(crate) signature: String,
}

/// The load of a run, and its workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunPlan {
    pub(crate) run: String,
    pub(crate) protocol: u32,
    /// Version of the coordinator's `keepwarm`.
    pub(crate) version: String,
    /// Arguments of `keepwarm load`.
    pub(crate) arguments: Vec<String>,
    /// Workers in the order of their parts.
    pub(crate) workers: Vec<String>,
    /// Second since 1970 after which no worker begins.
    pub(crate) expires_unix_s: u64,
}

/// A worker's answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Joining,
    Refused(String),
}

/// State of a worker in the bucket: created once, then replaced by compare-and-set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum WorkerState {
    /// The plan is accepted, and the clocks are compared.
    Joined {
        /// Digest of the plan that was accepted.
        plan_digest: String,
        /// Half of the least round trip: bound of the error of the offset.
        clock_error_ns: u64,
        /// Offset of the worker's monotonic clock from the coordinator's.
        clock_offset_ns: i64,
        cores: u64,
        host: String,
    },
    /// The load is running since this nanosecond of the coordinator's clock.
    Running { begun_ns: i64 },
    /// The load is over, and its result has been taken by the stream.
    Final,
    /// The worker cannot take part, or its load failed.
    Failed { message: String, exit: i32 },
}

/// The instant at which all loads begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Nanosecond of the coordinator's monotonic clock.
    pub(crate) at_ns: u64,
}

/// A request to end the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopKind {
    /// Begins no further request, waits for those in flight, and sends the result.
    Drain,
    /// Ends at once.
    Abort,
}

/// One second of one worker, for the picture of a running load. No count of the result rests on frames, so
/// the loss of one harms nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Position of the frame, from 0.
    pub(crate) sequence: u64,
    pub(crate) second: Option<u64>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) p99_us: Option<u64>,
    pub(crate) open: u64,
}

/// The end of a worker's load. In the message, the packed record follows behind a line feed if it is
/// [`RecordPlace::Inline`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Final {
    pub(crate) worker: String,
    /// Exit code of the load; -1 if a signal ended it.
    pub(crate) exit: i32,
    /// Last lines of the load's stderr.
    pub(crate) message: String,
    /// Nanosecond of the coordinator's clock at which the load began; none if it never did.
    pub(crate) begun_ns: Option<i64>,
    /// Reason why the worker's own disk does not keep the record.
    pub(crate) not_kept: Option<String>,
    pub(crate) record: RecordPlace,
}

/// Where the record of a worker's load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordPlace {
    /// The load wrote none.
    None,
    /// Behind the line feed.
    Inline,
    /// In the run's store, under the worker's name.
    Object,
}

impl Final {
    /// The message of a result, with the packed record that goes with it.
    pub(crate) fn message(&self, packed: &[u8]) -> bytes::Bytes {
        let mut message = encode(self).to_vec();
        message.push(b'\n');
        message.extend_from_slice(packed);
        message.into()
    }

    /// Reads a message; returns what stands behind the line feed too.
    pub(crate) fn read(
        message: &bytes::Bytes,
        worker: &str,
    ) -> Result<(Self, bytes::Bytes), Failure> {
        let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
        let result: Self = decode(&message[..end], &format!("the result of worker {worker}"))?;
        if result.worker != worker {
            let message = format!("the result of worker {worker} is one of {}", result.worker);
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok((result, message.slice((end + 1).min(message.len())..)))
    }
}

pub(crate) fn encode(message: &impl Serialize) -> bytes::Bytes {
    // None of these types can fail: no map with other keys than text, no number beyond JSON.
    serde_json::to_vec(message).unwrap_or_default().into()
}

/// Reads a message of `what`, such as "the plan of run a".
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("{what} cannot be read: {error}; is another version at work?");
        Failure::new(Exit::Usage, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_subjects() {
        for name in ["w1", "host-4", "A"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a.b", "a b", "*", ">", "a/b", "\u{e4}", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn states_survive_writing_and_reading() {
        let states = [
            WorkerState::Joined {
                plan_digest: "a".to_owned(),
                clock_error_ns: 1,
                clock_offset_ns: -2,
                cores: 4,
                host: "a".to_owned(),
            },
            WorkerState::Running { begun_ns: 3 },
            WorkerState::Final,
            WorkerState::Failed { message: "no".to_owned(), exit: 2 },
        ];
        for state in states {
            assert_eq!(decode::<WorkerState>(&encode(&state), "a state"), Ok(state));
        }
    }

    #[test]
    fn results_carry_packed_records() {
        let result = Final {
            worker: "w1".to_owned(),
            exit: 0,
            message: "a\nb".to_owned(),
            begun_ns: Some(-1),
            not_kept: None,
            record: RecordPlace::Inline,
        };
        let message = result.message(b"\n\x00packed");
        let read = Final::read(&message, "w1").unwrap();
        assert_eq!(read, (result, bytes::Bytes::from_static(b"\n\x00packed")));
        let error = Final::read(&message, "w2").unwrap_err().to_string();
        assert!(error.contains("w2 is one of w1"), "{error}");
    }

    #[test]
    fn foreign_message_is_named() {
        let error = decode::<Start>(b"<html>", "the start").unwrap_err();
        assert!(error.to_string().contains("the start cannot be read"), "{error}");
    }
}
