//! `keepwarm lab`: the whole experiment, every policy in turn, side by side.

mod child;
mod play;
mod record;
mod text;

use keepwarm_lab::Policy;

use crate::args::{LabFormat, LabOptions};
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::output_file::OutputFile;
use crate::show::numbers::thousands;
use crate::{interrupt, limits, output};
use play::{Play, Stage};

pub(crate) fn run(options: &LabOptions) -> Result<(), Failure> {
    // The front holds a connection to the load and one to the data service for each request.
    limits::make_room(2 * u64::from(options.concurrency), "ask for less at once with -c")?;
    let file = options.output.as_deref().map(OutputFile::create).transpose()?;
    interrupt::watch(2)?;
    let stage = Stage::new(options)?;
    let mut progress = Progress::new();
    let mut plays = Vec::new();
    for (index, policy) in policies(options).into_iter().enumerate() {
        let play = stage.play(policy)?;
        progress.note(&format!(
            "{}. {policy}: {} requests/s, {} upstream connections",
            index + 1,
            thousands(play.requests_per_second().round() as u64),
            thousands(play.upstream.opened),
        ));
        plays.push(play);
    }
    if let Some(file) = file {
        file.write(|to| record::write_json(&plays, to))?;
    }
    match options.format {
        LabFormat::Json => output::print_with(|to| record::write_json(&plays, to)),
        LabFormat::Text => output::print(&text::render(options, &plays, output::colour())),
    }?;
    plays.iter().try_for_each(judge)
}

/// All, or those asked for, each once.
fn policies(options: &LabOptions) -> Vec<Policy> {
    let mut policies = Vec::new();
    for policy in if options.policies.is_empty() { &Policy::ALL[..] } else { &options.policies } {
        if !policies.contains(policy) {
            policies.push(*policy);
        }
    }
    policies
}

/// A play whose numbers contradict each other is shown, and then called invalid.
fn judge(play: &Play) -> Result<(), Failure> {
    let doubts = play.doubts();
    if doubts.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Invalid,
        format!("the measurement of {} is invalid: {}", play.policy, doubts.join("; ")),
    ))
}
