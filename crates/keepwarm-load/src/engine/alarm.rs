//! Timers that end a sleep in epoll_wait(2) to the microsecond. Owns two descriptors in the epoll
//! set; the engine owns the instants.
//!
//! epoll_wait(2) sleeps in whole milliseconds, rounded up, so that an instant of an open loop would
//! be served half a millisecond late on average. epoll_pwait2(2) takes nanoseconds, but Linux has
//! it only since 5.11, and seccomp filters older than that refuse it, some by ending the process. A
//! timerfd is as old as Linux 2.6.25. It costs a timerfd_settime(2) for each new instant; an instant
//! that is still to come when events end the sleep needs no second call.
//!
//! The heartbeat expires every [`BEAT`], whatever the server does. The time from an expiry until
//! this thread notices it is the thread's own lateness, measured apart from every response.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Events of the alarm and of the heartbeat. No slot has these indexes.
pub(super) const ALARM: u64 = u64::MAX;
pub(super) const HEARTBEAT: u64 = u64::MAX - 1;

/// Time between two heartbeats: a hundred samples a second for about 0.05 % of a core. Not a whole
/// number of milliseconds, so that heartbeats do not keep step with the target's own timers.
const BEAT: Duration = Duration::from_micros(9_700);

/// The most heartbeats that one delay is counted as: ten minutes without a core.
const MOST_BEATS: u32 = 60_000;

const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The timer of the next instant of an open loop, or of the next dial.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    /// The instant for which the timer was set last.
    set_for: Option<Instant>,
    /// One instant on both clocks: the standard library shows no absolute time.
    origin: (Instant, Duration),
}

impl Alarm {
    pub(super) fn new(epoll: &OwnedFd) -> Result<Self, Errno> {
        let timer = timer(epoll, ALARM)?;
        let origin = Instant::now();
        let clock = clock_gettime(ClockId::Monotonic);
        // The clock begins with the boot of the machine, and is never negative.
        Ok(Self { timer, set_for: None, origin: (origin, clock.try_into().unwrap_or_default()) })
    }

    /// Lets epoll_wait(2) return at `at`. Does nothing if the timer is set for that instant.
    pub(super) fn set(&mut self, at: Instant) {
        if self.set_for == Some(at) {
            return;
        }
        let (origin, clock) = self.origin;
        let absolute = clock + at.saturating_duration_since(origin);
        let value = Itimerspec { it_interval: NEVER, it_value: timespec(absolute) };
        // Fails only for a wrong descriptor or time. The sleep is then as long as without a timer.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value);
        self.set_for = Some(at);
    }
}

/// A timer that expires at regular instants, to see how late this thread notices.
#[derive(Debug)]
pub(super) struct Heartbeat {
    timer: OwnedFd,
    /// The first expiry that this thread has not noticed yet.
    next: Instant,
}

impl Heartbeat {
    pub(super) fn new(epoll: &OwnedFd) -> Result<Self, Errno> {
        let timer = timer(epoll, HEARTBEAT)?;
        let value = Itimerspec { it_interval: timespec(BEAT), it_value: timespec(BEAT) };
        let next = Instant::now() + BEAT;
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &value)?;
        Ok(Self { timer, next })
    }

    /// Handles the timer's event: the kernel starts the next interval only when the last expiry has
    /// been read.
    pub(super) fn restart(&self) {
        let _ = rustix::io::read(&self.timer, &mut [0u8; 8]);
    }

    /// Passes the delay of each expiry that has passed by `now` to `record`. A delay of many beats
    /// is a sample for each of them: otherwise a long one would weigh as little as a short one.
    pub(super) fn notice(&mut self, now: Instant, mut record: impl FnMut(Duration)) {
        for _ in 0..MOST_BEATS {
            if self.next > now {
                return;
            }
            record(now - self.next);
            self.next += BEAT;
        }
        self.next = now + BEAT;
    }
}

/// Makes a timer whose expiries are events of `epoll`. Edge-triggered: each expiry is one event,
/// also if the one before was not read.
fn timer(epoll: &OwnedFd, event: u64) -> Result<OwnedFd, Errno> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let interest = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(epoll, &timer, epoll::EventData::new_u64(event), interest)?;
    Ok(timer)
}

fn timespec(time: Duration) -> Timespec {
    let seconds = time.as_secs().try_into().unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use rustix::buffer::spare_capacity;

    use super::*;

    /// Sleeps as the engine does, and returns the events that ended the sleep.
    fn sleep(epoll: &OwnedFd, most: Duration) -> Vec<u64> {
        let mut events = Vec::with_capacity(8);
        epoll::wait(epoll, spare_capacity(&mut events), Some(&timespec(most))).unwrap();
        events.iter().map(|event: &epoll::Event| event.data.u64()).collect()
    }

    /// The best of many sleeps: a busy machine makes single ones late, and a clock of whole
    /// milliseconds all of them.
    #[test]
    fn alarm_ends_sleep_within_a_millisecond() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut alarm = Alarm::new(&epoll).unwrap();
        let mut best = Duration::MAX;
        for _ in 0..100 {
            let at = Instant::now() + Duration::from_micros(1_200);
            alarm.set(at);
            assert_eq!(sleep(&epoll, Duration::from_secs(10)), [ALARM]);
            let woke = Instant::now();
            assert!(woke >= at, "{:?} too early", at - woke);
            best = best.min(woke - at);
        }
        assert!(best < Duration::from_micros(300), "{best:?} late at best");
    }

    #[test]
    fn instant_set_twice_is_one_event() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut alarm = Alarm::new(&epoll).unwrap();
        let at = Instant::now() + Duration::from_millis(5);
        alarm.set(at);
        assert_eq!(sleep(&epoll, Duration::from_secs(10)), [ALARM]);
        alarm.set(at);
        assert_eq!(sleep(&epoll, Duration::from_millis(20)), [0; 0], "no second event");
    }

    #[test]
    fn long_delay_counts_for_each_missed_beat() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut heartbeat = Heartbeat::new(&epoll).unwrap();
        let first = heartbeat.next;
        let mut delays = Vec::new();
        heartbeat.notice(first + BEAT * 3, |delay| delays.push(delay));
        assert_eq!(delays, [BEAT * 3, BEAT * 2, BEAT, Duration::ZERO]);
        heartbeat.notice(first + BEAT * 3, |_| unreachable!("all were noticed"));
        for _ in 0..3 {
            assert_eq!(sleep(&epoll, Duration::from_secs(10)), [HEARTBEAT]);
            heartbeat.restart();
        }
    }
}
