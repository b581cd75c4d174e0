//! The arguments of `keepwarm load` that map to a plan one to one. Owns their syntax; what fits
//! together is the plan's to say.

use clap::{Args, ValueEnum};
use keepwarm_load::{Arrivals, PlanBuilder, Stage};

use crate::duration;

#[derive(Debug, Args)]
pub(crate) struct EngineOptions {
    /// Requests a second, at instants fixed in advance whether responses come or not: an open
    /// loop. -c is then the most connections, opened as they are needed
    #[arg(short = 'r', long, value_name = "R", help_heading = OPEN_LOOP)]
    pub(crate) rate: Option<f64>,

    /// An open loop whose rate goes linearly from stage to stage, beginning at --rate or zero:
    /// '10s:100,30s:1000'. A stage with the rate of the one before it holds it
    #[arg(long, value_name = "DURATION:R,...", value_delimiter = ',', value_parser = stage,
          help_heading = OPEN_LOOP)]
    pub(crate) stages: Vec<Stage>,

    /// How the instants of an open loop are spread
    #[arg(long, value_enum, default_value_t = Spread::Constant, help_heading = OPEN_LOOP)]
    pub(crate) arrivals: Spread,

    /// With --arrivals poisson: the same seed gives the same instants
    #[arg(long, value_name = "SEED", default_value_t = 1, help_heading = OPEN_LOOP)]
    pub(crate) seed: u64,

    /// The most requests of an open loop that wait for a free connection; beyond it a request is
    /// counted as unsent [default: 1000000]
    #[arg(long, value_name = "N", help_heading = OPEN_LOOP)]
    pub(crate) backlog: Option<usize>,
}

const OPEN_LOOP: &str = "Open loop";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spread {
    /// One every 1/R seconds
    Constant,
    /// As from many independent users
    Poisson,
}

impl EngineOptions {
    /// Whether the run ends without -n and -z.
    pub(crate) fn ends_by_itself(&self) -> bool {
        !self.stages.is_empty()
    }

    pub(crate) fn apply(&self, mut builder: PlanBuilder) -> PlanBuilder {
        if let Some(rate) = self.rate {
            builder = builder.rate(rate);
        }
        if let Some(backlog) = self.backlog {
            builder = builder.backlog(backlog);
        }
        let arrivals = match self.arrivals {
            Spread::Constant => Arrivals::Constant,
            Spread::Poisson => Arrivals::Poisson { seed: self.seed },
        };
        builder.stages(self.stages.as_slice()).arrivals(arrivals)
    }
}

fn stage(text: &str) -> Result<Stage, String> {
    let (duration, rate) =
        text.split_once(':').ok_or("write it as DURATION:RATE, such as 10s:100")?;
    let rate = rate.parse().map_err(|_| format!("{rate:?} is not a rate: write 10s:100"))?;
    Ok(Stage { duration: duration::parse(duration)?, rate })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn stages_are_read_and_nonsense_is_refused_with_a_way_out() {
        let expected = Stage { duration: Duration::from_secs(10), rate: 100.5 };
        assert_eq!(stage("10s:100.5"), Ok(expected));
        for text in ["", "10s", "10s:", "10s:x", ":100", "10q:100"] {
            assert!(!stage(text).unwrap_err().is_empty(), "{text}");
        }
    }
}
