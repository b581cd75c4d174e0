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
//!
//! A checkout looks for a suspension. A return does not: a connection that returns after one counts as
//! idle since before it, and the next checkout finds it too old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keepwarm_pool::Moment;
use tokio::time::Instant;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Shortest difference, in nanoseconds, that counts as a suspension. The two clocks are read one after
/// the other, so a small difference means nothing.
const NOTICED: u64 = 2 * SECOND;

/// Turns instants into the pool's moments.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    zero: Instant,
    source: SuspensionSource,
    /// Nanoseconds of suspension that the last look has found.
    found: Arc<AtomicU64>,
}

/// Source of the time for which the machine was suspended.
#[derive(Clone, Copy, Debug)]
enum SuspensionSource {
    /// Reading of `CLOCK_BOOTTIME` at zero, in nanoseconds.
    Kernel(u64),
    /// Nanoseconds of suspension, set by a test.
    #[cfg(test)]
    Test(&'static AtomicU64),
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::new(SuspensionSource::Kernel(nanos_since_boot()))
    }

    /// Returns the clock of a machine that was suspended for `suspended` nanoseconds.
    #[cfg(test)]
    pub(crate) fn with_suspension(suspended: &'static AtomicU64) -> Self {
        Self::new(SuspensionSource::Test(suspended))
    }

    fn new(source: SuspensionSource) -> Self {
        Self { zero: Instant::now(), source, found: Arc::default() }
    }

    pub(crate) fn now(&self) -> Moment {
        let awake = self.awake();
        let suspended = self.suspended(awake);
        if suspended != self.found.load(Ordering::Relaxed) {
            self.found.store(suspended, Ordering::Relaxed);
        }
        Moment::from_nanos(awake.saturating_add(suspended))
    }

    /// Returns the moment by the suspension that the last [`now`](Self::now) has found: too early if
    /// the machine was suspended since. For inputs that are safe with an earlier moment.
    pub(crate) fn now_at_earliest(&self) -> Moment {
        Moment::from_nanos(self.awake().saturating_add(self.found.load(Ordering::Relaxed)))
    }

    /// Returns the instant at which a timer for `moment` fires; `None` for a moment that never
    /// comes.
    pub(crate) fn instant(&self, moment: Moment) -> Option<Instant> {
        if moment.is_never() {
            return None;
        }
        let suspended = Duration::from_nanos(self.suspended(self.awake()));
        self.zero.checked_add(moment.since(Moment::ZERO).saturating_sub(suspended))
    }

    /// Returns the nanoseconds for which the machine was awake.
    fn awake(&self) -> u64 {
        let awake = Instant::now().saturating_duration_since(self.zero);
        awake.as_secs().saturating_mul(SECOND).saturating_add(awake.subsec_nanos().into())
    }

    /// Returns the nanoseconds for which the machine was suspended, given those that it was awake.
    fn suspended(&self, awake: u64) -> u64 {
        let suspended = match self.source {
            SuspensionSource::Kernel(zero) => {
                nanos_since_boot().saturating_sub(zero).saturating_sub(awake)
            }
            #[cfg(test)]
            SuspensionSource::Test(nanos) => nanos.load(Ordering::SeqCst),
        };
        if suspended < NOTICED { 0 } else { suspended }
    }
}

#[cfg(target_os = "linux")]
fn nanos_since_boot() -> u64 {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    // On a kernel without this clock suspension is not counted.
    let Ok(time) = nix::time::clock_gettime(clock) else { return 0 };
    let (seconds, nanos) = (time.tv_sec().cast_unsigned(), time.tv_nsec().cast_unsigned());
    seconds.saturating_mul(SECOND).saturating_add(nanos)
}

#[cfg(not(target_os = "linux"))]
const fn nanos_since_boot() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::scripted::{Server, within};

    use super::*;
    use crate::client::Client;
    use crate::{CloseReason, ConnectionInfo};

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
    async fn return_counts_as_before_the_suspension() {
        let suspended: &AtomicU64 = Box::leak(Box::default());
        let clock = Clock::with_suspension(suspended);
        let before = clock.now();
        suspended.store(120 * SECOND, Ordering::SeqCst);
        assert_eq!(clock.now_at_earliest(), before, "no look is taken");
        assert_eq!(clock.now(), before.after(Duration::from_secs(120)));
        assert_eq!(clock.now_at_earliest(), clock.now(), "what was found is known");
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
        assert!(zero > 0, "the kernel has such a clock");
        std::thread::sleep(Duration::from_millis(5));
        assert!(nanos_since_boot() - zero >= 5_000_000, "and it runs");
        assert_eq!(clock.suspended(clock.awake()), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn boot_clock_ahead_means_suspension() {
        let mut clock = Clock::start();
        let SuspensionSource::Kernel(zero) = &mut clock.source else { panic!("the kernel's") };
        *zero -= 10 * SECOND;
        let slept = clock.now().since(Moment::ZERO);
        assert!(slept >= Duration::from_secs(10), "{slept:?}");
        assert!(slept < Duration::from_secs(100), "{slept:?}");
    }
}
