//! The capacity that a load has found: the sentence, and the curve of latency against throughput.

use keepwarm_record::load::{CapacityRecord, CapacityStep};
use keepwarm_record::numbers::thousands;

use super::numbers::millis_or_dash;
use super::table::{Table, paragraph};
use super::{Columns, paint, printable};

/// Writes the sentence, and a row for each step, the lowest rate first.
pub(super) fn render(capacity: &CapacityRecord, colour: bool, columns: Columns) -> String {
    let shade = if capacity.capacity.is_some() { "1;32" } else { "1;31" };
    let mut text =
        paragraph("", &paint(&printable(&capacity.sentence), shade, colour), columns.text);
    let mut steps: Vec<&CapacityStep> = capacity.steps.iter().collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let mut table = Table::default();
    let names = ["done/s", "p50 ms", "p99 ms", "95 % within", "max ms", "errors", "outcome"];
    table.row("requests/s", names.map(str::to_owned));
    for step in steps {
        let range = step.p99_interval_us.map(|(low, high)| {
            format!("{}-{}", millis_or_dash(Some(low)), millis_or_dash(Some(high)))
        });
        let cells = [
            thousands(step.completed_per_second.round() as u64),
            millis_or_dash(step.p50_us),
            millis_or_dash(step.p99_us),
            range.unwrap_or_default(),
            millis_or_dash(step.max_us),
            format!("{:.2} %", step.errors_share * 100.0),
            printable(&step.outcome).into_owned(),
        ];
        table.row(&thousands(step.rate.round() as u64), cells);
    }
    table.narrow(columns.table, &["max ms", "95 % within", "errors"]);
    text.push('\n');
    text.push_str(&table.render(|head| paint(head, "1", colour)));
    text.push('\n');
    text
}
