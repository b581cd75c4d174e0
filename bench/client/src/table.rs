//! The document as text.

use std::fmt::Write;

use crate::row::{Document, Summary};
use crate::scenario::Scenario;

pub(crate) fn of(document: &Document, scenarios: &[Scenario]) -> String {
    let mut text = format!(
        "medians of {} rounds, clients in turn; {} cores; CPU ratios are of the same rounds\n",
        document.rounds, document.cores
    );
    for scenario in scenarios {
        let name = scenario.name();
        let own = document.rows.iter().filter(|row| row.medians.scenario == name);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{}: {}\nclient          CPU us  /reqwest  /hyper-util  /spawned  /h2  requests/s    p50 us    \
             p99 us   p999 us  opened  allocs\n",
            name,
            scenario.in_words(),
        );
        for row in own {
            text.push_str(&line(row));
        }
    }
    for skipped in &document.skipped {
        let _ = write!(text, "\n{}: not available here: {}\n", skipped.client, skipped.why);
    }
    text
}

fn line(row: &Summary) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    let medians = &row.medians;
    let opened = match (medians.opened, row.opened_max) {
        (Some(median), Some(most)) if median != most => format!("{median}-{most}"),
        (Some(median), _) => median.to_string(),
        (None, _) => "-".to_owned(),
    };
    format!(
        "{:<13}{:>9.2}{:>10}{:>13}{:>10}{:>5}{:>12.0}{:>10.1}{:>10.1}{:>10.1}{:>8}{:>8.1}\n",
        medians.client,
        medians.cpu_us_per_request,
        ratio(row.cpu_ratio_to_reqwest),
        ratio(row.cpu_ratio_to_hyper_util),
        ratio(row.cpu_ratio_to_hyper_spawned),
        ratio(row.cpu_ratio_to_h2_spawned),
        medians.requests_per_second,
        medians.p50_us,
        medians.p99_us,
        medians.p999_us,
        opened,
        medians.allocations_per_request,
    )
}
