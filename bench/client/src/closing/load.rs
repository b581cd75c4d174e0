//! The requests, each with a target of its own, and what became of them.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clients::Failure;
use crate::closing::clients::Asker;

/// One request in so many is a POST.
const POST_EVERY: usize = 5;

/// When the requests are sent. The Go program does the same, from the same numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// All lanes at once, and then again when their connections have been idle for a second, as
    /// nearly as a timer of a millisecond allows: from 2 ms before to 8 ms after it, the server's
    /// own timers being up to 4 ms late.
    Rounds { rounds: usize, lanes: usize },
    /// Each lane one request after the other.
    Steady { lanes: usize, requests: usize },
}

/// Fates of the requests, by the client's word.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub(crate) struct Outcome {
    pub(crate) gets: u64,
    pub(crate) posts: u64,
    pub(crate) failed_gets: u64,
    pub(crate) failed_posts: u64,
    /// Responses that were meant for another request.
    pub(crate) wrong: u64,
}

impl Load {
    /// Rounds (one, if the load is steady), lanes, requests of each lane in a round.
    pub(crate) fn numbers(self) -> [usize; 3] {
        match self {
            Self::Rounds { rounds, lanes } => [rounds, lanes, 1],
            Self::Steady { lanes, requests } => [1, lanes, requests],
        }
    }

    pub(crate) async fn run(self, client: impl Asker, origin: &str) -> Result<Outcome, Failure> {
        let [rounds, lanes, requests] = self.numbers();
        let mut outcome = Outcome::default();
        for round in 0..rounds {
            let start = Instant::now() + Duration::from_millis(if rounds > 1 { 998 } else { 0 });
            let mut tasks = JoinSet::new();
            for lane in 0..lanes {
                let first = (round * lanes + lane) * requests;
                let (client, origin) = (client.clone(), origin.to_owned());
                tasks.spawn(async move {
                    if rounds > 1 {
                        let late = Duration::from_micros((lane * 100) as u64);
                        tokio::time::sleep_until(start + late).await;
                    }
                    let mut own = Outcome::default();
                    for number in first..first + requests {
                        own.ask(&client, &origin, number).await;
                    }
                    own
                });
            }
            while let Some(own) = tasks.join_next().await {
                outcome.add(own?);
            }
        }
        Ok(outcome)
    }
}

impl Outcome {
    async fn ask(&mut self, client: &impl Asker, origin: &str, number: usize) {
        let post = number.is_multiple_of(POST_EVERY);
        let target = format!("/{number}");
        let got = client.ask(post, &format!("{origin}{target}")).await;
        let (asked, failed) = if post {
            (&mut self.posts, &mut self.failed_posts)
        } else {
            (&mut self.gets, &mut self.failed_gets)
        };
        *asked += 1;
        match got {
            Ok(text) => self.wrong += u64::from(text != target),
            Err(_) => *failed += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.gets += other.gets;
        self.posts += other.posts;
        self.failed_gets += other.failed_gets;
        self.failed_posts += other.failed_posts;
        self.wrong += other.wrong;
    }
}
