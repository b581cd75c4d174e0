//! `keepwarm watch --print`: files for those who install a watch that stays.
//!
//! Owns the files. Their queries name the metrics of `listen/page.rs`; a test asks real Prometheus
//! each of them.

use crate::args::PrintedFile;
use crate::exit::Failure;
use crate::output;

/// Prints a file.
pub(super) fn run(file: PrintedFile) -> Result<(), Failure> {
    output::print(&text(file))
}

fn text(file: PrintedFile) -> String {
    match file {
        PrintedFile::Dashboard => include_str!("dashboard.json").to_owned(),
        PrintedFile::Alerts => include_str!("alerts.yml").to_owned(),
        PrintedFile::Daemonset => {
            include_str!("daemonset.yaml").replace("VERSION", env!("CARGO_PKG_VERSION"))
        }
        PrintedFile::Unit => include_str!("keepwarm.service").to_owned(),
    }
}
