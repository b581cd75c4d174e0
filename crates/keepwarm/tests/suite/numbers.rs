//! The numbers of the default settings and of Go's, as they can be observed from outside.

use std::time::Duration;

use keepwarm::{Client, ClientBuilder, CloseReason};
use keepwarm_testkit::http_server::SilentPort;
use keepwarm_testkit::scripted::{Server, Stage, eventually};

use crate::reuse::idle_connections;
use crate::support::{exchange, only, pass};

fn both() -> [(&'static str, Client); 2] {
    let go = ClientBuilder::go_defaults().build().expect("good settings");
    [("ours", Client::new()), ("Go's", go)]
}

#[tokio::test]
async fn both_expire_after_90_s() {
    for (whose, client) in both() {
        let stage = Stage::open().await;
        let _peers = idle_connections(&client, &stage, 1).await;
        pass(Duration::from_millis(89_900)).await;
        assert_eq!(only(&client).idle, 1, "{whose}");
        pass(Duration::from_millis(200)).await;
        assert_eq!(only(&client).closed_for(CloseReason::IdleTimeout), 1, "{whose}");
    }
}

#[tokio::test]
async fn both_connect_within_30_s() {
    let silent = SilentPort::new();
    for (whose, client) in both() {
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let request = client.get(format!("http://{}/", silent.address()));
        let error = request.send().await.expect_err("nobody answers");
        assert!(error.is_timeout() && error.is_connect(), "{whose}: {error}");
        assert_eq!(began.elapsed().as_secs(), 30, "{whose}");
        tokio::time::resume();
    }
}

/// The kernel's timer of the socket that is connected to `port`: what for, and in how many
/// hundredths of a second (`/proc/net/tcp`: the field `tr:tm->when`).
fn timer(port: u16) -> (String, u64) {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let remote = format!("0100007F:{port:04X}");
    let line = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // Not the remains of a connection that had this port on its other side.
        .find(|fields| fields.get(2) == Some(&&*remote) && fields[3] == ESTABLISHED)
        .expect("a socket to that port");
    let (what, when) = line[5].split_once(':').expect("timer:when");
    (what.to_owned(), u64::from_str_radix(when, 16).expect("a number"))
}

const ESTABLISHED: &str = "01";
const NONE: &str = "00";
const KEEPALIVE: &str = "02";

/// Unless it is set otherwise.
#[tokio::test]
async fn ours_probes_after_15_s_gos_after_30() {
    for ((whose, client), due) in both().into_iter().zip([1_000..=1_500, 2_000..=3_000]) {
        let stage = Stage::open().await;
        let _peers = idle_connections(&client, &stage, 1).await;
        // Until the request is acknowledged, the timer is that of its retransmission.
        eventually(whose, || timer(stage.port()).0 == KEEPALIVE).await;
        let (_, when) = timer(stage.port());
        assert!(due.contains(&when), "{whose}: {when}");
    }
    let client = Client::builder().tcp_keepalive(None).build().expect("good");
    let stage = Stage::open().await;
    let _peers = idle_connections(&client, &stage, 1).await;
    eventually("no timer", || timer(stage.port()).0 == NONE).await;
}

#[tokio::test]
async fn go_keeps_100_idle_ours_all() {
    for ((whose, client), kept) in both().into_iter().zip([102, 100]) {
        let mut open = Vec::new();
        for _ in 0..51 {
            let stage = Stage::open().await;
            let peers = idle_connections(&client, &stage, 2).await;
            open.push((stage, peers));
        }
        let idle = || client.stats().total.idle;
        eventually(whose, || idle() == kept).await;
        let stats = client.stats();
        assert_eq!((stats.total.opened, stats.total.closed()), (102, 102 - kept as u64), "{whose}");
        // The oldest went, and they are those of the first origin.
        let first = stats.origin(&open[0].0.origin()).expect("known");
        assert_eq!(first.closed_for(CloseReason::TotalIdleLimit), 102 - kept as u64, "{whose}");
    }
}

/// By the names of the fields; reasons and closers by theirs.
#[tokio::test]
async fn statistics_serialise() {
    let server = Server::saying("x");
    let client = Client::builder().max_idle_per_origin(0).build().expect("good settings");
    exchange(&client, &server.url("/")).await;
    let json = serde_json::to_value(client.stats()).expect("numbers");
    let origin = &json["origins"][0];
    assert_eq!(origin["origin"], server.origin());
    assert_eq!((&origin["opened"], &json["total"]["opened"]), (&1.into(), &1.into()));
    let close = serde_json::json!({ "reason": "idle_limit", "closer": "client", "count": 1 });
    assert_eq!(origin["closes"][0], close);
    assert!(origin["learned_idle_timeout_s"].is_null());
}
