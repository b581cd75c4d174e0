//! The pause that a server asks for: a GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, section 7) says that its
//! client does too much, and a new connection at once would be more of it. Owns the length of the pause;
//! the dials keep it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The first pause. Each further one is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// Time without such a GOAWAY after which the next pause is the first again.
const MEMORY: Duration = Duration::from_secs(60);

/// Pauses before the dials to one origin.
#[derive(Debug, Default)]
pub(crate) struct Calm(Mutex<Option<Asked>>);

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    pause: Duration,
}

impl Calm {
    /// Begins a pause, unless one is under way: a server that ends several connections asks once.
    pub(crate) fn ask(&self) {
        let now = Instant::now();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match *asked {
            Some(last) if now < last.at + last.pause => return,
            Some(last) if now < last.at + MEMORY => (2 * last.pause).min(LONGEST),
            _ => FIRST,
        };
        *asked = Some(Asked { at: now, pause });
    }

    /// Waits until no pause is under way.
    pub(crate) async fn wait(&self) {
        while let Some(end) = self.end().filter(|end| *end > Instant::now()) {
            sleep_until(end).await;
        }
    }

    fn end(&self) -> Option<Instant> {
        let asked = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.map(|asked| asked.at + asked.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_are_forgotten() {
        let calm = Calm::default();
        let pause = async || {
            let begun = Instant::now();
            calm.ask();
            calm.ask();
            calm.wait().await;
            begun.elapsed()
        };
        for tenths in [1, 2, 4, 8, 16, 32, 64, 100, 100] {
            assert_eq!(pause().await, tenths * FIRST);
        }
        tokio::time::sleep(MEMORY).await;
        assert_eq!(pause().await, FIRST);
    }
}
