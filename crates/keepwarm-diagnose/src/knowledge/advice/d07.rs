//! D7: connections that the program does not close.

use super::advise;
use crate::knowledge::Kind::{Dotnet, Go, Java, Node, Python, Rust};
use crate::knowledge::range::ANY;
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise("D7", (Go, ANY), &[], "close every resp.Body, of errors too", source::GO_RESPONSE),
    advise("D7", (Python, ANY), &[], "close responses and sessions (with ...:)", source::REQUESTS),
    advise(
        "D7",
        (Java, ANY),
        &[],
        "close every response stream, error streams too",
        source::JAVA_NET,
    ),
    advise(
        "D7",
        (Dotnet, ANY),
        &[],
        "dispose of every HttpResponseMessage that was asked for with ResponseHeadersRead",
        source::DOTNET,
    ),
    advise(
        "D7",
        (Node, ANY),
        &["response.resume()"],
        "read every response to its end, call response.resume(), or destroy it",
        source::NODE_AGENT,
    ),
    advise(
        "D7",
        (Rust, ANY),
        &[],
        "drop responses that are not wanted, and read the others to their end",
        source::REQWEST_RESPONSE,
    ),
];
