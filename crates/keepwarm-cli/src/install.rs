//! `keepwarm completions` and `keepwarm man`: what a package installs beside the binary.
//!
//! Both are made from the arguments themselves, so they cannot fall behind.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::args::records::CompletionShell;
use crate::exit::{Exit, Failure};
use crate::output;

/// The name of the command.
const NAME: &str = "keepwarm";

/// Prints the completions of a shell.
pub(crate) fn completions(shell: CompletionShell) -> Result<(), Failure> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    output::print_with(|stdout| stdout.write_all(&script))
}

/// Writes a manual page for the tool and for each command into a folder.
pub(crate) fn man(folder: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Output, format!("cannot write to {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(failed)?;
    // The version's commit has no place in the foot of a page.
    let command = Arguments::command().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command, folder).map_err(failed)
}
