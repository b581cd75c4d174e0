//! `keepwarm watch --listen`: the numbers of a watch for Prometheus.
//!
//! Owns the exporter: the page from the last look, `/healthz`, and the server's start and end. `book`
//! has the series, `page` the text, `server` the connections, `head` the requests. A scrape asks the kernel
//! nothing.

mod auth;
mod book;
mod counts;
mod head;
mod page;
mod process;
mod server;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use keepwarm_record::watch::WatchRecord;
use keepwarm_sockets::{HostReport, ephemeral_ports};

use self::book::Book;
use self::page::About;
use self::process::Usage;
use self::server::Traffic;
pub(crate) use self::server::{Protection, Responder, Response, Server};
use crate::args::ListenOptions;
use crate::exit::{Exit, Failure};
use crate::{limits, output};

/// Interval between two looks at the watch.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Age of the last look from which the watch counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// The server of the page, while a watch goes on.
pub(super) struct Exporter {
    server: Server,
    site: Arc<Site>,
    scheme: &'static str,
}

impl Exporter {
    /// Serves on what was opened before.
    pub(super) fn start(opened: Opened, options: &ListenOptions) -> Result<Self, Failure> {
        let Opened { listener, protection } = opened;
        let scheme = if protection.tls.is_some() { "https" } else { "http" };
        let traffic = Arc::new(Traffic::default());
        let site = Arc::new(Site {
            state: Mutex::default(),
            scrapes: AtomicU64::new(0),
            traffic: Arc::clone(&traffic),
            node: options.node_name.clone(),
            started_at: SystemTime::now(),
        });
        let responder: Arc<dyn Responder> = Arc::<Site>::clone(&site);
        let failed = |error| limits::refused(Exit::Listen, "cannot serve the page", &error);
        let server = Server::start(listener, responder, protection, traffic).map_err(failed)?;
        Ok(Self { server, site, scheme })
    }

    /// Says where the page is. Comes after the first look, so that a script which waits for the line
    /// finds a page.
    pub(super) fn announce(&self) -> Result<(), Failure> {
        let Self { server, scheme, .. } = self;
        output::print(&format!("listening on {scheme}://{}/metrics\n", server.address))
    }

    /// Takes a look: the report of the whole watch, and the record of its last part with the number of
    /// the network namespace of each destination.
    pub(super) fn take(&self, report: &HostReport, record: &WatchRecord, numbers: &[Option<u32>]) {
        let mut state = self.site.lock();
        state.book.take(report, record, numbers, ephemeral_ports().ok());
        state.looked_at = Some(Instant::now());
        state.page = None;
    }

    /// Ends the server; responses that are under way are written.
    pub(super) fn end(&self) {
        self.server.end();
    }
}

/// Listener, certificate and users of the page, opened before the watch drops its capabilities and is
/// confined.
pub(super) struct Opened {
    listener: TcpListener,
    protection: Protection,
}

/// Reads the files of a page, and listens on its address; `None` where no page was asked for.
pub(super) fn open(options: &ListenOptions) -> Result<Option<Opened>, Failure> {
    let Some(address) = options.listen else { return Ok(None) };
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(auth::tls(certificate, key)?),
        _ => None,
    };
    let users = options.auth.as_deref().map(auth::Users::read).transpose()?.map(Arc::new);
    let listener =
        TcpListener::bind(address).map_err(|error| crate::serve::cannot_listen(address, &error))?;
    Ok(Some(Opened { listener, protection: Protection { tls, users } }))
}

/// The pages.
struct Site {
    state: Mutex<State>,
    scrapes: AtomicU64,
    traffic: Arc<Traffic>,
    node: Option<String>,
    started_at: SystemTime,
}

#[derive(Default)]
struct State {
    book: Book,
    looked_at: Option<Instant>,
    /// The page, once a scrape has asked for it since the last look.
    page: Option<Arc<str>>,
}

impl Site {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renders the page once for each look, however often it is asked for.
    fn metrics(&self) -> Response {
        let scrapes = self.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = self.lock();
        if state.looked_at.is_none() {
            return text(503, "the first look is under way");
        }
        let body = match &state.page {
            Some(page) => Arc::clone(page),
            None => {
                let about = About {
                    node: self.node.as_deref(),
                    usage: Usage::now(self.started_at),
                    scrapes,
                    refused: self.traffic.refused.load(Ordering::Relaxed),
                };
                let page: Arc<str> = page::render(&state.book, &about).into();
                state.page = Some(Arc::clone(&page));
                page
            }
        };
        Response { status: 200, media_type: page::MEDIA_TYPE, body }
    }

    fn healthz(&self) -> Response {
        match self.lock().looked_at {
            Some(at) if at.elapsed() < STUCK_AFTER => text(200, "ok"),
            Some(_) => text(503, "the watch has not looked for half a minute"),
            None => text(503, "the first look is under way"),
        }
    }
}

impl Responder for Site {
    fn respond(&self, path: &str) -> Response {
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => self.healthz(),
            "/" => text(200, "keepwarm watch: /metrics for Prometheus, /healthz for probes"),
            _ => text(404, "there are /metrics and /healthz"),
        }
    }
}

fn text(status: u16, text: &str) -> Response {
    let media_type = "text/plain; charset=utf-8";
    Response { status, media_type, body: format!("{text}\n").into() }
}
