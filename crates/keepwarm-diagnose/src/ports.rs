//! Effect of a rate of closes on the local ports towards a remote destination.
//!
//! Owns two forecasts: from a steady rate alone, and from the age of each TIME_WAIT.
//!
//! On loopback Linux lets connect(2) take the port of a TIME_WAIT after one second
//! (`net.ipv4.tcp_tw_reuse` is 2 by default: loopback only), so a laptop hides what production
//! shows. A remote destination keeps each port for the whole 60 seconds.

use std::time::Duration;

use crate::words::thousands;

/// Length of TIME_WAIT on Linux: `TCP_TIMEWAIT_LEN`, `include/net/tcp.h`. Not a setting.
pub const TIME_WAIT: Duration = Duration::from_secs(60);

/// Effect of a steady rate of client-first closes on the ephemeral ports of one remote destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortForecast {
    /// Closes a second, each of which holds a port for [`TIME_WAIT`].
    pub closes_per_second: f64,
    /// Ports in the ephemeral range.
    pub ports: u64,
}

impl PortForecast {
    /// Takes the rate from closes by the client within a window; 0 if the window is empty.
    #[must_use]
    pub fn new(client_closes: u64, window: Duration, ports: u64) -> Self {
        let seconds = window.as_secs_f64();
        let closes_per_second = if seconds > 0.0 { client_closes as f64 / seconds } else { 0.0 };
        Self { closes_per_second, ports }
    }

    /// Returns the new connections a second that the ports sustain for ever.
    #[must_use]
    pub fn sustainable_per_second(&self) -> f64 {
        self.ports as f64 / TIME_WAIT.as_secs_f64()
    }

    /// Returns the ports held once closes and expiries balance, if there were enough.
    #[must_use]
    pub fn held(&self) -> f64 {
        self.closes_per_second * TIME_WAIT.as_secs_f64()
    }

    /// Returns the time until connect(2) fails with "cannot assign requested address"; `None` if it
    /// never does.
    #[must_use]
    pub fn exhausted_after(&self) -> Option<Duration> {
        (self.held() > self.ports as f64)
            .then(|| Duration::from_secs_f64(self.ports as f64 / self.closes_per_second))
    }

    /// Says in one sentence what a remote upstream would show that loopback hides.
    #[must_use]
    pub fn summary(&self) -> String {
        let ports = thousands(self.ports);
        let sustained = self.sustainable_per_second();
        let closes = thousands(self.closes_per_second.round() as u64);
        if let Some(after) = self.exhausted_after() {
            format!(
                "towards a remote upstream, {closes} closes a second would use up all {ports} local \
                 ports in {:.0} s, and connects would fail with \"cannot assign requested address\": \
                 {ports} ports / 60 s of TIME_WAIT sustain {sustained:.0} a second; loopback hides \
                 it by reusing a port after 1 s",
                after.as_secs_f64().max(1.0)
            )
        } else if self.closes_per_second < 0.5 {
            "towards a remote upstream it would be the same: no port is held by TIME_WAIT"
                .to_owned()
        } else {
            format!(
                "towards a remote upstream, {closes} closes a second would hold {} of {ports} local \
                 ports in TIME_WAIT, which sustain {sustained:.0} a second",
                thousands(self.held().round() as u64)
            )
        }
    }
}

/// Seconds for which a growth is expected to go on.
const A_DAY: f64 = 86_400.0;

/// Time until local ports get scarce, from the age of each TIME_WAIT to the second and the rate at
/// which new ones come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortOutlook {
    /// Time until half of the ports are taken and connect(2) gets slow; `None`: never at this rate.
    pub cliff_in: Option<Duration>,
    /// Time until all are taken and connect(2) fails; `None`: never at this rate.
    pub exhausted_in: Option<Duration>,
}

impl PortOutlook {
    /// Forecasts from `used` ports of `range` that are taken now.
    ///
    /// `by_age[s]` of the used ones are TIME_WAITs entered `s` seconds ago; `closes_per_second`
    /// more are entered from now on, and every other open connection stays open. After 60 s the
    /// rate alone decides, so the forecast ends there.
    #[must_use]
    pub fn of(used: u64, range: u64, by_age: &[u32], closes_per_second: f64) -> Self {
        Self::growing(used, range, by_age, closes_per_second, 0.0)
    }

    /// Forecasts as [`of`](Self::of) does, where `growth_per_second` more connections stay open each
    /// second. Such a forecast goes on for a day.
    #[must_use]
    pub fn growing(
        used: u64,
        range: u64,
        by_age: &[u32],
        closes_per_second: f64,
        growth_per_second: f64,
    ) -> Self {
        let mut outlook = Self { cliff_in: None, exhausted_in: None };
        let seconds = TIME_WAIT.as_secs();
        let mut expired = 0;
        let mut taken = 0.0;
        for ahead in 0..=seconds {
            if let Some(oldest) = seconds.checked_sub(ahead).filter(|_| ahead > 0) {
                let place = usize::try_from(oldest).unwrap_or(usize::MAX);
                expired += by_age.get(place).copied().map_or(0, u64::from);
            }
            let more = closes_per_second + growth_per_second;
            taken = used.saturating_sub(expired) as f64 + more * ahead as f64;
            let when = Some(Duration::from_secs(ahead));
            if outlook.cliff_in.is_none() && taken * 2.0 >= range as f64 {
                outlook.cliff_in = when;
            }
            if outlook.exhausted_in.is_none() && taken >= range as f64 {
                outlook.exhausted_in = when;
            }
        }
        // From then on as many TIME_WAITs end as are entered.
        let later = |ports: f64| {
            let ahead = seconds as f64 + (ports - taken) / growth_per_second;
            (growth_per_second > 0.0 && ahead <= A_DAY).then(|| Duration::from_secs_f64(ahead))
        };
        outlook.cliff_in = outlook.cliff_in.or_else(|| later(range as f64 / 2.0));
        outlook.exhausted_in = outlook.exhausted_in.or_else(|| later(range as f64));
        outlook
    }
}
