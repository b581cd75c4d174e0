//! A server that drops each connection unannounced after some requests: no GET fails and none is
//! answered twice, at every limit of connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keepwarm::{Client, CloseReason, Limit};
use keepwarm_testkit::scripted::ok;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{assert_at_rest, only};

/// The moment of a drop, after the last request that a connection serves.
#[derive(Clone, Copy, Debug)]
enum Drop {
    /// Right behind the response.
    Behind,
    /// When the next request has arrived, without answering it.
    OnArrival,
}

const DROPS: [Drop; 2] = [Drop::Behind, Drop::OnArrival];

type Answers = Arc<Mutex<HashMap<String, u32>>>;

async fn serve(mut stream: TcpStream, served: u32, drop: Drop, answers: Answers) {
    let mut buffer = Vec::new();
    for number in 0.. {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        if number == served {
            return;
        }
        let head = String::from_utf8(buffer.drain(..end).collect()).expect("a head");
        let target = head.split(' ').nth(1).expect("a target").to_owned();
        *answers.lock().expect("no panic").entry(target.clone()).or_default() += 1;
        if stream.write_all(ok(&target).as_bytes()).await.is_err() {
            return;
        }
        if number + 1 == served && matches!(drop, Drop::Behind) {
            return;
        }
    }
}

/// Starts a server in this runtime; returns its URL and its account of the answers.
async fn start(served: u32, drop: Drop) -> (String, Answers) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let answers = Answers::default();
    let shared = Arc::clone(&answers);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, served, drop, Arc::clone(&shared)));
        }
    });
    (url, answers)
}

/// Sends so many GETs by so many tasks, each with a target of its own, and returns the failures.
async fn run(client: &Client, url: &str, gets: u32, tasks: u32) -> Vec<String> {
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (client, url) = (client.clone(), url.to_owned());
        running.spawn(async move {
            let mut failures = Vec::new();
            for number in 0..gets / tasks {
                let target = format!("/{task}/{number}");
                let result =
                    async { client.get(format!("{url}{target}")).send().await?.text().await };
                match result.await {
                    Ok(body) => assert_eq!(body, target),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            failures
        });
    }
    running.join_all().await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_fails_at_any_limit() {
    for drop in DROPS {
        for served in [1, 10, 50] {
            for limit in [Limit::at_most(1), Limit::at_most(4), Limit::NONE] {
                let (url, answers) = start(served, drop).await;
                let client = Client::builder().max_connections_per_origin(limit).build();
                let client = client.expect("good settings");
                let case = format!("dropped {drop:?} after {served}, limit {limit:?}");
                // The whole number in the case that failed first; elsewhere a part shows it.
                let gets = if served == 10 { 3_000 } else { 1_000 };
                let failures = run(&client, &url, gets, 40).await;
                let (count, first) = (failures.len(), failures.first());
                assert_eq!((count, first), (0, None), "{case}");
                let answers = answers.lock().expect("no panic");
                let twice = answers.values().filter(|answers| **answers != 1).count();
                assert_eq!((answers.len(), twice), (gets as usize, 0), "{case}");
                assert_at_rest(&only(&client));
            }
        }
    }
}

/// All origins together have few connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_get_fails_at_a_total_limit() {
    let servers = [start(10, Drop::OnArrival).await, start(10, Drop::Behind).await];
    let client = Client::builder().max_connections(3).build().expect("good settings");
    let runs = servers.each_ref().map(|(url, _)| run(&client, url, 1_500, 20));
    let [one, two] = runs;
    let (one, two) = tokio::join!(one, two);
    assert_eq!([one, two].concat(), Vec::<String>::new());
    for (_, answers) in &servers {
        assert!(answers.lock().expect("no panic").values().all(|answers| *answers == 1));
    }
}

/// Once the budget is spent, requests take only connections that were never used, and later used
/// ones again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spent_budget_fails_no_request() {
    let (url, _) = start(1, Drop::OnArrival).await;
    let client = Client::new();
    assert_eq!(run(&client, &url, 2_000, 1).await, Vec::<String>::new());
    let stats = only(&client);
    let distrusted = stats.closed_for(CloseReason::Distrusted);
    let broken = stats.closed_for(CloseReason::ExchangeFailed);
    assert_eq!(stats.opened, distrusted + broken + stats.idle as u64, "{stats:#?}");
    // A hundred at first; then one for two of the others.
    assert!((100..=100 + 2_000 / 2).contains(&broken), "{broken} sent again");
    assert!(distrusted >= 600, "{distrusted}");
    let words = client.explain(&url).expect("a known origin");
    assert!(words.contains("retry budget"), "{words}");
}
