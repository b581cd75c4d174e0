//! `load --serve`: the report of a running load as a page that renews itself.
//!
//! Owns the states of the page and when they are made. `html::live` writes it, the server is that of
//! `watch --listen`. Nothing is made while no browser asks.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keepwarm_load::{Plan, Run};
use keepwarm_record::load::{HopRecord, LoadRecord};

use super::{Hops, OwnLoad, abort, fill, schedule};
use crate::args::LoadOptions;
use crate::exit::{Exit, Failure};
use crate::html::live::{self, LiveRecord};
use crate::watch::listen::{Protection, Responder, Response, Server};
use crate::{limits, output};

/// Time after the last request for which a browser counts as there. It asks once a second.
const IS_THERE: Duration = Duration::from_secs(5);

/// Pause after a state was made, as a multiple of its cost: a long run's state is large.
const REST: u32 = 20;

/// Least pause between two states of a drain.
const DRAIN_EVERY: Duration = Duration::from_secs(1);

/// Time for which the last state is served, so that every browser has it.
const LAST: Duration = Duration::from_millis(2500);

/// The server of the page, while a load goes on.
pub(super) struct LivePage<'a> {
    options: &'a LoadOptions,
    server: Server,
    site: Arc<Site>,
    /// Whole seconds of the run that the page has.
    seconds: Option<u64>,
    /// The instant before which no further state is made.
    rests_until: Instant,
}

/// The pages as they are served.
struct Site {
    url: String,
    state: Mutex<State>,
}

struct State {
    edition: u64,
    over: bool,
    /// The part of the page that is renewed.
    part: Arc<str>,
    asked_at: Option<Instant>,
}

impl Site {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if a browser has the page open.
    fn is_read(&self) -> bool {
        self.lock().asked_at.is_some_and(|at| at.elapsed() < IS_THERE)
    }

    fn set(&self, record: &LiveRecord<'_>) {
        let edition = self.lock().edition + 1;
        let part = live::part(record, edition).into();
        let mut state = self.lock();
        (state.edition, state.part) = (edition, part);
        state.over = matches!(record, LiveRecord::Over(_));
    }
}

impl Responder for Site {
    fn respond(&self, path: &str) -> Response {
        let (edition, over, part) = {
            let mut state = self.lock();
            state.asked_at = Some(Instant::now());
            (state.edition, state.over, Arc::clone(&state.part))
        };
        let html = "text/html; charset=utf-8";
        let ok = |media_type, body| Response { status: 200, media_type, body };
        match path {
            "/" => ok(html, live::page(&self.url, &part).into()),
            "/now" => ok(html, part),
            "/state" => {
                let state = format!("{{\"edition\":{edition},\"over\":{over}}}\n");
                ok("application/json", state.into())
            }
            _ => Response { status: 404, media_type: "text/plain", body: "see /\n".into() },
        }
    }
}

impl<'a> LivePage<'a> {
    /// Listens, and says where on stderr: stdout is the report's.
    pub(super) fn start(
        address: SocketAddr,
        plan: &Plan,
        options: &'a LoadOptions,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).map_err(|error| {
            let failure = crate::serve::cannot_listen(address, &error);
            Failure::new(failure.exit(), failure.to_string().replace("--listen", "--serve"))
        })?;
        let record = described(fill::empty(plan, std::time::SystemTime::now()), options);
        let part = live::part(&LiveRecord::Waiting(&record), 0).into();
        let state = Mutex::new(State { edition: 0, over: false, part, asked_at: None });
        let site = Arc::new(Site { url: record.settings.url.clone(), state });
        let responder: Arc<dyn Responder> = Arc::<Site>::clone(&site);
        let server = Server::start(listener, responder, Protection::default(), Arc::default());
        let failed = |error| limits::refused(Exit::Listen, "cannot serve the page", &error);
        let server = server.map_err(failed)?;
        output::note(&format!("listening on http://{}/\n", server.address));
        Ok(Self { options, server, site, seconds: None, rests_until: Instant::now() })
    }

    /// Renews the page, if a browser has it open and another second of the run is over.
    pub(super) fn update(&mut self, run: &Run, hops: &Hops) {
        if !self.site.is_read() || Instant::now() < self.rests_until {
            return;
        }
        let (seconds, so_far) = run.so_far();
        if self.seconds == Some(seconds) || seconds == 0 {
            return;
        }
        self.seconds = Some(seconds);
        let began = Instant::now();
        let mut record = abort::partial(run, seconds, &so_far);
        record.timeline = fill::timeline(&run.timeline());
        let hops = hops.so_far(&OwnLoad::of(&record));
        record.hops = hops;
        self.site.set(&LiveRecord::Running(&described(record, self.options)));
        self.rests_until = Instant::now() + began.elapsed() * REST;
    }

    /// Renews the page while the sockets of the watched ports drain, if a browser has it open, once a
    /// second at most.
    pub(super) fn drain(&mut self, record: &LoadRecord, hops: &dyn Fn() -> Vec<HopRecord>) {
        let began = Instant::now();
        if !self.site.is_read() || began < self.rests_until {
            return;
        }
        let record = described(record.clone().with_hops(hops()), self.options);
        self.site.set(&LiveRecord::Draining(&record));
        self.rests_until = Instant::now() + (began.elapsed() * REST).max(DRAIN_EVERY);
    }

    /// Shows the record of the load, which is over.
    pub(super) fn show(&self, record: &LoadRecord) {
        self.site.set(&LiveRecord::Over(record));
    }

    /// Ends the server, once every browser that has the page open had time to ask for its end.
    pub(super) fn end(&self) {
        if self.site.is_read() {
            // Time itself is waited for: which browsers have the page open is not known.
            std::thread::sleep(LAST);
        }
        self.server.end();
    }
}

/// Adds what the arguments say of a load.
fn described(mut record: LoadRecord, options: &LoadOptions) -> LoadRecord {
    record.settings.schedule = schedule(options, &record);
    record.command.clone_from(&options.command_line);
    record.labels = options.labels.iter().cloned().collect();
    record
}
