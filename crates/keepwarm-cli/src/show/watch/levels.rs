//! The lists that `keepwarm explain levels` ends with: what a report leaves out, and why.

use keepwarm_diagnose::not_judged_by_polls;
use keepwarm_record::watch::{
    HINT_AT_L0, Level, Mode, NOT_SEEN_BY_POLLS, NOT_SEEN_WITHOUT_TIME_WAITS,
};

use crate::show::table::paragraph;

/// Writes the lists of what level L0 and one dump leave out, `columns` wide.
pub(crate) fn reasons(columns: usize) -> String {
    let words = format!("One dump (--once) does not see {}.", Mode::OneDump.limitations(Level::L1));
    let mut text = format!("\n{}", paragraph("", &words, columns));
    text.push_str("\nNot seen at level L0, and why:\n\n");
    for (what, why) in NOT_SEEN_BY_POLLS.into_iter().chain([NOT_SEEN_WITHOUT_TIME_WAITS]) {
        text.push_str(&paragraph("  ", &format!("{what}: {why}"), columns));
    }
    text.push_str("\nNot judged at level L0, and why:\n\n");
    for (what, why) in not_judged_by_polls() {
        text.push_str(&paragraph("  ", &format!("{what}: {why}"), columns));
    }
    text.push('\n');
    text + &paragraph("To see more: ", HINT_AT_L0, columns)
}
