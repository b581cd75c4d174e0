//! `--otlp`: the metrics of a load for a collector of OpenTelemetry, sent once, at its end.
//!
//! Owns the target, and its refusal in a build without the feature `otlp`. `metrics` makes the
//! request of a record, `send` sends it.

#[cfg(feature = "otlp")]
mod metrics;
#[cfg(feature = "otlp")]
mod send;

use keepwarm_record::load::LoadRecord;

use crate::exit::{Exit, Failure};
use crate::secrets;

/// URL of a collector, with the path of its metrics.
#[derive(Clone, Debug)]
pub(crate) struct Target(String);

impl Target {
    /// Parses `http://HOST:PORT`, which stands for its path `/v1/metrics`, or a URL with a path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !cfg!(feature = "otlp") {
            return Err(
                "this keepwarm was built without OTLP; build one that has it: cargo build \
                        --release -p keepwarm-cli --features otlp"
                    .to_owned(),
            );
        }
        let schemes = ["http://", "https://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let Some((host, path)) = rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
            return Err("write it as http://HOST:PORT, or https://".to_owned());
        };
        if host.contains('@') {
            return Err(
                "credentials belong into OTEL_EXPORTER_OTLP_HEADERS, as authorization=...; \
                        write the URL as http://HOST:PORT"
                    .to_owned(),
            );
        }
        if host.is_empty() || text.contains(|letter: char| letter.is_whitespace()) {
            return Err("it names no host; write it as http://HOST:PORT".to_owned());
        }
        let base = text.trim_end_matches('/');
        Ok(Self(if path.is_empty() { format!("{base}/v1/metrics") } else { text.to_owned() }))
    }

    /// Sends the metrics of a load.
    pub(crate) fn send(&self, record: &LoadRecord) -> Result<(), Failure> {
        #[cfg(feature = "otlp")]
        let sent = send::post(&self.0, &metrics::of(record));
        #[cfg(not(feature = "otlp"))]
        let sent: Result<(), String> = Err(format!("no OTLP for {}", record.schema));
        sent.map_err(|why| {
            let url = secrets::url(&self.0);
            Failure::new(Exit::Output, format!("cannot send the metrics to {url}: {why}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_without_a_path_is_that_of_metrics() {
        let parsed = |text: &str| Target::parse(text).map(|target| target.0);
        if !cfg!(feature = "otlp") {
            assert!(parsed("http://a:4318").unwrap_err().contains("--features otlp"));
            return;
        }
        for (text, url) in [
            ("http://a:4318", "http://a:4318/v1/metrics"),
            ("https://a/", "https://a/v1/metrics"),
            ("http://a:4318/own/path", "http://a:4318/own/path"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(url));
        }
        for text in
            ["", "a:4318", "ftp://a", "http://", "http:///v1/metrics", "http://a b", "http://a:b@c"]
        {
            assert!(parsed(text).unwrap_err().contains("http://HOST:PORT"), "{text}");
        }
    }
}
