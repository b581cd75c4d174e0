//! The arguments of `keepwarm load` that map to a plan one to one.
//!
//! Owns their syntax. The plan decides which of them fit together.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use keepwarm_load::limits::MAX_STREAMS;
use keepwarm_load::{
    Arrivals, Body, ClosePolicy, ConnectTo, Family, PlanBuilder, RequestSpec, Stage, read_file,
};
use keepwarm_record::duration;

use super::number;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new(PACED).multiple(true)))]
pub(crate) struct EngineOptions {
    /// Requests a second, at instants fixed in advance whether responses come or not: an open
    /// loop. -c is then the most connections, opened as they are needed
    #[arg(short = 'r', long, value_name = "R", group = PACED, allow_negative_numbers = true,
          value_parser = number::rate, help_heading = OPEN_LOOP)]
    pub(crate) rate: Option<f64>,

    /// An open loop whose rate goes linearly from stage to stage, beginning at --rate or zero:
    /// '10s:100,30s:1000'. A stage with the rate of the one before it holds it
    #[arg(long, value_name = "DURATION:R,...", value_delimiter = ',', value_parser = stage,
          group = PACED, help_heading = OPEN_LOOP)]
    pub(crate) stages: Vec<Stage>,

    /// How the instants of an open loop are spread
    #[arg(long, value_enum, default_value_t = Spread::Constant, requires = PACED,
          help_heading = OPEN_LOOP)]
    pub(crate) arrivals: Spread,

    /// With --arrivals poisson: the same seed gives the same instants
    #[arg(long, value_name = "SEED", default_value_t = 1, requires = PACED,
          allow_negative_numbers = true, value_parser = number::count(0, u64::MAX),
          help_heading = OPEN_LOOP)]
    pub(crate) seed: u64,

    /// The most requests of an open loop that wait for a free connection; beyond it a request is
    /// counted as unsent [default: 1000000]
    #[arg(long, value_name = "N", requires = PACED, help_heading = OPEN_LOOP)]
    pub(crate) backlog: Option<usize>,

    /// Send the requests by HTTP/2: with https:// by ALPN, with http:// from the first byte (prior
    /// knowledge)
    #[arg(long, help_heading = CONNECTIONS)]
    pub(crate) http2: bool,

    /// With --http2: the most requests at once on each connection, 1 to 10000, and never more than the
    /// server allows
    #[arg(long, value_name = "N", default_value_t = 1,
          allow_negative_numbers = true, value_parser = number::count(1, MAX_STREAMS as u64),
          help_heading = CONNECTIONS)]
    pub(crate) streams: u64,

    /// Close a connection after this many requests
    #[arg(long, value_name = "N", help_heading = CONNECTIONS)]
    pub(crate) requests_per_connection: Option<u64>,

    /// Side that closes after a response that ends its connection [default: now, or wait-peer with
    /// --close]
    #[arg(long, value_enum, value_name = "WHO", help_heading = CONNECTIONS)]
    pub(crate) close_policy: Option<WhoCloses>,

    /// The most connections dialed in a second
    #[arg(long, value_name = "R", help_heading = CONNECTIONS)]
    pub(crate) connect_rate: Option<f64>,

    /// Addresses of this host to connect from, in turn, separated by commas; each has ephemeral
    /// ports of its own
    #[arg(long = "source", value_name = "ADDRESS,...", value_delimiter = ',',
          help_heading = CONNECTIONS)]
    pub(crate) sources: Vec<IpAddr>,

    /// Connect to another address than that of HOST and PORT; the Host field stays. An empty
    /// part matches any, or stays as it is. Can be given several times
    #[arg(long, value_name = "HOST:PORT:ADDRESS:PORT", help_heading = CONNECTIONS)]
    pub(crate) connect_to: Vec<ConnectTo>,

    /// Close a connection once it is this old and has no request in flight
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true,
          value_parser = duration::parse_length, help_heading = CONNECTIONS)]
    pub(crate) max_lifetime: Option<Duration>,

    /// Look the host up again each time this long has passed; new connections go to the addresses
    /// found last. All addresses of a host are used in turn
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true,
          value_parser = duration::parse_length, conflicts_with = "unix_socket",
          help_heading = CONNECTIONS)]
    pub(crate) dns_ttl: Option<Duration>,

    /// Use IPv4 addresses only
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = CONNECTIONS)]
    pub(crate) ipv4: bool,

    /// Use IPv6 addresses only
    #[arg(short = '6', long, help_heading = CONNECTIONS)]
    pub(crate) ipv6: bool,

    /// Connect to this Unix socket instead of the host of the URL
    #[arg(long, value_name = "PATH", help_heading = CONNECTIONS)]
    pub(crate) unix_socket: Option<PathBuf>,

    /// A pair of a form that is the body; the method is then POST unless it is given. Can be given
    /// several times
    #[arg(short = 'F', long = "form", value_name = "NAME=VALUE", value_parser = pair,
          conflicts_with_all = ["body", "body_file"], help_heading = REQUESTS)]
    pub(crate) form: Vec<(String, String)>,

    /// Credentials for HTTP Basic authentication
    #[arg(short = 'u', long, value_name = "USER:PASSWORD", help_heading = REQUESTS)]
    pub(crate) user: Option<String>,

    /// Replace {uuid}, {random:1-100}, {csv:FILE.column} (its rows in turn) and, as n in braces, the
    /// number of the request, in path, header values and body
    #[arg(long, help_heading = REQUESTS)]
    pub(crate) template: bool,

    /// Send the requests of this file in turn: 'METHOD /PATH', perhaps with 'weight=3' and
    /// 'name=items' behind it, header lines, then '= BODY' or '@FILE'; an empty line between two, #
    /// begins a comment. Each name has a row of its own in the report
    #[arg(long, value_name = "FILE", conflicts_with_all = ["body", "body_file", "form", "method"],
          help_heading = REQUESTS)]
    pub(crate) requests_file: Option<PathBuf>,

    /// Be part K of N of the load that the other arguments describe: requests, rate and connections
    /// are divided. The records of all parts are united by `keepwarm merge`
    #[arg(long, value_name = "K/N", default_value = "1/1", value_parser = part,
          help_heading = REQUESTS)]
    pub(crate) share: (usize, usize),

    /// Give each request a traceparent field (W3C Trace Context) of its own; the slowest and the
    /// first failed requests are listed with theirs
    #[arg(long, help_heading = REQUESTS)]
    pub(crate) trace: bool,

    /// Load the server for this long before, on connections of their own; nothing of it is counted
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true,
          value_parser = duration::parse_length, help_heading = REQUESTS)]
    pub(crate) warm_up: Option<Duration>,

    /// Trust any certificate of an https server
    #[arg(short = 'k', long, help_heading = TLS)]
    pub(crate) insecure: bool,

    /// Authorities to trust instead of the platform's, in PEM
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) ca_cert: Option<PathBuf>,

    /// The certificate, and its chain, of this client, in PEM
    #[arg(long, value_name = "FILE", requires = "key", help_heading = TLS)]
    pub(crate) cert: Option<PathBuf>,

    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TLS)]
    pub(crate) key: Option<PathBuf>,

    /// The name to ask for, instead of the URL's host
    #[arg(long, value_name = "NAME", help_heading = TLS)]
    pub(crate) sni: Option<String>,

    /// Make every TLS handshake a full one
    #[arg(long, help_heading = TLS)]
    pub(crate) no_resumption: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhoCloses {
    /// The loader, at once, by FIN: TIME_WAIT stays on this side
    Now,
    /// The server, if it does so within a second
    WaitPeer,
    /// The loader, at once, by RST: no TIME_WAIT, and the server sees resets
    Reset,
}

