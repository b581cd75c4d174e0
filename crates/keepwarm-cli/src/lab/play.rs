//! One policy's turn: two services, a load, and two accounts of what happened between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keepwarm_diagnose::{Evidence, Finding, diagnose, thousands};
use keepwarm_lab::{Account, Policy, read_account};
use keepwarm_load::Plan;
use keepwarm_sockets::{EphemeralPorts, PortAccount, PortWatch, ephemeral_ports};
use tokio::runtime::Runtime;

use super::child::Child;
use crate::args::LabOptions;
use crate::exit::{Exit, Failure};
use crate::record::RunRecord;
use crate::{interrupt, load};

/// How long the kernel may take to finish closing what the load left.
const SETTLE: Duration = Duration::from_secs(3);

/// What all turns share.
#[derive(Debug)]
pub(crate) struct Stage {
    requests: u64,
    concurrency: u32,
    data_port: u16,
    front_port: u16,
    upstream_timeout: Duration,
    ports: Option<EphemeralPorts>,
    runtime: Runtime,
}

/// What one turn showed.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) policy: Policy,
    pub(crate) load: RunRecord,
    /// The kernel's account of the upstream port.
    pub(crate) account: PortAccount,
    /// The front's client's own account.
    pub(crate) client: Account,
    pub(crate) ports: Option<EphemeralPorts>,
    pub(crate) finding: Finding,
}

impl Stage {
    pub(crate) fn new(options: &LabOptions) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |error| Failure::new(Exit::Failed, format!("cannot start a runtime: {error}")),
        )?;
        Ok(Self {
            requests: options.requests,
            concurrency: options.concurrency,
            data_port: options.data_port.unwrap_or(0),
            front_port: options.front_port.unwrap_or(0),
            upstream_timeout: options.upstream_timeout,
            ports: ephemeral_ports().ok(),
            runtime,
        })
    }

    pub(crate) fn play(&self, policy: Policy) -> Result<Play, Failure> {
        let mut data = Child::start("data", &["data".to_owned(), listen(self.data_port)])?;
        let upstream = data.address();
        let watch = PortWatch::start(upstream.port()).map_err(|error| unseen(&error))?;
        let mut front = Child::start(
            "front",
            &[
                "front".to_owned(),
                listen(self.front_port),
                format!("--upstream=http://{upstream}/data"),
                format!("--client={policy}"),
                format!("--upstream-timeout={}us", self.upstream_timeout.as_micros()),
            ],
        )?;
        let plan = self.plan(front.address())?;
        let load = load::drive(plan, policy.name(), || data.check().and_then(|()| front.check()))?;
        if interrupt::happened() {
            return Err(interrupt::failure());
        }
        let account = watch.finish(SETTLE).map_err(|error| unseen(&error))?;
        let client = self.runtime.block_on(read_account(front.address()));
        let client =
            client.map_err(|why| Failure::new(Exit::Child, format!("the front service: {why}")))?;
        front.stop()?;
        data.stop()?;
        let finding = diagnose(&self.evidence(&load, &account));
        Ok(Play { policy, load, account, client, ports: self.ports, finding })
    }

    fn plan(&self, front: SocketAddr) -> Result<Plan, Failure> {
        Plan::builder(format!("http://{front}/stresstest"))
            .requests(self.requests)
            .concurrency(self.concurrency as usize)
            // The services need the cores; one thread is far from busy with what they can answer.
            .threads(1)
            .build()
            .map_err(|error| load::refused(&error))
    }

    fn evidence(&self, load: &RunRecord, account: &PortAccount) -> Evidence {
        Evidence {
            requests: load.requests.completed,
            concurrency: self.concurrency.into(),
            window: Duration::from_secs_f64(load.elapsed_s),
            opened: account.opened,
            closed_by_client: account.closed.client_fin,
            closed_by_server: account.closed.server_fin,
            reset: account.closed.reset(),
            established: account.established.client,
            ports: self.ports.map(|ports| ports.size().into()),
        }
    }
}

impl Play {
    pub(crate) fn requests_per_second(&self) -> f64 {
        self.load.requests_per_second
    }

    /// Requests that were answered with a 2xx status.
    pub(crate) fn completed(&self) -> u64 {
        let good = self.load.statuses.iter().filter(|(status, _)| (200..300).contains(*status));
        good.map(|(_, count)| count).sum()
    }

    /// All others: no answer, or the front's 502 and 504.
    pub(crate) fn failed(&self) -> u64 {
        let all = &self.load.requests;
        all.completed + all.failed + all.unfinished + all.unsent - self.completed()
    }

    /// Local ports that the client's side holds now, as a share of all; `None` if not known.
    pub(crate) fn port_share(&self) -> Option<f64> {
        let held = self.account.established.client + self.account.time_wait.client;
        self.ports.map(|ports| held as f64 / f64::from(ports.size()))
    }

    /// What limits this measurement without making it wrong.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // The table is the whole namespace's: it matters only to those who have closed something.
        let closed = self.account.closed.total() > 0;
        if let Some(refused @ 1..) = self.account.time_waits_refused.filter(|_| closed) {
            notes.push(format!(
                "the kernel's table of TIME_WAITs was full, and {} were never made \
                 (net.ipv4.tcp_max_tw_buckets): the counts of TIME_WAIT are too low",
                thousands(refused)
            ));
        }
        if !self.account.settled {
            notes.push("some connections were still closing when the account was taken".to_owned());
        }
        notes
    }

    /// What contradicts itself in this measurement, or is missing from it.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        doubts.extend(self.load.connections.imbalance.clone());
        if self.account.lost_events > 0 {
            doubts.push(format!(
                "the kernel dropped socket events {} times, so its account is too low",
                thousands(self.account.lost_events)
            ));
        }
        if self.account.opened != self.client.opened {
            doubts.push(format!(
                "the kernel counted {} connections opened, and the client {}",
                thousands(self.account.opened),
                thousands(self.client.opened)
            ));
        }
        doubts
    }
}

fn listen(port: u16) -> String {
    format!("--listen={}", SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn unseen(error: &keepwarm_sockets::Error) -> Failure {
    let exit = if error.is_file_table_full() {
        Exit::FileTable
    } else if error.is_denied() || error.is_unsupported() {
        Exit::Denied
    } else {
        Exit::Failed
    };
    Failure::new(exit, error.to_string())
}
