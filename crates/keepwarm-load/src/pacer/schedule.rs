//! The instants of an open loop, fixed before the run. Owns the arithmetic from a course of rates
//! to instants; knows no clock and no server.
//!
//! The course of rates is a chain of linear ramps. The area under it up to an instant is the
//! number of requests due by then, so request `k` is due where the area is `k`. For Poisson
//! arrivals the steps of the area are exponential with mean 1 instead of exactly 1, which gives a
//! Poisson process of the same course of rates, ramps included.

use std::time::Duration;

/// How the instants of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrivals {
    /// Evenly: one every 1/rate seconds.
    #[default]
    Constant,
    /// Exponential gaps with mean 1/rate, as from many independent users. Equal seed, rate and
    /// number of threads give equal instants.
    Poisson {
        /// Any number. Each thread derives its own sequence from it.
        seed: u64,
    },
}

/// A part of an open loop in which the rate goes linearly from the previous rate to `rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Length of the stage.
    pub duration: Duration,
    /// Requests per second at the end of the stage.
    pub rate: f64,
}

/// A linear piece of the course.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ramp {
    from: f64,
    to: f64,
    seconds: f64,
}

impl Ramp {
    /// Returns the number of requests in the ramp.
    fn area(&self) -> f64 {
        // An endless ramp of rate zero has no request.
        if self.from + self.to == 0.0 { 0.0 } else { (self.from + self.to) / 2.0 * self.seconds }
    }

    /// Returns the seconds after which `area` requests of the ramp are due.
    fn seconds_to(&self, area: f64) -> f64 {
        if area == 0.0 {
            return 0.0;
        }
        // The root of from·x + (to - from)/(2·seconds)·x² = area that stays exact for from = to.
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        2.0 * area / (self.from + root)
    }
}

/// The instants of one thread, in order.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    ramps: Vec<Ramp>,
    /// The current ramp, the time at which it began, and the requests that were due before it.
    ramp: usize,
    ramp_start: f64,
    ramp_area: f64,
    steps: Steps,
    /// Number of instants still to come, if there is a limit.
    left: Option<u64>,
    end: Option<Duration>,
    next: Option<Duration>,
}

/// Positions of the instants on the area.
#[derive(Debug, Clone)]
enum Steps {
    /// Positions `first + taken × every`, computed anew each time so that no error adds up.
    Even { first: u64, every: u64, taken: u64 },
    /// Exponential steps of mean `mean`.
    Random { random: SplitMix, mean: f64, at: f64 },
}

impl Steps {
    #[expect(clippy::cast_precision_loss, reason = "a number of requests is below 2^53")]
    fn next(&mut self) -> f64 {
        match self {
            Self::Even { first, every, taken } => {
                *taken += 1;
                (*first + (*taken - 1) * *every) as f64
            }
            Self::Random { random, mean, at } => {
                *at -= (1.0 - random.unit()).ln() * *mean;
                *at
            }
        }
    }
}

/// The course of rates of a run: a constant one, or stages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Course {
    ramps: Vec<Ramp>,
}

impl Course {
    pub(crate) fn constant(rate: f64) -> Self {
        Self { ramps: vec![Ramp { from: rate, to: rate, seconds: f64::INFINITY }] }
    }

    /// Joins stages one after the other. The first one begins at rate `from`.
    pub(crate) fn stages(mut from: f64, stages: &[Stage]) -> Self {
        let mut ramps = Vec::with_capacity(stages.len());
        for stage in stages {
            ramps.push(Ramp { from, to: stage.rate, seconds: stage.duration.as_secs_f64() });
            from = stage.rate;
        }
        Self { ramps }
    }

    /// Makes the schedule of thread `thread` of `threads`, with at most `requests` instants (the
    /// thread's own share), and none at or after `end`.
    pub(crate) fn schedule(
        &self,
        arrivals: Arrivals,
        (thread, threads): (usize, usize),
        requests: Option<u64>,
        end: Option<Duration>,
    ) -> Schedule {
        let steps = match arrivals {
            Arrivals::Constant => {
                Steps::Even { first: thread as u64, every: threads as u64, taken: 0 }
            }
            Arrivals::Poisson { seed } => Steps::Random {
                random: SplitMix::new(seed, thread as u64),
                // Poisson processes add up to one whose rate is the sum.
                mean: f64::from(u32::try_from(threads).unwrap_or(u32::MAX)),
                at: 0.0,
            },
        };
        let mut schedule = Schedule {
            ramps: self.ramps.clone(),
            ramp: 0,
            ramp_start: 0.0,
            ramp_area: 0.0,
            steps,
            left: requests,
            end,
            next: None,
        };
        schedule.next = schedule.compute();
        schedule
    }
}

