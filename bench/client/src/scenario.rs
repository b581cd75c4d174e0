//! What is asked for, by how many at once, on how many threads.

/// One row of conditions, the same for every client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) body_bytes: usize,
    pub(crate) concurrency: usize,
    pub(crate) threads: usize,
    /// Requests that are measured, all tasks together, in a default run.
    requests: usize,
}

/// Each takes less than a second on two cores of its own: many short measurements in turn stand noise
/// better than few long ones.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("get8-c100-t1", 8, 100, 1, 30_000),
    scenario("get8-c100-t2", 8, 100, 2, 30_000),
    scenario("get8-c1-t1", 8, 1, 1, 10_000),
    scenario("get8-c1000-t1", 8, 1000, 1, 30_000),
    scenario("get16k-c100-t1", 16 << 10, 100, 1, 20_000),
    scenario("get1m-c100-t1", 1 << 20, 100, 1, 800),
];

const fn scenario(
    name: &'static str,
    body_bytes: usize,
    concurrency: usize,
    threads: usize,
    requests: usize,
) -> Scenario {
    Scenario { name, body_bytes, concurrency, threads, requests }
}

impl Scenario {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        SCENARIOS.iter().find(|scenario| scenario.name == name).copied().ok_or_else(|| {
            let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            format!("no scenario is called {name:?}; there are {}", names.join(", "))
        })
    }

    /// Measured requests of each task, at `percent` of the default; at least one.
    pub(crate) fn requests_per_task(&self, percent: usize) -> usize {
        (self.requests * percent / 100 / self.concurrency).max(1)
    }

    /// Requests of each task before the measurement: a tenth, and at least three.
    pub(crate) fn warm_up_per_task(&self, percent: usize) -> usize {
        (self.requests_per_task(percent) / 10).max(3)
    }

    pub(crate) fn in_words(&self) -> String {
        let size = match self.body_bytes {
            bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
            bytes => format!("{bytes} bytes"),
        };
        let threads = match self.threads {
            1 => "one client thread on a core of its own",
            _ => "two client threads on two cores, one of them shared with the server",
        };
        format!("GET of {size}, {} at once, {threads}", self.concurrency)
    }
}
