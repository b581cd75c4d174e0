//! One policy's turn: two services, a load, and two accounts of what happened between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keepwarm_lab::{Account, Policy, read_account};
use keepwarm_load::Plan;
use tokio::runtime::Runtime;

use super::child::Child;
use crate::args::LabOptions;
use crate::exit::{Exit, Failure};
use crate::load::Hops;
use crate::record::{Cause, HopRecord, RunRecord};
use crate::show::numbers::thousands;
use crate::{interrupt, load};

/// What all turns share.
#[derive(Debug)]
pub(crate) struct Stage {
    requests: u64,
    concurrency: u32,
    data_port: u16,
    front_port: u16,
    upstream_timeout: Duration,
    runtime: Runtime,
}

/// What one turn showed.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) policy: Policy,
    pub(crate) load: RunRecord,
    /// The kernel's account of the upstream port.
    pub(crate) upstream: HopRecord,
    /// The front's client's own account.
    pub(crate) client: Account,
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
            runtime,
        })
    }

    pub(crate) fn play(&self, policy: Policy) -> Result<Play, Failure> {
        let mut data = Child::start("data", &["data".to_owned(), listen(self.data_port)])?;
        let upstream = data.address();
        let hops = Hops::start(&[upstream.port()])?;
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
        let load =
            load::drive(plan, policy.name(), &hops, || data.check().and_then(|()| front.check()))?;
        if interrupt::happened() {
            return Err(interrupt::failure());
        }
        // The load's own target is the front, which nobody watches here; the services speak no TLS.
        let hops = hops.finish(&Cause { target: None, ..load.cause() }, |_| false)?;
        let upstream = hops[0].clone();
        let load = load.with_hops(hops);
        let client = self.runtime.block_on(read_account(front.address()));
        let client =
            client.map_err(|why| Failure::new(Exit::Child, format!("the front service: {why}")))?;
        front.stop()?;
        data.stop()?;
        Ok(Play { policy, load, upstream, client })
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
        all.completed + all.failed + all.unsent - self.completed()
    }

    /// Local ports that the client's side holds now, as a share of all; `None` if not known.
    pub(crate) fn port_share(&self) -> Option<f64> {
        let held = self.upstream.established.client + self.upstream.time_wait.entered.client;
        self.upstream.ports.range.map(|range| held as f64 / f64::from(range))
    }

    /// What contradicts itself in this measurement, or is missing from it.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        doubts.extend(self.load.connections.imbalance.clone());
        doubts.extend(self.upstream.doubts());
        if self.upstream.opened != self.client.opened {
            doubts.push(format!(
                "the kernel counted {} connections opened, and the client {}",
                thousands(self.upstream.opened),
                thousands(self.client.opened)
            ));
        }
        doubts
    }
}

fn listen(port: u16) -> String {
    format!("--listen={}", SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
