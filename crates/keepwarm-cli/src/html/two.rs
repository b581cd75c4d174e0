//! The page of two loads laid over each other.
//!
//! Owns the layout. What may be said of the difference is `keepwarm compare`'s.

use keepwarm_record::load::LoadRecord;
use serde_json::Value;

use super::figures::{Figures, Unit};
use super::load;
use super::write::{Chart, Html, escape};
use crate::show;

pub(super) fn body(records: [&LoadRecord; 2], values: &[Value; 2], names: [&str; 2]) -> Html {
    let mut html = Html::new();
    html.title(&format!("{} and {}, laid over each other", names[0], names[1]));
    for (record, name) in records.into_iter().zip(names) {
        html.subheading(name);
        html.paragraph(&show::load::outcome_sentence(record));
        html.of_kind("quiet what", &show::load::what(record));
        load::verdict(&mut html, record);
    }
    html.paragraph(
        "The page shows both; whether a difference is more than noise is what `keepwarm compare` says.",
    );
    table(&mut html, values, names);
    html.heading("Latency");
    html.chart(&Chart {
        name: "curve",
        of: "0 1",
        title: "Percentile curves",
        says: "How long the slowest requests of each load took.",
        more: "",
    });
    for (what, title, says) in [
        ("p99", "p99 by second", "The 99th percentile of each second, to within 3.2 %."),
        ("rate", "Completed by second", "Requests completed in each second."),
        (
            "opened",
            "Connections opened by second",
            "Connections that each load opened in each second.",
        ),
    ] {
        let more = format!("data-what=\"{what}\"");
        html.chart(&Chart { name: "both", of: "0 1", title, says, more: &more });
    }
    html
}

fn table(html: &mut Html, values: &[Value; 2], names: [&str; 2]) {
    let [first, second] = [0, 1].map(|at| Figures::new(&values[at], at, ""));
    let rows: [(&str, &str, Unit); 12] = [
        ("requests/s", "/requests_per_second", Unit::Rate),
        ("completed", "/requests/completed", Unit::Count),
        ("failed", "/requests/failed", Unit::Count),
        ("never sent", "/requests/unsent", Unit::Count),
        ("service time, p50", "/latency_us/p50", Unit::Millis),
        ("service time, p99", "/latency_us/p99", Unit::Millis),
        ("service time, p99.9", "/latency_us/p999", Unit::Millis),
        ("response time, p50", "/response_us/p50", Unit::Millis),
        ("response time, p99", "/response_us/p99", Unit::Millis),
        ("connections opened", "/connections/opened", Unit::Count),
        ("requests on a reused one", "/connections/reused", Unit::Count),
        ("connections at once", "/settings/concurrency", Unit::Count),
    ];
    let row = |(label, path, unit): (&str, &str, Unit)| {
        vec![escape(label), first.show(unit, path), second.show(unit, path)]
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(row).collect();
    html.table("Both in figures", &["", names[0], names[1]], &rows);
}
