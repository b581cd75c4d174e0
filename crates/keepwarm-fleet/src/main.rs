//! One HTTP load from many machines. NATS is the meeting place; `keepwarm load` puts each part of the
//! load, and `keepwarm-record` merges the records.
//!
//! This crate owns the protocol between coordinator and workers; it measures nothing itself.

#![forbid(unsafe_code)]

mod args;
mod clock;
mod coordinator;
mod exit;
mod keys;
mod launchers;
mod link;
mod load;
mod local;
mod look;
mod packed;
mod protocol;
mod signals;
mod tether;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start threads: {error}"));
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(run(arguments));
    // Tasks may still wait for the server; the process ends without them.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(&failure.to_string());
            failure.exit.into()
        }
    }
}

async fn run(arguments: Arguments) -> Result<u8, Failure> {
    match arguments.command {
        Command::Worker(options) => worker::run(*options).await.map(|()| 0),
        Command::Run(options) => coordinator::run(*options).await,
        Command::Look(options) => look::run(&options).await.map(|()| 0),
        Command::Print { launcher } => print(launchers::text(launcher)).map(|()| 0),
        Command::Key { file } => print(&format!("{}\n", keys::make(&file)?)).map(|()| 0),
        Command::Tethered { parent, command } => Err(tether::become_child(parent, &command)),
    }
}

/// Writes a line to stderr. A failure of that write cannot be reported, so it is ignored.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "keepwarm fleet: {message}");
}

/// Writes to stdout. A reader that has gone away is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Output, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