impl Schedule {
    /// Returns the next instant, since the start of the run.
    #[inline]
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.next
    }

    /// Takes the next instant if it has come.
    #[inline]
    pub(crate) fn take_due(&mut self, elapsed: Duration) -> Option<Duration> {
        let due = self.next.filter(|due| *due <= elapsed)?;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        self.next = self.compute();
        Some(due)
    }

    /// Returns the instants of a limited schedule that have not been taken.
    pub(crate) fn left(&self) -> u64 {
        self.left.unwrap_or(0)
    }

    /// Ends the schedule: no further instant comes.
    pub(super) fn end_at(&mut self, elapsed: Duration) {
        self.end = Some(self.end.map_or(elapsed, |end| end.min(elapsed)));
        self.next = None;
    }

    /// Returns the end of the schedule, if there is one. No instant comes at the end or later.
    pub(crate) fn end(&self) -> Option<Duration> {
        self.end
    }

    fn compute(&mut self) -> Option<Duration> {
        if self.left == Some(0) {
            return None;
        }
        let area = self.steps.next();
        let seconds = loop {
            let ramp = self.ramps.get(self.ramp)?;
            let within = area - self.ramp_area;
            let whole = ramp.area();
            if within < whole {
                break self.ramp_start + ramp.seconds_to(within);
            }
            self.ramp_area += whole;
            self.ramp_start += ramp.seconds;
            self.ramp += 1;
        };
        let due = Duration::try_from_secs_f64(seconds).ok()?;
        self.end.is_none_or(|end| due < end).then_some(due)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a small random generator with one stream per seed.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix {
    state: u64,
}

impl SplitMix {
    /// Makes stream `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self { state: seed };
        let base = mixed.next_u64();
        Self { state: base ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03) }
    }

    #[inline]
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number of at least 0 and less than 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut schedule: Schedule) -> Vec<Duration> {
        std::iter::from_fn(|| schedule.take_due(Duration::MAX)).collect()
    }

    fn of(course: &Course, arrivals: Arrivals, threads: usize, end: u64) -> Vec<Duration> {
        let end = Some(Duration::from_secs(end));
        let parts =
            (0..threads).flat_map(|t| all(course.schedule(arrivals, (t, threads), None, end)));
        let mut instants: Vec<_> = parts.collect();
        instants.sort_unstable();
        instants
    }

    fn near(a: Duration, b: f64) -> bool {
        (a.as_secs_f64() - b).abs() < 1e-6
    }

    #[test]
    fn constant_rate_is_even_over_threads() {
        for threads in [1, 3, 7] {
            let instants = of(&Course::constant(300.0), Arrivals::Constant, threads, 1000);
            assert_eq!(instants.len(), 300_000);
            let on_time = |(k, at): (usize, &Duration)| near(*at, k as f64 / 300.0);
            assert!(instants.iter().enumerate().all(on_time));
        }
    }

    #[test]
    fn nothing_is_due_before_its_instant() {
        let mut schedule =
            Course::constant(10.0).schedule(Arrivals::Constant, (0, 1), Some(2), None);
        assert_eq!(schedule.take_due(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(schedule.take_due(Duration::from_millis(99)), None);
        assert_eq!((schedule.next_due(), schedule.left()), (Some(Duration::from_millis(100)), 1));
        assert!(schedule.take_due(Duration::from_millis(100)).is_some());
        assert_eq!((schedule.next_due(), schedule.left()), (None, 0));
    }

    #[test]
    fn stages_ramp_linearly_and_hold() {
        let second = Duration::from_secs(1);
        let stages = [
            Stage { duration: second * 10, rate: 100.0 },
            Stage { duration: second * 5, rate: 100.0 },
            Stage { duration: second * 10, rate: 0.0 },
        ];
        let instants = of(&Course::stages(0.0, &stages), Arrivals::Constant, 2, 1000);
        // Triangle, rectangle, triangle.
        assert_eq!(instants.len(), 500 + 500 + 500);
        let within = |from: u64, to: u64| {
            instants.iter().filter(|at| (from..to).contains(&at.as_secs())).count()
        };
        assert!((within(4, 5) as f64 - 45.0).abs() <= 1.0, "half-way up");
        assert_eq!(within(10, 15), 500);
        assert!((within(20, 21) as f64 - 45.0).abs() <= 1.0, "half-way down");
    }

    #[test]
    fn poisson_gaps_are_exponential_and_seeded() {
        let course = Course::constant(1000.0);
        for threads in [1, 4] {
            let instants = of(&course, Arrivals::Poisson { seed: 7 }, threads, 200);
            assert_eq!(instants, of(&course, Arrivals::Poisson { seed: 7 }, threads, 200));
            assert_ne!(instants, of(&course, Arrivals::Poisson { seed: 8 }, threads, 200));
            // 200,000 expected, standard deviation 447.
            assert!((instants.len() as f64 - 200_000.0).abs() < 3_000.0, "{}", instants.len());
            let gaps: Vec<f64> =
                instants.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance =
                gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            // Exponential: the variance is the square of the mean.
            assert!((variance / (mean * mean) - 1.0).abs() < 0.05, "{variance} {mean}");
        }
    }

    proptest! {
        #[test]
        fn instants_are_sorted_and_fill_area(
            stages in prop::collection::vec((1u64..20_000, 0.0f64..500.0), 1..6),
            from in 0.0f64..500.0,
            threads in 1usize..5,
        ) {
            let stages: Vec<_> = stages.into_iter().map(|(ms, rate)| {
                Stage { duration: Duration::from_millis(ms), rate }
            }).collect();
            let course = Course::stages(from, &stages);
            let area: f64 = course.ramps.iter().map(Ramp::area).sum();
            for thread in 0..threads {
                let part = all(course.schedule(Arrivals::Constant, (thread, threads), None, None));
                prop_assert!(part.is_sorted());
            }
            let instants = of(&course, Arrivals::Constant, threads, 1_000_000);
            prop_assert!((instants.len() as f64 - area).abs() <= 1.0, "{} {area}", instants.len());
            let total: f64 = stages.iter().map(|stage| stage.duration.as_secs_f64()).sum();
            prop_assert!(instants.iter().all(|at| at.as_secs_f64() <= total + 1e-6));
        }
    }
}
