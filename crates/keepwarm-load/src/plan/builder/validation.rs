//! Limits of single settings: numbers, times, rates and stages. Owns the words of their refusals;
//! `conflicts` has the settings that exclude each other.

use std::num::NonZero;
use std::time::Duration;

use super::PlanBuilder;
use crate::limits::{MAX_CONCURRENCY, MAX_DURATION, MAX_RATE, MAX_STREAMS};
use crate::pacer::{Course, Stage};
use crate::plan::{OpenLoop, PlanError};

/// The lowest rate of an open loop: one request in a thousand seconds.
const MIN_RATE: f64 = 0.001;

/// The most stages of an open loop.
const MAX_STAGES: usize = 1000;

/// The shortest time after which a host is looked up again.
const MIN_DNS_TTL: Duration = Duration::from_millis(100);

const MAX_BACKLOG: usize = 100_000_000;

impl PlanBuilder {
    /// Returns the limit by time: the duration asked for, or the length of the stages if shorter.
    pub(super) fn whole_duration(&self) -> Option<Duration> {
        let stages = self.stages.iter().map(|stage| stage.duration);
        let stages = (!self.stages.is_empty())
            .then(|| stages.fold(Duration::ZERO, Duration::saturating_add));
        [self.duration, stages].into_iter().flatten().min()
    }

    pub(super) fn open_loop(&self) -> Result<Option<OpenLoop>, PlanError> {
        if self.rate.is_none() && self.stages.is_empty() {
            return Ok(None);
        }
        let rates = self.stages.iter().map(|stage| stage.rate);
        let rates: Vec<f64> = self.rate.into_iter().chain(rates).collect();
        let fits = |rate: f64| {
            (MIN_RATE..=MAX_RATE).contains(&rate) || (rate == 0.0 && !self.stages.is_empty())
        };
        let wrong = |setting, value| {
            let reason = "it is not between 0.001 and 10000000 requests a second";
            PlanError::new(setting, value, reason, "use a rate such as 1000")
        };
        if let Some(rate) = self.rate.filter(|rate| !fits(*rate)) {
            return Err(wrong("rate", rate.to_string()));
        }
        if let Some(stage) = self.stages.iter().find(|stage| !fits(stage.rate)) {
            return Err(wrong("stages", stage_as_typed(stage)));
        }
        if rates.iter().all(|rate| *rate == 0.0) {
            let reason = "all rates are zero, so that no request would be sent";
            return Err(PlanError::new("stages", "0", reason, "give one stage a rate"));
        }
        if let Some(stage) = self.stages.iter().find(|stage| stage.duration.is_zero()) {
            let reason = "a stage that takes no time sends nothing";
            let way_out = "give each stage a duration, such as 10s";
            return Err(PlanError::new("stages", stage_as_typed(stage), reason, way_out));
        }
        if self.stages.len() > MAX_STAGES {
            return Err(PlanError::new(
                "stages",
                self.stages.len().to_string(),
                "there are more than 1000 stages",
                "give fewer stages",
            ));
        }
        if self.backlog == 0 || self.backlog > MAX_BACKLOG {
            return Err(PlanError::new(
                "backlog",
                self.backlog.to_string(),
                "it is not between 1 and 100000000 requests",
                "use a number such as 1000000",
            ));
        }
        let backlog = self.backlog.div_ceil(self.share.of.max(1));
        let course = if self.stages.is_empty() {
            Course::constant(rates[0])
        } else {
            Course::stages(self.rate.unwrap_or(0.0), &self.stages)
        };
        Ok(Some(OpenLoop { course, arrivals: self.arrivals, backlog }))
    }

    pub(super) fn check_numbers(&self) -> Result<(), PlanError> {
        if self.requests.is_none() && self.whole_duration().is_none() {
            return Err(PlanError::new(
                "requests",
                "none",
                "neither a number of requests nor a duration is set, so the run would not end",
                "set one of them",
            ));
        }
        if self.requests == Some(0) {
            let reason = "a run of no requests measures nothing";
            return Err(PlanError::new("requests", "0", reason, "ask for at least 1"));
        }
        if self.concurrency == 0 || self.concurrency > MAX_CONCURRENCY {
            return Err(PlanError::new(
                "concurrency",
                self.concurrency.to_string(),
                "it is not between 1 and 1000000 connections",
                "ask for at least 1 connection",
            ));
        }
        if let Some(streams) = self.streams.filter(|streams| !(1..=MAX_STREAMS).contains(streams)) {
            return Err(PlanError::new(
                "streams",
                streams.to_string(),
                "it is not between 1 and 10000 requests at once on a connection",
                "ask for at least 1",
            ));
        }
        if self.requests_per_connection == Some(0) {
            let reason = "a connection that carries no request measures nothing";
            return Err(PlanError::new("requests_per_connection", "0", reason, "use at least 1"));
        }
        if let Some(rate) = self.connect_rate
            && !(MIN_RATE..=MAX_RATE).contains(&rate)
        {
            return Err(PlanError::new(
                "connect_rate",
                rate.to_string(),
                "it is not between 0.001 and 10000000 connections a second",
                "use a rate such as 100",
            ));
        }
        let of_stages = self.whole_duration().filter(|_| self.duration.is_none());
        let times = [
            ("duration", self.duration),
            ("stages", of_stages),
            ("timeout", Some(self.timeout)),
            ("max_lifetime", self.max_lifetime),
            ("dns_ttl", self.dns_ttl),
        ];
        for (setting, value) in times {
            let Some(value) = value else { continue };
            if value.is_zero() || value > MAX_DURATION {
                return Err(PlanError::new(
                    setting,
                    format!("{value:?}"),
                    "it is not between 1 nanosecond and one week",
                    "use a time such as 10s",
                ));
            }
        }
        if let Some(ttl) = self.dns_ttl.filter(|ttl| *ttl < MIN_DNS_TTL) {
            return Err(PlanError::new(
                "dns_ttl",
                format!("{ttl:?}"),
                "it is less than a tenth of a second, and would load the resolver",
                "use a time such as 5s",
            ));
        }
        Ok(())
    }

    pub(super) fn check_threads(&self) -> Result<usize, PlanError> {
        let Some(threads) = self.threads else {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            return Ok(cores.min(self.concurrency));
        };
        if threads == 0 || threads > self.concurrency {
            return Err(PlanError::new(
                "threads",
                threads.to_string(),
                format!(
                    "every thread needs a connection of its own, and there are {} connections",
                    self.concurrency
                ),
                "use between 1 thread and as many threads as connections",
            ));
        }
        Ok(threads)
    }
}

/// Returns a stage as it is written: `10s:500`.
fn stage_as_typed(stage: &Stage) -> String {
    format!("{:?}:{}", stage.duration, stage.rate)
}
