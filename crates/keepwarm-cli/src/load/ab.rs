//! The run in the layout of ApacheBench's report, for eyes and scripts that are used to it.
//!
//! The labels are ab's; the numbers are this engine's. ab keeps whole milliseconds, so do we here.
//! What ab reports and this engine does not measure apart is left out.

use keepwarm_load::{Histogram, Plan, Summary};

/// The rows of ab's percentile table.
const PERCENTILES: [f64; 9] = [0.50, 0.66, 0.75, 0.80, 0.90, 0.95, 0.98, 0.99, 1.0];

pub(crate) fn render(plan: &Plan, summary: &Summary) -> String {
    let seconds = summary.elapsed.as_secs_f64();
    let rate = summary.requests_per_second();
    let per_request = if rate > 0.0 { 1000.0 / rate } else { 0.0 };
    let non_2xx: u64 = summary
        .statuses
        .iter()
        .filter(|(status, _)| !(200..300).contains(*status))
        .map(|(_, count)| count)
        .sum();
    let mut lines = vec![
        ("Server Software:", summary.server_header.clone().unwrap_or_default()),
        ("Server Hostname:", plan.host().to_owned()),
        ("Server Port:", plan.port().to_string()),
        ("", String::new()),
        ("Document Path:", plan.path().to_owned()),
        ("Document Length:", format!("{} bytes", summary.document_length.unwrap_or(0))),
        ("", String::new()),
        ("Concurrency Level:", plan.concurrency().to_string()),
        ("Time taken for tests:", format!("{seconds:.3} seconds")),
        ("Complete requests:", summary.completed.to_string()),
        ("Failed requests:", (summary.failed + summary.unfinished).to_string()),
    ];
    if non_2xx > 0 {
        lines.push(("Non-2xx responses:", non_2xx.to_string()));
    }
    if plan.keep_alive() {
        lines.push(("Keep-Alive requests:", summary.ledger.reused.to_string()));
    }
    lines.extend([
        ("Total transferred:", format!("{} bytes", summary.bytes_read)),
        ("HTML transferred:", format!("{} bytes", summary.body_bytes)),
        ("Requests per second:", format!("{rate:.2} [#/sec] (mean)")),
        (
            "Time per request:",
            format!("{:.3} [ms] (mean)", per_request * plan.concurrency() as f64),
        ),
        (
            "Time per request:",
            format!("{per_request:.3} [ms] (mean, across all concurrent requests)"),
        ),
        (
            "Transfer rate:",
            format!("{:.2} [Kbytes/sec] received", summary.bytes_read as f64 / 1024.0 / seconds),
        ),
    ]);
    let head: String = lines
        .iter()
        .map(|(label, value)| format!("{label:<24}{value}").trim_end().to_owned() + "\n")
        .collect();
    format!("\n{head}\n{}\n{}", times(summary), percentages(&summary.latency))
}

fn times(summary: &Summary) -> String {
    let mut text =
        String::from("Connection Times (ms)\n              min  mean[+/-sd] median   max\n");
    for (label, histogram) in
        [("Connect:", &summary.connect_time), ("Processing:", &summary.latency)]
    {
        let millis = |micros: Option<u64>| micros.unwrap_or(0) / 1000;
        text.push_str(&format!(
            "{label:<12}{:>5}{:>5.0}{:>7.1}{:>7}{:>8}\n",
            millis(histogram.min()),
            histogram.mean().unwrap_or(0.0) / 1000.0,
            histogram.std_dev().unwrap_or(0.0) / 1000.0,
            millis(histogram.p50()),
            millis(histogram.max()),
        ));
    }
    text
}

fn percentages(latency: &Histogram) -> String {
    let mut text = String::from("Percentage of the requests served within a certain time (ms)\n");
    for quantile in PERCENTILES {
        let micros = if quantile < 1.0 { latency.quantile(quantile) } else { latency.max() };
        let millis = (micros.unwrap_or(0) as f64 / 1000.0).round();
        let longest = if quantile < 1.0 { "" } else { " (longest request)" };
        text.push_str(&format!("{:>5.0}%{millis:>7}{longest}\n", quantile * 100.0));
    }
    text
}