const OPEN_LOOP: &str = "Open loop";
/// Arguments that make a loop an open one.
const PACED: &str = "paced";
const REQUESTS: &str = "Requests";
const TLS: &str = "TLS";
const CONNECTIONS: &str = "Connections";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spread {
    /// Evenly: one every 1/R seconds
    Constant,
    /// At random, like the requests of many independent users
    Poisson,
}

impl EngineOptions {
    /// Returns true if the run ends without -n and -z.
    pub(crate) fn ends_by_itself(&self) -> bool {
        !self.stages.is_empty()
    }

    pub(crate) fn apply(&self, builder: PlanBuilder) -> Result<PlanBuilder, Failure> {
        self.tls(self.connections(self.open_loop(self.requests(builder)?)))
    }

    fn requests(&self, mut builder: PlanBuilder) -> Result<PlanBuilder, Failure> {
        for (name, value) in &self.form {
            builder = builder.form(name, value);
        }
        if let Some(user) = &self.user {
            // curl would ask for the password at the terminal.
            let (user, password) = user.split_once(':').ok_or_else(|| {
                let way_out = "write USER:PASSWORD, or USER: for an empty password";
                Failure::new(Exit::Usage, format!("--user {user:?}: it has no password; {way_out}"))
            })?;
            builder = builder.basic_auth(user, password);
        }
        if let Some(path) = &self.requests_file {
            let refused =
                |why: String| Failure::new(Exit::Usage, format!("{}: {why}", path.display()));
            let text = String::from_utf8(read(path)?)
                .map_err(|_| refused("the file is not UTF-8".to_owned()))?;
            // Names of files are relative to the file that contains them.
            let directory = path.parent().unwrap_or(Path::new(""));
            let specs = RequestSpec::parse_all(&text, |name| self.body_of(&directory.join(name)));
            builder = builder.request_specs(specs.map_err(|error| refused(error.to_string()))?);
            builder = builder.csv_folder(directory);
        }
        let (part, parts) = self.share;
        let builder = builder.templates(self.template).trace(self.trace);
        Ok(builder.share(part.wrapping_sub(1), parts))
    }

