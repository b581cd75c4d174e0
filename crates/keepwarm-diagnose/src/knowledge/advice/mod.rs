//! Settings to change: one entry for each finding in each runtime, with the versions it is for.
//!
//! A file for each finding. To add an entry, see "The knowledge base" in CONTRIBUTING.md. The order is
//! that of likelihood: where the program is not recognised, the first two runtimes of a finding are
//! shown. The settings that a text names are listed before it, and stand among the defaults: so no
//! setting is advised that does not exist in the versions that the advice is for. Steps that depend
//! on no runtime are in `steps`.

mod d01;
mod d02;
mod d03;
mod d04;
mod d05;
mod d06;
mod d07;
mod d13;

use std::sync::LazyLock;

use super::{Advice, Kind, Range};

const fn advise(
    code: &'static str,
    (kind, versions): (Kind, Range),
    settings: &'static [&'static str],
    text: &'static str,
    source: &'static str,
) -> Advice {
    Advice { code, kind, versions, settings, text, source }
}

/// The advice, finding by finding.
pub static ADVICE: LazyLock<Vec<Advice>> = LazyLock::new(|| {
    [
        d01::ADVICE,
        d02::ADVICE,
        d03::ADVICE,
        d04::ADVICE,
        d05::ADVICE,
        d06::ADVICE,
        d07::ADVICE,
        d13::ADVICE,
    ]
    .concat()
});
