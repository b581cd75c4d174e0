//! Conditions of a measurement: the response, the requests at once, and the threads.

/// One row of conditions, the same for every client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) shape: &'static Shape,
    pub(crate) threads: usize,
}

/// The conditions that scenarios on different numbers of threads have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    name: &'static str,
    pub(crate) wire: Wire,
    pub(crate) body_bytes: usize,
    pub(crate) concurrency: usize,
    /// Requests that are measured, all tasks together, in a default run.
    requests: usize,
}

/// The way that requests and responses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Plain,
    Tls,
    /// The body comes in gzip, and the client sends one cookie of its jar. On one thread only.
    Featured,
    /// Streams of so many connections of HTTP/2, by prior knowledge.
    Http2(u32),
    /// Streams of one connection of HTTP/2, by prior knowledge, to nghttpd (nghttp2).
    Nghttpd,
}

/// Each takes a second or less on two cores of its own: many short measurements in turn stand noise
/// better than few long ones. All of them, with five clients and five rounds, take eight minutes.
const SHAPES: &[Shape] = {
    use Wire::{Featured, Http2, Nghttpd, Plain, Tls};
    &[
        shape("get8-c100", Plain, 8, 100, 30_000),
        shape("get8-c1", Plain, 8, 1, 8_000),
        shape("get8-c1000", Plain, 8, 1000, 30_000),
        shape("get16k-c100", Plain, 16 << 10, 100, 20_000),
        shape("get1m-c100", Plain, 1 << 20, 100, 800),
        shape("tls-get8-c100", Tls, 8, 100, 20_000),
        shape("tls-get8-c1", Tls, 8, 1, 6_000),
        shape("tls-get8-c1000", Tls, 8, 1000, 15_000),
        shape("tls-get16k-c100", Tls, 16 << 10, 100, 10_000),
        shape("tls-get1m-c100", Tls, 1 << 20, 100, 300),
        shape("gzip1k-c100", Featured, 1 << 10, 100, 20_000),
        shape("gzip64k-c100", Featured, 64 << 10, 100, 3_000),
        shape("h2-get8-s1", Http2(1), 8, 1, 16_000),
        shape("h2-get8-s10", Http2(1), 8, 10, 20_000),
        shape("h2-get8-s100", Http2(1), 8, 100, 30_000),
        shape("h2-get8-c4s100", Http2(4), 8, 400, 30_000),
        shape("h2-get1m", Http2(1), 1 << 20, 10, 400),
        shape("nghttpd-get8-s1", Nghttpd, 8, 1, 8_000),
        shape("nghttpd-get8-s100", Nghttpd, 8, 100, 30_000),
    ]
};

const fn shape(
    name: &'static str,
    wire: Wire,
    body_bytes: usize,
    concurrency: usize,
    requests: usize,
) -> Shape {
    Shape { name, wire, body_bytes, concurrency, requests }
}

impl Scenario {
    /// Returns all scenarios, those of one shape one after the other.
    pub(crate) fn all() -> Vec<Self> {
        let threads = |shape: &Shape| if shape.wire == Wire::Featured { 1..=1 } else { 1..=2 };
        let of = |shape| threads(shape).map(move |threads| Self { shape, threads });
        SHAPES.iter().flat_map(of).collect()
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Self::all().into_iter().find(|scenario| scenario.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::all().iter().map(Self::name).collect();
            format!("no scenario is called {name:?}; there are {}", names.join(", "))
        })
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-t{}", self.shape.name, self.threads)
    }

    /// Returns the connections of HTTP/2; `None` by HTTP/1.1.
    pub(crate) const fn http2(&self) -> Option<u32> {
        match self.shape.wire {
            Wire::Http2(connections) => Some(connections),
            Wire::Nghttpd => Some(1),
            _ => None,
        }
    }

    /// Returns whether one request at a time is made, by HTTP/2.
    pub(crate) fn is_one_stream(&self) -> bool {
        self.http2().is_some() && self.shape.concurrency == 1
    }

    /// Measured requests of each task, at `percent` of the default; at least one.
    pub(crate) fn requests_per_task(&self, percent: usize) -> usize {
        (self.shape.requests * percent / 100 / self.shape.concurrency).max(1)
    }

    /// Requests of each task before the measurement: a tenth, and at least three (of the largest
    /// bodies, two).
    pub(crate) fn warm_up_per_task(&self, percent: usize) -> usize {
        let least = if self.shape.body_bytes >= 1 << 20 { 2 } else { 3 };
        (self.requests_per_task(percent) / 10).max(least)
    }

    pub(crate) fn in_words(&self) -> String {
        let size = match self.shape.body_bytes {
            bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
            bytes => format!("{bytes} bytes"),
        };
        let threads = match self.threads {
            1 => "one client thread on a core of its own",
            _ => "two client threads on two cores, one of them shared with the server",
        };
        let wire = match self.shape.wire {
            Wire::Plain => "",
            Wire::Tls => " over TLS",
            Wire::Featured => " in gzip, with a cookie",
            Wire::Http2(1) => " by HTTP/2 on one connection",
            Wire::Http2(_) => " by HTTP/2 on four connections",
            Wire::Nghttpd => " by HTTP/2 on one connection to nghttpd",
        };
        format!("GET of {size}{wire}, {} at once, {threads}", self.shape.concurrency)
    }
}
