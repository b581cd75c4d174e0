//! The clock of the pools: tokio's, so that tests can stop it, plus the time for which the machine
//! was suspended, which tokio's clock leaves out.
//!
//! A laptop that was suspended for an hour has idle connections that are an hour old: no server has
//! kept them, and no packet has reported the close. On Linux `CLOCK_BOOTTIME` counts that time and
//! `CLOCK_MONOTONIC`, which is tokio's, does not; both are read without a system call. On Windows
//! tokio's clock counts it already. On macOS and the BSDs it is not counted. The time for which a
//! virtual machine was paused by its host is visible nowhere, unless the host corrects the guest's
//! clock.
//!
//! Timers do not fire earlier for it: the keeper closes an expired connection when its time comes
//! by tokio's clock. But no request is given such a connection, because that is decided by this
//! clock.

use std::time::Duration;

use keepwarm_pool::Moment;
use tokio::time::Instant;

/// Shortest difference that counts as a suspension: the two clocks are not read in the same
/// instant.
const NOTICED: Duration = Duration::from_secs(2);

/// Turns instants into the pool's moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
    source: SuspensionSource,
}

/// Source of the time for which the machine was suspended.
#[derive(Clone, Copy, Debug)]
enum SuspensionSource {
    /// Reading of `CLOCK_BOOTTIME` at zero.
    Kernel(Duration),
    /// Nanoseconds of suspension, set by a test.
    #[cfg(test)]
    Test(&'static std::sync::atomic::AtomicU64),
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { zero: Instant::now(), source: SuspensionSource::Kernel(time_since_boot()) }
    }

    /// Returns the clock of a machine that was suspended for `suspended` nanoseconds.
    #[cfg(test)]
    pub(crate) fn with_suspension(suspended: &'static std::sync::atomic::AtomicU64) -> Self {
        Self { zero: Instant::now(), source: SuspensionSource::Test(suspended) }
    }

    pub(crate) fn now(&self) -> Moment {
        let awake = self.awake();
        let nanos = (awake + self.suspended(awake)).as_nanos();
        Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the instant at which a timer for `moment` fires; `None` for a moment that never
    /// comes.
    pub(crate) fn instant(&self, moment: Moment) -> Option<Instant> {
        if moment.is_never() {
            return None;
        }
        let suspended = self.suspended(self.awake());
        self.zero.checked_add(moment.since(Moment::ZERO).saturating_sub(suspended))
    }

    fn awake(&self) -> Duration {
        Instant::now().saturating_duration_since(self.zero)
    }

    /// Returns the time for which the machine was suspended, given the time that it was awake.
    fn suspended(&self, awake: Duration) -> Duration {
        let suspended = match self.source {
            SuspensionSource::Kernel(zero) => {
                time_since_boot().saturating_sub(zero).saturating_sub(awake)
            }
            #[cfg(test)]
            SuspensionSource::Test(nanos) => {
                Duration::from_nanos(nanos.load(std::sync::atomic::Ordering::SeqCst))
            }
        };
        if suspended < NOTICED { Duration::ZERO } else { suspended }
    }
}

#[cfg(target_os = "linux")]
fn time_since_boot() -> Duration {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    // On a kernel without this clock suspension is not counted.
    nix::time::clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

#[cfg(not(target_os = "linux"))]
const fn time_since_boot() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use keepwarm_testkit::scripted::{Server, within};

    use super::*;
    use crate::client::Client;
    use crate::{CloseReason, ConnectionInfo};

    const SECOND: u64 = 1_000_000_000;

    async fn exchange(client: &Client, server: &Server) -> ConnectionInfo {
        let response = within("a response", client.get(server.url("/")).send()).await;
        let response = response.expect("a response");
        let info = response.connection();
        response.text().await.expect("a body");
        info
    }

    #[tokio::test]
    async fn suspended_connection_is_not_reused() {
        let suspended: &AtomicU64 = Box::leak(Box::default());
        let server = Server::saying("x");
        let clock = Clock::with_suspension(suspended);
        let client = Client::from_builder(Client::builder(), clock);
        exchange(&client, &server).await;

        suspended.store(60 * SECOND, Ordering::SeqCst);
        let info = exchange(&client, &server).await;
        assert!(info.reused() && info.idle_age() >= Some(Duration::from_secs(60)), "{info:?}");

        suspended.store((60 + 90) * SECOND, Ordering::SeqCst);
        assert!(!exchange(&client, &server).await.reused(), "no server has kept it for 90 s");
        let stats = client.stats();
        let origin = stats.origin(&server.origin()).expect("it was asked");
        assert_eq!((origin.opened, origin.closed_for(CloseReason::IdleTimeout)), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn timers_run_on_tokios_clock() {
        let suspended: &AtomicU64 = Box::leak(Box::default());
        let clock = Clock::with_suspension(suspended);
        let deadline = clock.now().after(Duration::from_secs(100));
        suspended.store(40 * SECOND, Ordering::SeqCst);
        let alarm = clock.instant(deadline).expect("a moment that comes");
        assert_eq!(alarm - Instant::now(), Duration::from_secs(60));
        assert_eq!(clock.instant(Moment::NEVER), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn awake_machine_has_no_suspension() {
        let clock = Clock::start();
        let SuspensionSource::Kernel(zero) = clock.source else { panic!("the kernel's") };
        assert!(zero > Duration::ZERO, "the kernel has such a clock");
        std::thread::sleep(Duration::from_millis(5));
        assert!(time_since_boot() - zero >= Duration::from_millis(5), "and it runs");
        assert_eq!(clock.suspended(clock.awake()), Duration::ZERO);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn boot_clock_ahead_means_suspension() {
        let mut clock = Clock::start();
        let SuspensionSource::Kernel(zero) = &mut clock.source else { panic!("the kernel's") };
        *zero -= Duration::from_secs(10);
        let slept = clock.now().since(Moment::ZERO);
        assert!(slept >= Duration::from_secs(10), "{slept:?}");
        assert!(slept < Duration::from_secs(100), "{slept:?}");
    }
}
