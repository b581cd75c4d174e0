//! Drives one URL and prints the numbers of a comparison: requests per second and the loader's own
//! processor time per request, and in an open loop how late it was. `drive URL CONNECTIONS THREADS
//! SECONDS [close | RATE]`
#![allow(clippy::print_stdout, reason = "an example for a terminal")]

use std::time::Duration;

use keepwarm_load::{Plan, Run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, url, connections, threads, seconds, rest @ ..] = arguments.as_slice() else {
        return Err("usage: drive URL CONNECTIONS THREADS SECONDS [close | RATE]".into());
    };
    let close = rest == ["close"];
    let mut builder = Plan::builder(url)
        .concurrency(connections.parse()?)
        .threads(threads.parse()?)
        .duration(Duration::from_secs_f64(seconds.parse()?))
        .keep_alive(!close);
    if let [rate] = rest
        && !close
    {
        builder = builder.rate(rate.parse()?);
    }
    let summary = Run::start(builder.build()?)?.wait();
    summary.ledger.check()?;
    let cpu_us = summary.loader.cpu_time.as_secs_f64() * 1e6;
    #[expect(clippy::cast_precision_loss, reason = "a rate is an approximation")]
    let per_request = cpu_us / summary.completed.max(1) as f64;
    println!(
        "rps {:.0} cpu_us_per_request {per_request:.3} completed {} failed {} opened {} p50_us {:?} p99_us {:?}",
        summary.requests_per_second(),
        summary.completed,
        summary.failed,
        summary.ledger.opened,
        summary.latency.p50(),
        summary.latency.p99(),
    );
    let loader = &summary.loader;
    for (name, histogram) in [
        ("service", &summary.latency),
        ("response", &summary.response),
        ("send_lag", &summary.send_lag),
        ("loader_lag", &loader.lag),
        ("lateness", &loader.lateness),
    ] {
        let quantiles = [histogram.p50(), histogram.p90(), histogram.p99(), histogram.max()];
        println!("{name}_us {} samples, p50 p90 p99 max {quantiles:?}", histogram.count());
    }
    let used = &loader.per_thread;
    let waited = used.iter().filter_map(|thread| thread.waited_for_core).max();
    println!("most waited for a core {waited:?} of {:?}", summary.elapsed);
    Ok(())
}
