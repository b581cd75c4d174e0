//! `keepwarm explain`: tables that are too long for `--help`.

use crate::args::Topic;
use crate::exit::Failure;
use crate::{assertion, output};

pub(crate) fn run(topic: Topic) -> Result<(), Failure> {
    output::print(&match topic {
        Topic::Assertions => assertion::help(),
    })
}
