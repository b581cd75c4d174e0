//! From the arguments of `keepwarm load` to a plan.
//!
//! Owns the refusals in the words of the arguments, and what a user of curl expects of -d. The plan
//! validates the settings themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keepwarm_load::{Body, Plan, PlanBuilder, PlanError};
use keepwarm_record::assertion::Assertion;

use crate::args::LoadOptions;
use crate::args::engine::WhoCloses;
use crate::exit::{Exit, Failure};

/// Duration of a load without -n and -z: long enough for a trustworthy p99 and for intervals.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// Requests from which a 99.9th percentile has a value.
const REQUESTS_FOR_P999: u64 = 10_000;

/// The type of a body of -d and -D, as with curl.
const FORM: &str = "application/x-www-form-urlencoded";

/// Makes the plan of the arguments.
pub(super) fn of(options: &LoadOptions) -> Result<Plan, Failure> {
    builder(options)?.build().map_err(|error| refused(&error, Some(options)))
}

/// Refuses arguments without effect, and assertions that this run could not judge, before it takes
/// its time.
pub(super) fn refuse(options: &LoadOptions) -> Result<(), Failure> {
    let engine = &options.engine;
    let keeps = !options.close && engine.requests_per_connection.is_none();
    if engine.close_policy == Some(WhoCloses::Now) && keeps {
        let message = "--close-policy now: connections are kept, and this is how a response that \
                       ends its connection is treated anyway; add --close for a connection each \
                       request, or leave it out";
        return Err(Failure::new(Exit::Usage, message));
    }
    if options.find.is_some() && options.from > options.to {
        let (from, to) = (options.from, options.to);
        let message =
            format!("--from {from}: it is more than --to {to}; give the lower rate first");
        return Err(Failure::new(Exit::Usage, message));
    }
    let searched = options.find.as_ref().map_or(&[][..], |conditions| &conditions.0);
    for condition in searched {
        if let Some(why) = unjudgeable(condition, options) {
            let message = format!("--find {condition}: it is not available here: {why}");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    for condition in &options.abort_if {
        super::abort::refuse(condition, options)?;
    }
    for assertion in &options.assertions {
        if let Some(why) = unjudgeable(assertion, options) {
            let message = format!("--assert {assertion}: it is not available here: {why}");
            return Err(Failure::new(Exit::Assertion, message));
        }
    }
    Ok(())
}

/// Returns why this run could not judge an assertion, if that is known before it begins.
pub(super) fn unjudgeable(assertion: &Assertion, options: &LoadOptions) -> Option<String> {
    let is_open = options.find.is_some()
        || options.engine.rate.is_some()
        || !options.engine.stages.is_empty();
    let is_tls = options.url().get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    let name = assertion.name().as_str();
    let mut parts = name.split('.');
    match (parts.next(), parts.next()) {
        (Some("hop"), Some(port)) => {
            let watched = options.watch.iter().any(|watched| port.parse() == Ok(*watched));
            (!watched).then(|| format!("port {port} is not watched: give --watch {port}"))
        }
        (Some("response" | "lag"), _) if !is_open => {
            Some("a closed loop has no instants to count from: give --rate".to_owned())
        }
        (Some("misses"), _) if options.expect.is_empty() => {
            Some("no response is expected to be anything: give --expect".to_owned())
        }
        (Some("streams"), _) if !options.engine.http2 => {
            Some("HTTP/1.1 has no streams: give --http2".to_owned())
        }
        (Some("handshake"), _) if !is_tls => {
            Some("the URL begins with http://, so that there is no TLS handshake".to_owned())
        }
        (Some("p99" | "service" | "response" | "lag"), _) if name.ends_with("p99.9") => {
            let few = options.requests.filter(|requests| *requests < REQUESTS_FOR_P999);
            few.map(|few| {
                format!("{few} requests are too few for p99.9: give -n {REQUESTS_FOR_P999}")
            })
        }
        _ => None,
    }
}

/// Returns the settings of the arguments, not validated yet.
pub(super) fn builder(options: &LoadOptions) -> Result<PlanBuilder, Failure> {
    let engine = &options.engine;
    if engine.streams > 1 && !engine.http2 {
        let words = format!("--streams {}: HTTP/1.1 has no streams; give --http2", engine.streams);
        return Err(Failure::new(Exit::Usage, words));
    }
    let mut builder = Plan::builder(options.url())
        .concurrency(options.concurrency as usize)
        .keep_alive(!options.close)
        .timeout(options.timeout);
    builder = builder.show_exchange(options.one);
    for expectation in &options.expect {
        builder = builder.expect(expectation.clone());
    }
    match (options.requests, options.duration) {
        (Some(requests), _) => builder = builder.requests(requests),
        (None, None) if options.one => {}
        (None, None) if !options.engine.ends_by_itself() => {
            builder = builder.duration(DEFAULT_DURATION);
        }
        (None, _) => {}
    }
    if let Some(duration) = options.duration {
        builder = builder.duration(duration);
    }
    if let Some(threads) = options.threads {
        builder = builder.threads(threads as usize);
    }
    for (name, value) in &options.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    if let Some(body) = body(options)? {
        let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
        let is_given = options.headers.iter().any(|(name, _)| is_type(name));
        if !is_given && !options.omitted.iter().any(|name| is_type(name)) {
            builder = builder.header("Content-Type", FORM);
        }
        // An empty body, too, makes the request a POST, as with curl.
        builder = builder.method("POST").body(body);
    }
    if let Some(method) = &options.method {
        builder = builder.method(method.as_str());
    }
    for name in &options.omitted {
        builder = builder.without_field(name.as_str());
    }
    options.engine.apply(builder)
}

/// Returns the body of -d or -D. With --template any byte may belong to a field, so the file is read
/// into memory.
fn body(options: &LoadOptions) -> Result<Option<Body>, Failure> {
    if let Some(bytes) = &options.body_bytes {
        return Ok(Some(Body::from(bytes.as_slice())));
    }
    let of_text = options.body.as_deref().and_then(|text| text.strip_prefix('@')).map(Path::new);
    let Some(path) = options.body_file.as_deref().or(of_text) else {
        return Ok(options.body.as_deref().map(Body::from));
    };
    let read = options.engine.body_of(path);
    let failed =
        |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    Ok(Some(read.map_err(failed)?))
}

/// The failure of a plan that was refused, in the words of the arguments. Without `options` there
/// were none of them.
pub(crate) fn refused(error: &PlanError, options: Option<&LoadOptions>) -> Failure {
    let exit = if error.is_unresolved() { Exit::Unreachable } else { Exit::Usage };
    let file = |path: fn(&LoadOptions) -> &Option<PathBuf>| {
        options.and_then(|options| path(options).as_ref()).map(|path| path.display().to_string())
    };
    let given = match error.setting() {
        "url" => format!("url {:?}", error.value()),
        "tls_roots" => {
            format!("--ca-cert {:?}", file(|options| &options.engine.ca_cert).unwrap_or_default())
        }
        "tls_identity" => {
            let cert = file(|options| &options.engine.cert).unwrap_or_default();
            let key = file(|options| &options.engine.key).unwrap_or_default();
            format!("--cert {cert:?} and --key {key:?}")
        }
        "tls_server_name" => format!("--sni {:?}", error.value()),
        "share" => format!("--share {}", error.value()),
        "tls_insecure" => "--insecure".to_owned(),
        "keep_alive" => "--close and --http2".to_owned(),
        "tls_resumption" => "--no-resumption".to_owned(),
        "templates" => format!("--template {:?}", error.value()),
        "trace" => "--trace".to_owned(),
        setting => format!("--{} {:?}", setting.replace('_', "-"), error.value()),
    };
    Failure::new(exit, format!("{given}: {}; {}", error.reason(), error.way_out()))
}
