//! The examples of the README and of docs/loading.md run as they stand, but for the addresses of the
//! services and the lengths of the runs.

mod common;

use std::process::{Command, Stdio};

use common::{Service, run};

/// Lines of code blocks that begin with `keepwarm`.
fn examples() -> Vec<String> {
    let pages = ["README.md", "docs/loading.md"].map(|page| {
        let path = format!("{}/../../{page}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a page")
    });
    let blocks = pages.iter().flat_map(|text| text.split("\n```").skip(1).step_by(2));
    let lines = blocks.flat_map(str::lines).map(str::trim);
    let commands = ["load", "watch", "explain", "lab", "report", "serve"];
    let is_command = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some("keepwarm")
            && words.next().is_some_and(|word| commands.contains(&word))
    };
    lines.filter(is_command).map(str::to_owned).collect()
}

/// Shortens a run to about a second.
fn shortened(example: &str) -> String {
    example
        .replace("-z 30s", "-z 500ms")
        .replace("-z 10s", "-z 500ms")
        .replace("-z 5s", "-z 300ms")
        .replace("10s:100,30s:1000", "300ms:100,300ms:1000")
        .replace("--warm-up 3s", "--warm-up 200ms")
        .replace("--for 10s", "--for 500ms")
        .replace("--drain 60s", "--drain 300ms")
        .replace("127.0.0.1:8077", "127.0.0.1:0")
        .replace("-n 10000", "-n 2000")
}

#[test]
fn examples_of_the_pages_run() {
    let (data, front);
    data = Service::start(&["data"]);
    front = Service::start(&["front", "--upstream", &data.url("/data")]);
    let port = data.address.port().to_string();
    let examples = examples();
    let (mut loads, mut watches) = (0, 0);
    for example in &examples {
        // Both run until a signal: services.rs has them, and the screen of a live watch is screen.rs's.
        let is_live =
            example.split('#').next().is_some_and(|words| words.trim() == "keepwarm watch");
        // load_http2.rs has a server with TLS.
        let is_secure = example.contains("https://service.test/");
        if example.starts_with("keepwarm serve ") || is_live || is_secure {
            continue;
        }
        let is_load = example.starts_with("keepwarm load ");
        loads += usize::from(is_load);
        watches += usize::from(example.starts_with("keepwarm watch "));
        let line = shortened(example)
            .replace("http://127.0.0.1:8080/", &front.url("/"))
            .replace(" URL", &format!(" {}", front.url("/stresstest")))
            .replace("8081", &port);
        let program = env!("CARGO_BIN_EXE_keepwarm");
        let script = line.replacen("keepwarm", program, 1);
        let output = run(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()));
        // On a busy machine a load is late, and says so; the assertions of one may then not hold.
        let code = output.status.code().expect("it ends");
        let may_fail = line.contains("--assert") || line.contains("--find");
        let allowed: &[i32] = match (is_load, may_fail) {
            (true, true) => &[0, 4, 10],
            (true, false) => &[0, 4],
            (false, _) => &[0],
        };
        assert!(allowed.contains(&code), "{line}: {code} {} {}", output.stdout, output.stderr);
        if is_load && !line.contains("--format") && !line.contains("--find") {
            let first = output.stdout.lines().next().unwrap_or_default();
            assert!(first.contains("answered 200"), "{line}: {first}");
        }
    }
    assert!(loads >= 8 && watches >= 2, "{loads} {watches} of {examples:?}");
}
