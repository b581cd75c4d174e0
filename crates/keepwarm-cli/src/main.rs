//! The command-line tool: arguments in, words and exit codes out.
//!
//! Everything measured or decided happens in the libraries; this crate owns what people see.

#![forbid(unsafe_code)]

mod args;
mod compare;
mod evidence;
mod exit;
mod explain;
mod fleet;
mod html;
mod install;
mod interrupt;
mod lab;
mod limits;
mod load;
mod machine;
mod merge;
mod otlp;
mod output;
mod output_file;
mod record_file;
mod report;
#[cfg(test)]
mod screens;
mod secrets;
mod serve;
mod show;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command, words};
use crate::exit::Failure;

fn main() -> ExitCode {
    let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let typed = match words::expand(typed) {
        Ok(typed) => typed,
        Err(failure) => {
            output::complain(&failure);
            return failure.exit().into();
        }
    };
    let result = match Arguments::try_parse_from(&typed) {
        Ok(arguments) => run(arguments, &typed),
        // clap would ignore a failure of this write.
        Err(help) if !help.use_stderr() => {
            let text = help.render();
            let colour = output::colour();
            output::print(&if colour { text.ansi().to_string() } else { text.to_string() })
        }
        Err(error) => error.exit(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit().into()
        }
    }
}

fn run(arguments: Arguments, typed: &[String]) -> Result<(), Failure> {
    match arguments.command {
        Command::Fleet { arguments } => fleet::run(&arguments),
        Command::Lab(options) => lab::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Merge(options) => merge::run(&options),
        Command::Completions { shell } => install::completions(shell),
        Command::Man { folder } => install::man(&folder),
        Command::Load(mut options) => {
            options.command_line = secrets::command_line(typed);
            load::run(*options)
        }
        Command::Report(options) => report::run(&options),
        Command::Version => output::print(&format!("keepwarm {}\n", args::VERSION)),
        Command::Explain { topic } => explain::run(topic.as_deref()),
        Command::Watch(options) => watch::run(&options),
        Command::Serve { service } => serve::run(&service),
    }
}
