//! The policy that speaks HTTP/2 to the data service, and the services that speak both versions.

use std::net::SocketAddr;
use std::time::Duration;

use keepwarm_lab::{Policy, Router, data, front, listen, read_account, serve};

const PATIENCE: Duration = Duration::from_secs(5);

/// Serves in a task until the test ends.
fn start(router: Router) -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, router, std::future::pending()));
    address
}

/// The load of the story, a hundred requests at once: one connection is enough, where HTTP/1.1 opens
/// as many as there are requests at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_open_one_connection() {
    let data = format!("http://{}/data", start(data::router()));
    for (policy, most) in [(Policy::KeepwarmH2, 1), (Policy::Keepwarm, 100)] {
        let front = start(front::router(&data, policy, PATIENCE).expect("settings"));
        let url = format!("http://{front}/stresstest");
        let load = keepwarm::Client::new();
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (load, url) = (load.clone(), url.clone());
                tokio::spawn(async move {
                    for _ in 0..100 {
                        let response = load.get(&url).send().await.expect("a response");
                        assert_eq!(response.status(), 200);
                        assert_eq!(response.text().await.expect("a body"), data::BODY);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("every request succeeds");
        }
        let account = read_account(front).await.expect("an account");
        assert!((1..=most).contains(&account.opened), "{policy}: {account:?}");
        assert!(account.reused >= 10_000 - most, "{policy}: {account:?}");
    }
}
