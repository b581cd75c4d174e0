//! What reqwest makes of the servers and proxies that hurt a client's features, beside keepwarm:
//! codings, redirects, cookies, tunnels. Every difference is argued in
//! `docs/differences-from-reqwest.md`, by the name of its animal, and no other animal is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keepwarm_testkit::zoo::{
    Animal, Ask, Cage, MAX_DECODED, Met, Reply, Seen, featured_animals, marker, proxies,
};

const PAGE: &str = include_str!("../../../docs/differences-from-reqwest.md");

enum Asker {
    Keepwarm(keepwarm::Client),
    Reqwest(reqwest::Client),
}

impl Asker {
    fn keepwarm(proxy: Option<&str>) -> Self {
        let builder = keepwarm::Client::builder().decompress(true).cookies(true);
        let mut builder = builder.max_decompressed_size(MAX_DECODED as u64);
        if let Some(proxy) = proxy {
            builder = builder.proxy(keepwarm::Proxy::all(proxy).expect("a proxy"));
        }
        Self::Keepwarm(builder.build().expect("good settings"))
    }

    fn reqwest(proxy: Option<&str>) -> Self {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .cookie_store(true)
            .tls_backend_preconfigured(config);
        if let Some(proxy) = proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).expect("a proxy"));
        }
        Self::Reqwest(builder.build().expect("good settings"))
    }

    async fn ask(&self, ask: Ask, url: &str, timeout: Duration) -> Reply {
        let method = match ask {
            Ask::Get => "GET",
            Ask::Head => "HEAD",
            Ask::PostLarge => "POST",
        };
        let body = if ask == Ask::PostLarge { vec![b'u'; 8 << 20] } else { Vec::new() };
        match self {
            Self::Keepwarm(client) => {
                let request = client.request(method.parse().ok()?, url).timeout(timeout);
                let request = if body.is_empty() { request } else { request.body(body) };
                let response = request.send().await.ok()?;
                Some((response.status().as_u16(), response.text().await.ok()?))
            }
            Self::Reqwest(client) => {
                let request = client.request(method.parse().ok()?, url).timeout(timeout);
                let request = if body.is_empty() { request } else { request.body(body) };
                let response = request.send().await.ok()?;
                Some((response.status().as_u16(), response.text().await.ok()?))
            }
        }
    }
}

/// `tunnel` has the animal asked for one.
async fn visit(
    make: fn(Option<&str>) -> Asker,
    index: usize,
    animal: &Animal,
    tunnel: bool,
) -> Seen {
    let patience = Duration::from_secs(if animal.hangs() { 1 } else { 30 });
    let cage = Cage::open(index, animal, Met::Cold).await;
    let proxy = format!("http://{}", cage.address());
    let asker = make(tunnel.then_some(&proxy));
    let url = |scheme: &str, exchange| {
        let path = marker(index, exchange);
        if tunnel { format!("{scheme}://zoo.test/{path}") } else { cage.url(exchange) }
    };
    let reply = asker.ask(animal.ask, &url("https", 1), patience).await;
    cage.exchange_ended();
    let mut unhurt = true;
    for exchange in 2..=3 {
        let next = asker.ask(Ask::Get, &url("http", exchange), Duration::from_secs(30)).await;
        unhurt &= next == Some((200, marker(index, exchange)));
    }
    let further = cage.requests_after().saturating_sub(animal.follows);
    // A mebibyte of zeros is not worth showing.
    let reply = reply.map(|(status, body)| match body.len() {
        0..100 => (status, body),
        length => (status, format!("{length} bytes")),
    });
    Seen { reply, reused: further > 0, unhurt }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_difference_from_reqwest_is_argued() {
    let mut differences = BTreeSet::new();
    let mut told = String::new();
    let all = featured_animals().into_iter().map(|animal| (animal, false));
    for (index, (animal, tunnel)) in
        all.chain(proxies().into_iter().map(|animal| (animal, true))).enumerate()
    {
        let ours = visit(Asker::keepwarm, index, &animal, tunnel).await;
        let theirs = visit(Asker::reqwest, index, &animal, tunnel).await;
        assert!(ours.unhurt, "{:?}: {ours:?}", animal.name);
        // A pool that gives connections back late may meet the ring in the middle.
        let is_race = animal.name == "a ring of redirects";
        if ours.reply != theirs.reply && !is_race {
            let name = &animal.name;
            told += &format!("{name}\n    keepwarm {ours:?}\n    reqwest  {theirs:?}\n");
            differences.insert(animal.name);
        }
    }
    println!("{told}");
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.flat_map(|row| {
        let cell = row.split(" | ").next().unwrap_or_default();
        cell.trim_end_matches('`').split("`, `").map(str::to_owned).collect::<Vec<_>>()
    });
    let argued: BTreeSet<String> = names.collect();
    assert_eq!(argued, differences, "argued in docs/differences-from-reqwest.md, and found");
}