    /// Opens the file of a body, or reads it: into memory if a template may change any byte of it.
    pub(crate) fn body_of(&self, path: &Path) -> io::Result<Body> {
        if self.template { Body::read(path) } else { Body::open(path) }
    }

    fn open_loop(&self, mut builder: PlanBuilder) -> PlanBuilder {
        if let Some(rate) = self.rate {
            builder = builder.rate(rate);
        }
        if let Some(backlog) = self.backlog {
            builder = builder.backlog(backlog);
        }
        let arrivals = match self.arrivals {
            Spread::Constant => Arrivals::Constant,
            Spread::Poisson => Arrivals::Poisson { seed: self.seed },
        };
        builder.stages(self.stages.as_slice()).arrivals(arrivals)
    }

    fn connections(&self, mut builder: PlanBuilder) -> PlanBuilder {
        if self.http2 {
            builder = builder.http2(usize::try_from(self.streams).unwrap_or(usize::MAX));
        }
        if let Some(requests) = self.requests_per_connection {
            builder = builder.requests_per_connection(requests);
        }
        if let Some(rate) = self.connect_rate {
            builder = builder.connect_rate(rate);
        }
        if let Some(path) = &self.unix_socket {
            builder = builder.unix_socket(path);
        }
        if let Some(who) = self.close_policy {
            builder = builder.close_policy(match who {
                WhoCloses::Now => ClosePolicy::Now,
                WhoCloses::WaitPeer => ClosePolicy::WaitPeer,
                WhoCloses::Reset => ClosePolicy::Reset,
            });
        }
        if let Some(age) = self.max_lifetime {
            builder = builder.max_lifetime(age);
        }
        if let Some(ttl) = self.dns_ttl {
            builder = builder.dns_ttl(ttl);
        }
        if self.ipv4 || self.ipv6 {
            builder = builder.family(if self.ipv4 { Family::V4 } else { Family::V6 });
        }
        for source in &self.sources {
            builder = builder.source(*source);
        }
        for rule in &self.connect_to {
            builder = builder.connect_to(rule.clone());
        }
        builder
    }

    fn tls(&self, builder: PlanBuilder) -> Result<PlanBuilder, Failure> {
        let mut builder = builder.tls_insecure(self.insecure).tls_resumption(!self.no_resumption);
        if let Some(path) = &self.ca_cert {
            builder = builder.tls_roots(read(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            builder = builder.tls_identity(read(cert)?, read(key)?);
        }
        if let Some(name) = &self.sni {
            builder = builder.tls_server_name(name);
        }
        Ok(builder)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let (part, parts) = text.split_once('/').ok_or("write it as K/N, such as 1/4")?;
    let number = |text: &str| text.trim().parse().map_err(|_| "write it as K/N, such as 1/4");
    Ok((number(part)?, number(parts)?))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()));
    read_file(path).map_err(failed)
}

fn stage(text: &str) -> Result<Stage, String> {
    let (duration, rate) =
        text.split_once(':').ok_or("write it as DURATION:RATE, such as 10s:100")?;
    let duration = duration::parse_length(duration)?;
    let rate = number::rate(rate).ok().filter(|rate| *rate >= 0.0);
    let rate =
        rate.ok_or("its rate is not a number from 0: write DURATION:RATE, such as 10s:100")?;
    Ok(Stage { duration, rate })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stages_parse_or_say_why() {
        let expected = Stage { duration: Duration::from_secs(10), rate: 100.5 };
        assert_eq!(stage("10s:100.5"), Ok(expected));
        for text in ["", "10s", "10s:", "10s:x", ":100", "10q:100"] {
            assert!(!stage(text).unwrap_err().is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_stage_is_planned_or_rejected(text in "\\PC{0,12}|[0-9.]{0,5}(ms|s|h|):[-+]?[0-9.e]{0,8}|1s:(inf|NaN)") {
            if let Ok(stage) = stage(&text) {
                let plan = keepwarm_load::Plan::builder("http://127.0.0.1:9/").stages([stage]);
                if let Err(why) = plan.build() {
                    prop_assert!(!why.to_string().is_empty());
                }
            }
        }
    }
}
