//! Settings that exclude each other, or have no effect together. Owns the refusals; the builder owns
//! each setting's own limits.
//!
//! A setting without effect is refused rather than ignored: a run that measures something else than
//! what was asked for is worse than none.

use super::target::Target;
use super::tls::TlsSettings;
use super::{ClosePolicy, PlanBuilder, PlanError, RequestSpec};

/// Fields of which a request has at most one (RFC 9110; of Host, RFC 9112, section 3.2).
const SINGLE: [&str; 10] = [
    "host",
    "authorization",
    "content-type",
    "user-agent",
    "referer",
    "from",
    "range",
    "if-modified-since",
    "if-unmodified-since",
    "proxy-authorization",
];

/// Refuses settings of TLS that another setting makes void.
pub(super) fn tls(settings: &TlsSettings, target: &Target) -> Result<(), PlanError> {
    if !target.secure {
        return match settings.given().next() {
            Some((setting, value)) => Err(PlanError::new(
                setting,
                value,
                "the URL begins with http://, so that there is no TLS",
                "use an https:// URL, or leave it out",
            )),
            None => Ok(()),
        };
    }
    if settings.insecure && settings.roots_pem.is_some() {
        return Err(PlanError::new(
            "tls_insecure",
            "true",
            "any certificate would be trusted, and the given authorities would not be asked",
            "leave out one of the two",
        ));
    }
    Ok(())
}

/// Fields of HTTP/1.1's connections, which HTTP/2 does not have (RFC 9113, section 8.2.2).
const OF_CONNECTIONS: [&str; 3] = ["keep-alive", "proxy-connection", "upgrade"];

/// Refuses settings that HTTP/2 has no meaning for.
pub(super) fn http2(settings: &PlanBuilder) -> Result<(), PlanError> {
    if settings.streams.is_none() {
        return Ok(());
    }
    if !settings.keep_alive {
        return Err(PlanError::new(
            "keep_alive",
            "false",
            "HTTP/2 has no Connection: close by which a request asks for the end of its connection",
            "leave out one of the two, or limit the requests of a connection to 1",
        ));
    }
    match settings.close_policy {
        Some(ClosePolicy::WaitPeer) => Err(PlanError::new(
            "close_policy",
            "wait-peer",
            "HTTP/2 has no way to ask a server to close first",
            "leave out one of the two",
        )),
        _ => Ok(()),
    }
}

/// Refuses fields that HTTP/2 does not allow in a request.
pub(super) fn http2_fields(spec: &RequestSpec) -> Result<(), PlanError> {
    let wrong = |(name, value): &&(String, String)| {
        OF_CONNECTIONS.iter().any(|field| name.eq_ignore_ascii_case(field))
            || (name.eq_ignore_ascii_case("te") && !value.eq_ignore_ascii_case("trailers"))
    };
    match spec.headers.iter().find(wrong) {
        Some((name, value)) => Err(PlanError::new(
            "header",
            format!("{name}: {value}"),
            "it is a field of HTTP/1.1's connections, which HTTP/2 does not allow",
            "leave it out, or send the request by HTTP/1.1",
        )),
        None => Ok(()),
    }
}

/// Refuses a limit that connections of a single request cannot reach.
pub(super) fn one_request_per_connection(
    keep_alive: bool,
    requests_per_connection: Option<u64>,
) -> Result<(), PlanError> {
    match requests_per_connection {
        Some(limit @ 2..) if !keep_alive => Err(PlanError::new(
            "requests_per_connection",
            limit.to_string(),
            "without keep-alive a connection carries one request",
            "leave it out, or turn keep-alive on",
        )),
        _ => Ok(()),
    }
}

/// Refuses fields that a server would read differently than the next one, because they stand twice.
pub(super) fn fields(spec: &RequestSpec) -> Result<(), PlanError> {
    for (at, (name, value)) in spec.headers.iter().enumerate() {
        let single = SINGLE.iter().any(|single| name.eq_ignore_ascii_case(single));
        let mut before = spec.headers[..at].iter();
        if single && before.any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            // The value may be a password.
            let shown = if name.to_ascii_lowercase().ends_with("authorization") {
                format!("{name}: …")
            } else {
                format!("{name}: {value}")
            };
            return Err(PlanError::new(
                "header",
                shown,
                "the request would have this field twice, and servers differ in which one they use",
                "give it once",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Plan, PlanBuilder};
    use crate::Stage;

    fn http() -> PlanBuilder {
        Plan::builder("http://127.0.0.1:9/").requests(1)
    }

    fn https() -> PlanBuilder {
        Plan::builder("https://127.0.0.1:9/").requests(1)
    }

    #[test]
    fn settings_without_effect_are_refused() {
        let table = [
            (http().tls_insecure(true), "tls_insecure", "true"),
            (http().tls_roots("PEM"), "tls_roots", "given"),
            (http().tls_identity("PEM", "PEM"), "tls_identity", "given"),
            (http().tls_server_name("a.test"), "tls_server_name", "a.test"),
            (http().tls_resumption(false), "tls_resumption", "false"),
            (https().tls_insecure(true).tls_roots("PEM"), "tls_insecure", "true"),
            (http().keep_alive(false).requests_per_connection(5), "requests_per_connection", "5"),
            (http().header("Host", "a").header("host", "b"), "header", "host: b"),
            (
                http().basic_auth("a", "b").header("authorization", "secret"),
                "header",
                "authorization: …",
            ),
            (http().templates(true).header("X", "{foo}"), "templates", "{foo}"),
            (http().templates(true).body("{random:5-1}"), "templates", "{random:5-1}"),
            (Plan::builder("http://127.0.0.1:9/{n}").requests(1), "templates", "{n}"),
            (http().method("get"), "method", "get"),
            (http().stages([stage(0, 5.0)]), "stages", "0ns:5"),
            (http().stages([stage(10, -1.0)]), "stages", "10s:-1"),
            (http().source("192.0.2.1".parse().unwrap()), "source", "192.0.2.1"),
        ];
        for (builder, setting, value) in table {
            let error = builder.build().expect_err(setting);
            assert_eq!((error.setting(), error.value()), (setting, value), "{error}");
            assert!(!error.is_unresolved() && !error.way_out().is_empty());
        }
    }

    #[test]
    fn harmless_settings_stay_allowed() {
        let allowed = [
            http().tls_insecure(false).tls_resumption(true),
            http().keep_alive(false).requests_per_connection(1),
            http().header("Accept", "a").header("Accept", "b").header("Cookie", "c"),
            http().method("purge"),
            http().source("127.0.0.2".parse().unwrap()),
        ];
        for builder in allowed {
            builder.build().unwrap();
        }
    }

    #[test]
    fn body_is_posted_as_by_curl() {
        assert_eq!(http().body("a=b").build().unwrap().method(), "POST");
        assert_eq!(http().body("a=b").method("GET").build().unwrap().method(), "GET");
        assert_eq!(http().body("").build().unwrap().method(), "GET");
    }

    fn stage(seconds: u64, rate: f64) -> Stage {
        Stage { duration: Duration::from_secs(seconds), rate }
    }
}
