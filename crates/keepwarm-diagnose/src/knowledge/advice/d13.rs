//! D13: requests that are given up before an answer.

use super::advise;
use crate::knowledge::Kind::{Curl, Go, Haproxy, Nginx, Node, Python};
use crate::knowledge::range::ANY;
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise(
        "D13",
        (Go, ANY),
        &["Client.Timeout"],
        "Client.Timeout and the context's deadline end the connection with the request",
        source::GO_CLIENT,
    ),
    advise(
        "D13",
        (Python, ANY),
        &["timeout="],
        "timeout= of requests and httpx ends the connection with the request",
        source::REQUESTS_TIMEOUT,
    ),
    advise(
        "D13",
        (Node, ANY),
        &["AbortSignal.timeout", "timeout"],
        "AbortSignal.timeout, destroy() and an Agent's timeout end the connection with the request",
        source::ABORT_SIGNAL,
    ),
    advise(
        "D13",
        (Nginx, ANY),
        &["proxy_read_timeout", "proxy_ignore_client_abort"],
        "towards an upstream: proxy_read_timeout, and clients that leave (proxy_ignore_client_abort)",
        source::NGINX_PROXY,
    ),
    advise(
        "D13",
        (Haproxy, ANY),
        &["timeout server"],
        "towards a server: timeout server",
        source::HAPROXY,
    ),
    advise("D13", (Curl, ANY), &["--max-time"], "--max-time ends the connection", source::CURL),
];
