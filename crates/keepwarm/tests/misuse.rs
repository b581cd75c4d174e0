//! Warnings of misuse: the cases that lead to one, and those that do not. A binary of its own,
//! because each warning is given once a process.

use std::sync::{Arc, Mutex, OnceLock};

use keepwarm::{Client, Warning, warnings};
use keepwarm_testkit::scripted::{Answer, Server, eventually, ok};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Hears what is told to `tracing` of level `WARN`.
#[derive(Clone, Debug, Default)]
struct Warned(Arc<Mutex<Vec<String>>>);

impl Warned {
    fn listen() -> Self {
        static WARNED: OnceLock<Warned> = OnceLock::new();
        let install = || {
            let warned = Self::default();
            let subscriber = Registry::default().with(warned.clone());
            tracing::subscriber::set_global_default(subscriber).expect("the first one");
            warned
        };
        WARNED.get_or_init(install).clone()
    }

    fn count(&self, words: &str) -> usize {
        let events = self.0.lock().expect("no panic");
        events.iter().filter(|event| event.contains(words)).count()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Warned {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        if *event.metadata().level() == tracing::Level::WARN {
            // As a subscriber may: it is not told from under a lock.
            assert!(!warnings().is_empty());
            self.0.lock().expect("no panic").push(words.0);
        }
    }
}

#[derive(Default)]
struct Words(String);

impl tracing::field::Visit for Words {
    fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{value:?}");
    }
}

async fn fetch(client: &Client, server: &Server) {
    let response = client.get(server.url("/")).send().await.expect("a response");
    response.text().await.expect("a body");
}

fn of_clients() -> Vec<Warning> {
    let of_clients = |warning: &Warning| matches!(warning, Warning::ClientPerRequest { .. });
    warnings().into_iter().filter(of_clients).collect()
}

fn of_bodies() -> Vec<Warning> {
    let of_bodies = |warning: &Warning| matches!(warning, Warning::BodiesLeftUnread { .. });
    warnings().into_iter().filter(of_bodies).collect()
}

/// Clients that are used for more requests cause no warning.
#[tokio::test]
async fn client_per_request_warns_once() {
    let warned = Warned::listen();
    // A service: one client.
    let server = Server::saying("x");
    let shared = Client::new();
    for _ in 0..300 {
        fetch(&shared.clone(), &server).await;
    }
    // A client for each job, which asks a few times.
    for _ in 0..150 {
        let client = Client::new();
        for _ in 0..3 {
            fetch(&client, &server).await;
        }
    }
    // Tests: each a server and a client or two, for a request.
    for _ in 0..60 {
        let server = Server::saying("x");
        for _ in 0..2 {
            fetch(&Client::new(), &server).await;
        }
    }
    // Clients that were never used cost nothing.
    for _ in 0..200 {
        drop(Client::new());
    }
    assert_eq!(of_clients(), []);

    for _ in 0..99 {
        fetch(&Client::new(), &server).await;
    }
    assert_eq!(of_clients(), [], "not yet a habit");
    for _ in 0..150 {
        fetch(&Client::new(), &server).await;
    }
    let [Warning::ClientPerRequest { origin, clients, .. }] = &of_clients()[..] else {
        panic!("{:?}", of_clients());
    };
    assert_eq!((&**origin, *clients), (&*server.origin(), 100));
    let words = shared.explain(&server.origin()).expect("it was spoken to");
    assert!(words.contains("100 clients were built"), "{words}");
    assert!(words.contains("build one client when the program starts"), "{words}");
    assert_eq!(warned.count("clients were built"), 1);
}

/// Only bodies that cost their connections count.
#[tokio::test]
async fn unread_bodies_warn_once() {
    let warned = Warned::listen();
    let server = Server::start(|request| match request.target() {
        "/large" => {
            Answer::SendAndStall("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\nx".to_owned())
        }
        _ => Answer::Send(ok("short")),
    });
    let drop_unread = async |client: &Client, path: &str| {
        let response = client.get(server.url(path)).send().await.expect("a head");
        drop(response);
    };
    // Short ones are read for nobody, and cost nothing.
    let client = Client::new();
    for _ in 0..200 {
        drop_unread(&client, "/short").await;
    }
    let total = || client.stats().total;
    eventually("the reading", || total().active == 0).await;
    assert_eq!((total().bodies_unread, total().closed()), (0, 0));
    // One in ten, or less, may be meant.
    for _ in 0..20 {
        drop_unread(&client, "/large").await;
    }
    assert_eq!((total().bodies_unread, total().closed()), (20, 20));
    assert_eq!(of_bodies(), []);
    let words = client.explain(&server.origin()).expect("it was spoken to");
    assert!(words.contains("20 connections closed because a response body was dropped"), "{words}");
    assert!(!words.contains("given up"), "counted once: {words}");

    let careless = Client::new();
    for _ in 0..9 {
        drop_unread(&careless, "/large").await;
    }
    assert_eq!(of_bodies(), [], "by accident, so far");
    for _ in 0..20 {
        drop_unread(&careless, "/large").await;
    }
    let [Warning::BodiesLeftUnread { origin, connections: 10, requests: 10 }] = &of_bodies()[..]
    else {
        panic!("{:?}", of_bodies());
    };
    assert_eq!(**origin, *server.origin());
    assert_eq!(warned.count("bodies were dropped before their end"), 1);
}
