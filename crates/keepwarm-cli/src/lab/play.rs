//! Plays one policy: two services, a load, and the accounts of the kernel and of the client.
//!
//! Owns the services' lifetime and the order of the measurements. Draws no conclusion: the record
//! does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keepwarm_lab::{Account, Policy, read_account};
use keepwarm_load::Plan;
use keepwarm_record::lab::{ClientAccount, ClosedCount, LabRun};
use tokio::runtime::Runtime;

use super::child::Child;
use crate::args::LabOptions;
use crate::exit::{Exit, Failure};
use crate::load::{Hops, OwnLoad};
use crate::{interrupt, limits, load};

/// Settings and runtime that all runs share.
#[derive(Debug)]
pub(crate) struct Stage {
    requests: u64,
    concurrency: u32,
    data_port: u16,
    front_port: u16,
    upstream_timeout: Duration,
    runtime: Runtime,
}

impl Stage {
    pub(crate) fn new(options: &LabOptions) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| limits::refused(Exit::Failed, "cannot start a runtime", &error))?;
        Ok(Self {
            requests: options.requests,
            concurrency: options.concurrency,
            data_port: options.data_port.unwrap_or(0),
            front_port: options.front_port.unwrap_or(0),
            upstream_timeout: options.upstream_timeout,
            runtime,
        })
    }

    pub(crate) fn play(&self, policy: Policy) -> Result<LabRun, Failure> {
        let mut data = Child::start("data", &["data".to_owned(), listen(self.data_port)])
            .map_err(|failure| of_flag(&failure, "--data-port"))?;
        let upstream = data.address();
        let mut hops = Hops::start(&[upstream.port()])?;
        let mut front = Child::start(
            "front",
            &[
                "front".to_owned(),
                listen(self.front_port),
                format!("--upstream=http://{upstream}/data"),
                format!("--client={policy}"),
                format!("--upstream-timeout={}us", self.upstream_timeout.as_micros()),
            ],
        )
        .map_err(|failure| of_flag(&failure, "--front-port"))?;
        let plan = self.plan(front.address())?;
        let load = load::drive(plan, policy.name(), &hops, None, |_| {
            data.check().and_then(|()| front.check()).map(|()| None)
        })?;
        if interrupt::happened() {
            return Err(interrupt::failure());
        }
        // The load's target is the front, which is not watched; the services speak no TLS.
        let hops = hops.finish(&OwnLoad { target: None, ..OwnLoad::of(&load) }, |_| false)?;
        let upstream = hops[0].clone();
        let load = load.with_hops(hops);
        let client = self.runtime.block_on(read_account(front.address()));
        let client =
            client.map_err(|why| Failure::new(Exit::Child, format!("the front service: {why}")))?;
        front.stop()?;
        data.stop()?;
        Ok(LabRun::of(policy.name(), load, &upstream, client_account(client)))
    }

    fn plan(&self, front: SocketAddr) -> Result<Plan, Failure> {
        Plan::builder(format!("http://{front}/stresstest"))
            .requests(self.requests)
            .concurrency(self.concurrency as usize)
            // The services need the cores, and answer far less than one thread can ask.
            .threads(1)
            .build()
            .map_err(|error| load::refused(&error, None))
    }
}

fn client_account(account: Account) -> ClientAccount {
    let count = |closed: keepwarm_lab::ClosedCount| ClosedCount {
        reason: closed.reason,
        closer: closed.closer,
        count: closed.count,
    };
    ClientAccount {
        opened: account.opened,
        reused: account.reused,
        open: account.open,
        closed: account.closed.into_iter().map(count).collect(),
    }
}

/// Names this command's flag where a service names its own.
fn of_flag(failure: &Failure, flag: &str) -> Failure {
    let way_out = format!("{flag} PORT, or none for a free one");
    Failure::new(failure.exit(), failure.to_string().replace("--listen 127.0.0.1:0", &way_out))
}

fn listen(port: u16) -> String {
    format!("--listen={}", SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
