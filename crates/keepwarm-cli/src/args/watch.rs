//! Arguments of `keepwarm watch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use keepwarm_record::assertion::{self, Assertion};
use keepwarm_record::duration;
use keepwarm_sockets::State;

use super::number;

pub(super) const WATCH_EXAMPLES: &str = "\
Examples:
  keepwarm watch                          everything, live, until Ctrl-C
  keepwarm watch :8081 --for 10s          ten seconds of one port
  keepwarm watch dst 10.0.0.5:443 --once  the TIME_WAITs of the last minute
  keepwarm watch :8081 --count time-wait  one number
  keepwarm watch --listen 127.0.0.1:9465  stay, for Prometheus (docs/prometheus.md)
  keepwarm explain columns                what the table shows
  keepwarm explain                        the findings, and other topics

Exit codes: 0 watched; 2 the arguments cannot be used; 6 the kernel does not let
us look; 10 an assertion did not hold, or could not be judged; 130 interrupted
before the end of --for.";

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// Services to watch: :8081, 10.0.0.5, 10.0.0.5:443; after dst as a client, after src as the
    /// server [default: everything]
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Vec<String>,

    /// Take one dump of the socket table, without waiting; closes of the last minute show in its
    /// TIME_WAITs
    #[arg(long, conflicts_with = "window")]
    pub(crate) once: bool,

    /// How long to watch, such as 10s [default: until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", allow_hyphen_values = true,
          value_parser = window)]
    pub(crate) window: Option<Duration>,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = WatchFormat::Text)]
    pub(crate) format: WatchFormat,

    /// The highest level of evidence to use. Where the kernel refuses a level, the watch takes the
    /// next lower one, and the report says why. `keepwarm explain levels` has what each level sees
    #[arg(long, value_enum, ignore_case = true, default_value_t = WatchLevel::L2)]
    pub(crate) level: WatchLevel,

    /// Print one number: the sockets in this state
    #[arg(long, value_enum, value_name = "STATE", ignore_case = true,
          conflicts_with_all = ["window", "format", "pid", "process", "cgroup", "unit", "pod",
                                "container"])]
    pub(crate) count: Option<CountedState>,

    /// Only services whose connections belong, at least in part, to this process; a process of
    /// another user takes root
    #[arg(long, value_name = "PID", allow_negative_numbers = true,
          value_parser = number::small_count(1, u32::MAX))]
    pub(crate) pid: Option<u32>,

    /// Only services with connections of a process of this name (as in /proc/PID/comm)
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) process: Option<String>,

    /// Only services with connections of a process in a cgroup whose path has this part
    #[arg(long, value_name = "PART", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) cgroup: Option<String>,

    /// Only services with connections of this systemd unit: nginx or nginx.service
    #[arg(long, value_name = "UNIT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) unit: Option<String>,

    /// Only services with connections of this pod of Kubernetes: NAME, or NAMESPACE/NAME
    #[arg(long, value_name = "POD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) pod: Option<String>,

    /// Only services with connections of this container, of a pod, docker, podman or containerd:
    /// its name or, where that is not known, the first 12 digits of its id
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) container: Option<String>,

    /// Folder with the host's /var/log, /var/lib, /run and /etc, from which names of pods,
    /// containers and addresses are read [default: /]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) rootfs: Option<PathBuf>,

    /// Condition that the window has to meet, such as 'hop.8081.opened<110'; can be given several
    /// times. `keepwarm explain assertions` has all names
    #[arg(long = "assert", value_name = "ASSERTION", value_parser = assertion::parse,
          conflicts_with = "count")]
    pub(crate) assertions: Vec<Assertion>,

    /// Watch another network namespace, such as a container's: the id of a process in it, a name of
    /// `ip netns`, or a path; takes root
    #[arg(long, value_name = "NETNS", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) netns: Option<String>,

    /// Watch every network namespace of this host, those that come later included; takes
    /// CAP_SYS_ADMIN and CAP_SYS_PTRACE, as root has them
    #[arg(long, conflicts_with_all = ["netns", "once", "count"])]
    pub(crate) all_netns: bool,

    /// Name no processes: the watch then needs no privilege, drops every one, and is confined by
    /// Landlock, where the kernel has it
    #[arg(long, conflicts_with_all = ["pid", "process", "cgroup", "unit", "pod", "container",
          "all_netns", "count", "once"])]
    pub(crate) no_owners: bool,

    /// Ask DNS for the names of remote services that the hosts file does not have: each once, beside
    /// the watch, which does not wait for them
    #[arg(long, conflicts_with_all = ["count", "once"])]
    pub(crate) resolve: bool,

    #[command(flatten)]
    pub(crate) listen: ListenOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ListenOptions {
    /// Serve the numbers to Prometheus on this address, at /metrics, until SIGTERM, and print no
    /// report; /healthz says whether the watch is alive. docs/prometheus.md has every metric
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = number::listen,
          conflicts_with_all = ["once", "count", "format", "assertions"])]
    pub(crate) listen: Option<SocketAddr>,

    /// Certificate chain of the page, PEM: the page is https
    #[arg(long = "listen-cert", value_name = "FILE", requires = "tls_key", requires = "listen")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of --listen-cert, PEM
    #[arg(long = "listen-key", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Users who may read the page: a file of lines user:password, for basic authentication
    #[arg(long = "listen-auth", value_name = "FILE", requires = "listen")]
    pub(crate) auth: Option<PathBuf>,

    /// Label `node` of every sample, such as the name of a Kubernetes node
    #[arg(long, value_name = "NAME", requires = "listen",
          value_parser = NonEmptyStringValueParser::new())]
    pub(crate) node_name: Option<String>,

    /// Print a file for an installation of --listen, and watch nothing
    #[arg(long, value_enum, value_name = "FILE", exclusive = true)]
    pub(crate) print: Option<PrintedFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrintedFile {
    /// Dashboard of Grafana, JSON
    Dashboard,
    /// Alert rules of Prometheus, YAML
    Alerts,
    /// DaemonSet of Kubernetes, YAML
    Daemonset,
    /// Unit of systemd
    Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchLevel {
    /// The kernel's counters, and polls of the socket table
    #[value(alias = "0")]
    L0,
    /// Destroy events and dumps, for any user
    #[value(alias = "1")]
    L1,
    /// Destroy events, dumps and traces of connections, which takes root
    #[value(alias = "2")]
    L2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchFormat {
    /// A table and verdicts; live, refreshed in place
    Text,
    /// Record as a JSON document at the end, schema keepwarm.watch/2, and nothing else
    Json,
    /// JSON lines: the record of the window so far, each second
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // RFC 9293, section 3.3.2 says what each means.
pub(crate) enum CountedState {
    Established,
    #[value(alias = "syn_sent")]
    SynSent,
    #[value(alias = "syn_received")]
    SynReceived,
    #[value(alias = "fin_wait1", alias = "fin_wait_1")]
    FinWait1,
    #[value(alias = "fin_wait2", alias = "fin_wait_2")]
    FinWait2,
    #[value(alias = "time_wait")]
    TimeWait,
    #[value(alias = "close_wait")]
    CloseWait,
    #[value(alias = "last_ack")]
    LastAck,
    Listen,
    Closing,
}

impl From<CountedState> for State {
    fn from(state: CountedState) -> Self {
        match state {
            CountedState::Established => Self::Established,
            CountedState::SynSent => Self::SynSent,
            CountedState::SynReceived => Self::SynReceived,
            CountedState::FinWait1 => Self::FinWait1,
            CountedState::FinWait2 => Self::FinWait2,
            CountedState::TimeWait => Self::TimeWait,
            CountedState::CloseWait => Self::CloseWait,
            CountedState::LastAck => Self::LastAck,
            CountedState::Listen => Self::Listen,
            CountedState::Closing => Self::Closing,
        }
    }
}

/// Parses the length of a window, which must not be zero.
fn window(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a window is longer than that; --once takes one dump".to_owned()),
        window => Ok(window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_of_zero_names_once() {
        assert!(window("0s").unwrap_err().contains("--once"));
        assert_eq!(window("10s"), Ok(Duration::from_secs(10)));
    }
}
