//! What a rate of closes does to the local ports, towards a remote destination.
//!
//! On loopback Linux lets connect(2) take the port of a TIME_WAIT after one second
//! (`net.ipv4.tcp_tw_reuse` is 2 by default: loopback only), so a laptop hides what production
//! shows. A remote destination keeps each port for the whole 60 seconds.

use std::time::Duration;

use crate::Evidence;

/// How long TIME_WAIT lasts on Linux: `TCP_TIMEWAIT_LEN`, `include/net/tcp.h`. Not a setting.
pub const TIME_WAIT: Duration = Duration::from_secs(60);

/// What a steady rate of client-first closes does to the ephemeral ports of one remote destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortForecast {
    /// Closes a second, each of which holds a port for [`TIME_WAIT`].
    pub closes_per_second: f64,
    /// Ports there are.
    pub ports: u64,
}

impl PortForecast {
    /// `None` where the number of ports is not known.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Option<Self> {
        let ports = evidence.ports?;
        Some(Self { closes_per_second: evidence.client_closes_per_second(), ports })
    }

    /// New connections a second that the ports can bear for ever.
    #[must_use]
    pub fn sustainable_per_second(&self) -> f64 {
        self.ports as f64 / TIME_WAIT.as_secs_f64()
    }

    /// Ports held once closes and expiries balance, if there were enough.
    #[must_use]
    pub fn held(&self) -> f64 {
        self.closes_per_second * TIME_WAIT.as_secs_f64()
    }

    /// When connect(2) fails with "cannot assign requested address"; `None` if it never does.
    #[must_use]
    pub fn exhausted_after(&self) -> Option<Duration> {
        (self.held() > self.ports as f64)
            .then(|| Duration::from_secs_f64(self.ports as f64 / self.closes_per_second))
    }
}

/// When local ports get scarce, from what is known: each TIME_WAIT's end to the second, and the
/// rate at which new ones come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortOutlook {
    /// When half of the ports are taken, and connect(2) gets slow; `None`: never at this rate.
    pub cliff_in: Option<Duration>,
    /// When all are taken, and connect(2) fails; `None`: never at this rate.
    pub exhausted_in: Option<Duration>,
}

impl PortOutlook {
    /// `used` ports of `range` are taken now; of these `by_age[s]` are TIME_WAITs entered `s`
    /// seconds ago; `closes_per_second` more are entered from now on, and whatever else is open
    /// stays so. After 60 s the rate alone decides, so that is as far as it looks.
    #[must_use]
    pub fn of(used: u64, range: u64, by_age: &[u32], closes_per_second: f64) -> Self {
        let mut outlook = Self { cliff_in: None, exhausted_in: None };
        let seconds = TIME_WAIT.as_secs();
        let mut expired = 0;
        for ahead in 0..=seconds {
            if let Some(oldest) = seconds.checked_sub(ahead).filter(|_| ahead > 0) {
                let place = usize::try_from(oldest).unwrap_or(usize::MAX);
                expired += by_age.get(place).copied().map_or(0, u64::from);
            }
            let taken = used.saturating_sub(expired) as f64 + closes_per_second * ahead as f64;
            let when = Some(Duration::from_secs(ahead));
            if outlook.cliff_in.is_none() && taken * 2.0 >= range as f64 {
                outlook.cliff_in = when;
            }
            if outlook.exhausted_in.is_none() && taken >= range as f64 {
                outlook.exhausted_in = when;
            }
        }
        outlook
    }
}
