//! `load --listen`: the counts of a running load for Prometheus.
//!
//! Owns the page and its renewal, once a second. The server is that of `watch --listen`, the metrics
//! are those of `--format openmetrics`.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use keepwarm_load::Run;
use keepwarm_record::load::LoadRecord;

use super::abort;
use crate::exit::{Exit, Failure};
use crate::show::formats::metrics::{self, Dialect};
use crate::watch::listen::{Protection, Responder, Response, Server};
use crate::{limits, output};

/// The media type of the page.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The server of the page, while a load goes on.
pub(super) struct LoadExporter {
    server: Server,
    page: Arc<LatestPage>,
    labels: BTreeMap<String, String>,
    /// Whole seconds of the run that the page has.
    seconds: Option<u64>,
}

/// The page as it is served.
struct LatestPage(Mutex<Arc<str>>);

impl LatestPage {
    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }
}

impl Responder for LatestPage {
    fn respond(&self, path: &str) -> Response {
        let body = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match path {
            "/metrics" => Response { status: 200, media_type: MEDIA_TYPE, body },
            "/healthz" => Response { status: 200, media_type: "text/plain", body: "ok\n".into() },
            _ => Response { status: 404, media_type: "text/plain", body: "see /metrics\n".into() },
        }
    }
}

impl LoadExporter {
    /// Listens, and says where on stderr: stdout is the report's.
    pub(super) fn start(
        address: SocketAddr,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address);
        let listener = listener.map_err(|error| crate::serve::cannot_listen(address, &error))?;
        let page = Arc::new(LatestPage(Mutex::new("".into())));
        let responder: Arc<dyn Responder> = Arc::<LatestPage>::clone(&page);
        let server = Server::start(listener, responder, Protection::default(), Arc::default());
        let failed = |error| limits::refused(Exit::Listen, "cannot serve the page", &error);
        let server = server.map_err(failed)?;
        output::note(&format!("listening on http://{}/metrics\n", server.address));
        Ok(Self { server, page, labels, seconds: None })
    }

    /// Renews the page, if another second of the run is over.
    pub(super) fn update(&mut self, run: &Run) {
        let (seconds, so_far) = run.so_far();
        if self.seconds != Some(seconds) {
            self.seconds = Some(seconds);
            self.show(abort::partial(run, seconds, &so_far));
        }
    }

    /// Shows a record on the page.
    pub(super) fn show(&self, mut record: LoadRecord) {
        record.labels.clone_from(&self.labels);
        self.page.set(metrics::render(&record, Dialect::Prometheus));
    }

    /// Ends the server; responses that are under way are written.
    pub(super) fn end(&self) {
        self.server.end();
    }
}
