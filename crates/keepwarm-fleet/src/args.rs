//! The arguments of every command. Owns their syntax and their help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use keepwarm_record::duration::parse_length;

use crate::protocol::{MAX_WORKERS, check_name};

/// Puts one HTTP load on a target from many machines. NATS is their meeting place.
#[derive(Debug, Parser)]
#[command(name = "keepwarm fleet", bin_name = "keepwarm fleet", version, max_term_width = 100,
          after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  keepwarm fleet run --local 4 -- -z 10s -c 100 http://127.0.0.1:8080/
      four workers on this machine, and a nats-server from PATH
  keepwarm fleet worker --nats tls://nats:4222 --allow-target 10.0.0.0/8:80
  keepwarm fleet run --nats tls://nats:4222 --workers 4 -- --rate 120000 -z 60s -c 4000 URL
  keepwarm fleet print k8s-job

Exit codes: 0 good, 2 usage or a refused plan, 3 no server or too few workers, 4 a worker
was lost or the measurement is invalid, 6 the server refuses this key, 8 keepwarm failed,
9 a record could not be written, 10 an assertion did not hold, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Wait for a coordinator's call, and put this machine's part of the load on the target
    Worker(Box<WorkerOptions>),
    /// Coordinate a load: gather workers, begin at one instant, merge their records
    Run(Box<RunOptions>),
    /// List the workers that answer, their versions and limits
    Look(LookOptions),
    /// Print text that starts workers, or a server that lets in only your keys
    Print {
        #[arg(value_enum)]
        launcher: Launcher,
    },
    /// Make an NKey: write the seed to FILE, readable by its owner alone, and print the public key
    Key {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Become a program that ends with the process PARENT; `run --local` starts its children so
    #[command(hide = true)]
    Tethered {
        parent: i32,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Launcher {
    /// Kubernetes Indexed Job
    K8sJob,
    /// Slurm batch script
    Slurm,
    /// systemd unit
    Systemd,
    /// Compose file
    Compose,
    /// Configuration of nats-server with a key for each role
    NatsServer,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerOptions {
    /// URL of the NATS server: nats://HOST:PORT, or tls://
    #[arg(long, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    pub(crate) nats: String,

    /// File with the seed of the NKey by which the server knows this program; `fleet key` makes one
    #[arg(long, value_name = "FILE")]
    pub(crate) nkey: Option<PathBuf>,

    /// Authorities that may have signed the server's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Certificate of this program for the server, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl ServerOptions {
    /// Returns the files of TLS by the names of their options.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let files = [
            ("--tls-ca", &self.tls_ca),
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
        ];
        files.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)))
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,

    /// Name of this worker [default: the host's name, and the process id]
    #[arg(long, value_name = "NAME", value_parser = check_name)]
    pub(crate) name: Option<String>,

    /// Networks and ports that a plan may aim at, separated by commas, such as 10.0.0.0/8:80 or
    /// [fd00::/8]:*. Resolved addresses are checked, not names
    #[arg(long, value_name = "NETWORK:PORT,...", value_delimiter = ',', required = true)]
    pub(crate) allow_target: Vec<String>,

    /// Highest rate of this worker's part of an open loop. A closed loop is bounded by
    /// --max-connections
    #[arg(long, value_name = "R", default_value_t = 50_000.0)]
    pub(crate) max_rate: f64,

    /// Most connections of this worker's part
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(crate) max_connections: u64,

    /// Longest load that a plan may ask for, its warm-up included. A load that only -n ends is ended
    /// then
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_length)]
    pub(crate) max_duration: Duration,

    /// Public NKeys of coordinators whose plans are carried out, separated by commas [default: any
    /// that the server lets in]
    #[arg(long, value_name = "KEY,...", value_delimiter = ',')]
    pub(crate) coordinator: Vec<String>,

    /// How long the load goes on while the server cannot be reached
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_length)]
    pub(crate) orphan: Duration,

    /// Directory that keeps the record of each run [default: a new one among temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// End after one run, with the exit code of its load
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,

    /// Number of workers that carry out the load
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=MAX_WORKERS as i64))]
    pub(crate) workers: u16,

    /// Start this many workers and a nats-server on this machine, by the same protocol
    #[arg(long, value_name = "N", conflicts_with_all = ["nats", "nkey", "workers", "tls_ca"],
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) local: Option<u16>,

    /// Name of the run [default: made of the time]
    #[arg(long, value_name = "NAME", value_parser = check_name)]
    pub(crate) run: Option<String>,

    /// How long to wait for enough workers
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_length)]
    pub(crate) wait: Duration,

    /// Workers that may be lost before the run ends; the load is then smaller than declared, and
    /// the record says so
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) tolerate_loss: u16,

    /// Write the merged record to this file [default: run-NAME.json]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Format of stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    /// Arguments of `keepwarm load`, as for one machine: rate, requests and connections are divided
    #[arg(last = true, required = true, value_name = "LOAD ARGUMENT")]
    pub(crate) load: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Verdict, latency, connections, errors
    Text,
    /// The one merged record as a JSON document
    Json,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LookOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,

    /// How long to wait for answers
    #[arg(long = "for", value_name = "DURATION", default_value = "1s", value_parser = parse_length)]
    pub(crate) window: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
