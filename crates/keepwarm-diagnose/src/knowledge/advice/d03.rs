//! D3: bodies that are not read.

use super::advise;
use crate::knowledge::Kind::{Dotnet, Go, Java, Nginx, Node, Php, Python, Ruby, Rust};
use crate::knowledge::range::{ANY, before, since};
use crate::knowledge::{Advice, source};

pub(super) const ADVICE: &[Advice] = &[
    advise(
        "D3",
        (Go, before("1.27")),
        &["Body.Close"],
        "read the body to its end before Body.Close: io.Copy(io.Discard, resp.Body)",
        source::GO_DRAIN,
    ),
    advise(
        "D3",
        (Go, since("1.27")),
        &["Body.Close"],
        "Body.Close reads on for up to 256 KiB only: read larger bodies to their end, or ask for less \
         (Range, HEAD)",
        source::GO_DRAIN,
    ),
    advise(
        "D3",
        (Python, ANY),
        &["requests.get", "stream"],
        "read response.content, or leave `with requests.get(..., stream=True)` only after reading; \
         aiohttp: await response.read()",
        source::REQUESTS_BODY,
    ),
    advise(
        "D3",
        (Node, ANY),
        &["response.resume()"],
        "call response.resume() where the body is not wanted; of a fetch, await \
         response.arrayBuffer()",
        source::NODE_AGENT,
    ),
    advise(
        "D3",
        (Java, ANY),
        &[],
        "read and close every body, error bodies (getErrorStream) too",
        source::JAVA_NET,
    ),
    advise(
        "D3",
        (Dotnet, ANY),
        &["MaxResponseDrainSize"],
        "read the content before the response is disposed of: beyond MaxResponseDrainSize (1 MiB) its \
         connection is closed",
        source::DOTNET_HANDLER,
    ),
    advise(
        "D3",
        (Rust, ANY),
        &[],
        "read the response to its end before it is dropped: response.bytes()",
        source::REQWEST_RESPONSE,
    ),
    advise(
        "D3",
        (Ruby, ANY),
        &[],
        "let the block of read_body run to its end; leaving it by break or an exception closes the \
         connection",
        source::NET_HTTP,
    ),
    advise(
        "D3",
        (Php, ANY),
        &[],
        "let curl_exec end: a CURLOPT_WRITEFUNCTION that returns less than it was given, or a timeout, \
         ends the connection",
        source::PHP_SHARE,
    ),
    advise(
        "D3",
        (Nginx, ANY),
        &["proxy_ignore_client_abort"],
        "clients leave before the response is whole, and nginx then leaves its upstream: look at their \
         timeouts, or set proxy_ignore_client_abort on",
        source::NGINX_PROXY,
    ),
];
