//! Claim: the server receives the requests that the plan describes, each complete and with the
//! right length, even if fields change from request to request.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::{plan, run_and_compare};
use keepwarm_load::{Plan, PlanBuilder, RequestSpec, Summary};
use keepwarm_testkit::http_server::HttpServer;

/// A request as the server saw it.
#[derive(Debug, Clone)]
struct Seen {
    line: String,
    fields: BTreeMap<String, String>,
    body: String,
}

/// Runs the plan. Returns the requests in the order of their arrival.
fn seen(change: impl FnOnce(PlanBuilder) -> PlanBuilder) -> (Vec<Seen>, Summary) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&all);
    let server = HttpServer::start(move |conn| {
        while conn.read_request() {
            let text = String::from_utf8(conn.request().to_vec()).expect("UTF-8");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            let (line, fields) = head.split_once("\r\n").expect("a request line");
            let fields: BTreeMap<_, _> = fields
                .split("\r\n")
                .filter_map(|field| field.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let request = Seen { line: line.to_owned(), fields, body: body.to_owned() };
            let head_only = request.line.starts_with("HEAD ");
            noted.lock().expect("no holder panics").push(request);
            if head_only {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
            } else {
                conn.respond("ok");
            }
        }
    });
    let builder = change(plan(&server).threads(1));
    let (summary, truth) = run_and_compare(server, builder);
    let seen = all.lock().expect("no holder panics").clone();
    assert_eq!((summary.failed, seen.len() as u64), (0, truth.requests));
    (seen, summary)
}

/// Each request carries the length of its rendered body.
#[test]
fn templates_number_each_request_once() {
    let (seen, summary) = seen(|plan| {
        plan.requests(300)
            .concurrency(3)
            .method("POST")
            .header("X-Id", "{uuid}")
            .body("{n}:{random:5-1000}")
            .templates(true)
    });
    assert_eq!(summary.completed, 300);
    let mut numbers = Vec::new();
    for request in &seen {
        let (number, random) = request.body.split_once(':').unwrap();
        numbers.push(number.parse::<u64>().unwrap());
        assert!((5..=1000).contains(&random.parse::<u64>().unwrap()));
        assert_eq!(request.fields["content-length"], request.body.len().to_string());
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..300));
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|r| &r.fields["x-id"]).collect();
    assert_eq!(ids.len(), 300);
}

/// Numbers are used once over all threads, and across new connections.
#[test]
fn numbers_are_unique_across_threads() {
    let (seen, _) = seen(|plan| {
        let plan = plan.requests(200).concurrency(4).threads(2).requests_per_connection(3);
        plan.header("X-N", "{n}").templates(true)
    });
    let mut numbers: Vec<u64> = seen.iter().map(|r| r.fields["x-n"].parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 200);
}

#[test]
fn parts_number_each_request_once() {
    let part = |index| {
        let load = |plan: PlanBuilder| plan.requests(201).concurrency(5).header("X-N", "{n}");
        let (seen, summary) = seen(|plan| load(plan).templates(true).share(index, 2));
        let first_has_one_more = 101 - index as u64;
        assert_eq!(summary.completed, first_has_one_more);
        seen
    };
    let seen = [part(0), part(1)].concat();
    let mut numbers: Vec<u64> = seen.iter().map(|r| r.fields["x-n"].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..201));
}

#[test]
fn without_templates_braces_stay() {
    let (seen, _) = seen(|plan| plan.requests(2).method("PUT").body("{n}").header("X", "{uuid}"));
    assert!(seen.iter().all(|r| r.body == "{n}" && r.fields["x"] == "{uuid}"));
}

#[test]
fn form_has_its_type_and_credentials() {
    let (seen, _) = seen(|plan| {
        plan.requests(1).form("a b", "c&d").form("e", "").basic_auth("Aladdin", "open sesame")
    });
    assert_eq!(seen[0].line, "POST / HTTP/1.1");
    assert_eq!(seen[0].body, "a+b=c%26d&e=");
    assert_eq!(seen[0].fields["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(seen[0].fields["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

/// The requests of a file alternate, and each response is read by the method of its request.
#[test]
fn file_requests_alternate() {
    let text = "GET /a\n\nHEAD /b\nX: own\n\nPOST /c?{n}\n= {\"n\":{n}}\n";
    let specs = RequestSpec::parse_all(text, |_| unreachable!("no file is named")).unwrap();
    let (seen, summary) =
        seen(|plan| plan.requests(30).request_specs(specs).header("X", "shared").templates(true));
    assert_eq!((summary.completed, summary.ledger.opened), (30, 1));
    // Twenty bodies of two bytes; a response to HEAD has none, despite its Content-Length.
    assert_eq!(summary.body_bytes, 40);
    for (number, turn) in seen.chunks(3).enumerate() {
        assert_eq!(turn[0].line, "GET /a HTTP/1.1");
        assert_eq!(
            (turn[1].line.as_str(), turn[1].fields["x"].as_str()),
            ("HEAD /b HTTP/1.1", "own")
        );
        assert_eq!(turn[2].fields["x"], "shared");
        let n = number * 3 + 2;
        assert_eq!(turn[2].line, format!("POST /c?{n} HTTP/1.1"));
        assert_eq!(turn[2].body, format!("{{\"n\":{n}}}"));
    }
}

#[test]
fn conflicting_bodies_are_refused() {
    let both = Plan::builder("http://127.0.0.1:9/").requests(1).body("a").form("b", "c");
    assert_eq!(both.build().unwrap_err().setting(), "body");
}
