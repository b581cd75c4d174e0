//! What is asked for, by how many at once, on how many threads.

/// One row of conditions, the same for every client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) body_bytes: usize,
    pub(crate) concurrency: usize,
    pub(crate) threads: usize,
    pub(crate) tls: bool,
    /// The body comes in gzip, and the client sends one cookie of its jar.
    pub(crate) featured: bool,
    /// Connections of HTTP/2, by prior knowledge; `None` is HTTP/1.1.
    pub(crate) http2: Option<u32>,
    /// Requests that are measured, all tasks together, in a default run.
    requests: usize,
}

/// Each takes a second or less on two cores of its own: many short measurements in turn stand noise
/// better than few long ones. All of them, with five clients and five rounds, take eight minutes.
pub(crate) const SCENARIOS: &[Scenario] = &[
    plain("get8-c100-t1", 8, 100, 1, 30_000),
    plain("get8-c100-t2", 8, 100, 2, 30_000),
    plain("get8-c1-t1", 8, 1, 1, 8_000),
    plain("get8-c1-t2", 8, 1, 2, 8_000),
    plain("get8-c1000-t1", 8, 1000, 1, 30_000),
    plain("get8-c1000-t2", 8, 1000, 2, 30_000),
    plain("get16k-c100-t1", 16 << 10, 100, 1, 20_000),
    plain("get16k-c100-t2", 16 << 10, 100, 2, 20_000),
    plain("get1m-c100-t1", 1 << 20, 100, 1, 800),
    plain("get1m-c100-t2", 1 << 20, 100, 2, 800),
    tls("tls-get8-c100-t1", 8, 100, 1, 20_000),
    tls("tls-get8-c100-t2", 8, 100, 2, 20_000),
    tls("tls-get8-c1-t1", 8, 1, 1, 6_000),
    tls("tls-get8-c1-t2", 8, 1, 2, 6_000),
    tls("tls-get8-c1000-t1", 8, 1000, 1, 15_000),
    tls("tls-get8-c1000-t2", 8, 1000, 2, 15_000),
    tls("tls-get16k-c100-t1", 16 << 10, 100, 1, 10_000),
    tls("tls-get16k-c100-t2", 16 << 10, 100, 2, 10_000),
    tls("tls-get1m-c100-t1", 1 << 20, 100, 1, 300),
    tls("tls-get1m-c100-t2", 1 << 20, 100, 2, 300),
    featured("gzip1k-c100-t1", 1 << 10, 100, 20_000),
    featured("gzip64k-c100-t1", 64 << 10, 100, 3_000),
    http2("h2-get8-s1-t1", 8, 1, 1, 8_000),
    http2("h2-get8-s1-t2", 8, 1, 2, 8_000),
    http2("h2-get8-s10-t1", 8, 10, 1, 20_000),
    http2("h2-get8-s10-t2", 8, 10, 2, 20_000),
    http2("h2-get8-s100-t1", 8, 100, 1, 30_000),
    http2("h2-get8-s100-t2", 8, 100, 2, 30_000),
    Scenario { http2: Some(4), ..http2("h2-get8-c4s100-t1", 8, 400, 1, 30_000) },
    Scenario { http2: Some(4), ..http2("h2-get8-c4s100-t2", 8, 400, 2, 30_000) },
    http2("h2-get1m-t1", 1 << 20, 10, 1, 400),
    http2("h2-get1m-t2", 1 << 20, 10, 2, 400),
];

const fn plain(
    name: &'static str,
    body_bytes: usize,
    concurrency: usize,
    threads: usize,
    requests: usize,
) -> Scenario {
    let (featured, http2) = (false, None);
    Scenario { name, body_bytes, concurrency, threads, tls: false, featured, http2, requests }
}

const fn tls(
    name: &'static str,
    body_bytes: usize,
    concurrency: usize,
    threads: usize,
    requests: usize,
) -> Scenario {
    Scenario { tls: true, ..plain(name, body_bytes, concurrency, threads, requests) }
}

const fn featured(
    name: &'static str,
    body_bytes: usize,
    concurrency: usize,
    requests: usize,
) -> Scenario {
    Scenario { featured: true, ..plain(name, body_bytes, concurrency, 1, requests) }
}

/// Requests at once are streams of one connection.
const fn http2(
    name: &'static str,
    body_bytes: usize,
    streams: usize,
    threads: usize,
    requests: usize,
) -> Scenario {
    Scenario { http2: Some(1), ..plain(name, body_bytes, streams, threads, requests) }
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

    /// Requests of each task before the measurement: a tenth, and at least three (of the largest
    /// bodies, two).
    pub(crate) fn warm_up_per_task(&self, percent: usize) -> usize {
        let least = if self.body_bytes >= 1 << 20 { 2 } else { 3 };
        (self.requests_per_task(percent) / 10).max(least)
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
        let tls = match (self.tls, self.featured, self.http2) {
            (_, _, Some(1)) => " by HTTP/2 on one connection",
            (_, _, Some(_)) => " by HTTP/2 on four connections",
            (true, ..) => " over TLS",
            (_, true, _) => " in gzip, with a cookie",
            _ => "",
        };
        format!("GET of {size}{tls}, {} at once, {threads}", self.concurrency)
    }
}
