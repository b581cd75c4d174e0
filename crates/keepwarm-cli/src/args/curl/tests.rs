//! Curl lines, as options of a load.

use clap::Parser;
use proptest::prelude::*;

use super::super::{Arguments, Command};
use super::*;

fn load(words: &[&str]) -> Result<LoadOptions, Failure> {
    let typed = ["keepwarm", "load", "-n", "5", "--", "curl"].iter().chain(words);
    match Arguments::try_parse_from(typed).expect("arguments").command {
        Command::Load(options) => apply(*options),
        _ => panic!("it is a load"),
    }
}

fn text(options: &LoadOptions) -> String {
    String::from_utf8(options.body_bytes.clone().expect("a body")).expect("UTF-8")
}

fn fields(words: &[&str]) -> Vec<String> {
    let options = load(words).expect("a load");
    options.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn fields_of_h_replace_those_of_options() {
    let line = ["-H", "user-agent: x", "-A", "y", "-H", "accept-encoding: gzip", "--compressed"];
    assert_eq!(
        fields(&[&line[..], &["host"]].concat()),
        ["user-agent: x", "accept-encoding: gzip"]
    );
    let line = ["-u", "a:b", "--oauth2-bearer", "t", "-H", "authorization: z", "host"];
    assert_eq!(fields(&line), ["authorization: z"]);
    assert_eq!(load(&line).expect("a load").engine.user, None);
    assert_eq!(
        fields(&["-A", "x", "-A", "y", "-e", "z;auto", "host"]),
        ["User-Agent: y", "Referer: z"]
    );
    let options = load(&["-A", "", "-H", "Content-Type:", "-d", "x", "host"]).expect("a load");
    assert_eq!(options.omitted, ["user-agent", "content-type"]);
}

#[test]
fn forms_and_uploads_have_their_types() {
    let options = load(&["-F", "a=b", "--form-string", "c=@d", "host"]).expect("a load");
    let (name, kind) = &options.headers[0];
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").expect("a boundary");
    assert_eq!(name, "Content-Type");
    assert!(text(&options).starts_with(&format!("--{boundary}\r\n")));
    assert!(text(&options).contains("name=\"c\"\r\n\r\n@d\r\n"));
    let kind = &fields(&["-H", "content-type: multipart/form-data", "-Fa=b", "host"])[0];
    assert!(kind.starts_with("content-type: multipart/form-data; boundary=---"), "{kind}");
    let options = load(&["-T", "x/y.bin", "host/z/"]).expect("a load");
    assert_eq!(options.url.as_deref(), Some("http://host/z/y.bin"));
    assert_eq!(
        (options.method.as_deref(), &options.omitted[..]),
        (Some("PUT"), &["content-type".to_owned()][..])
    );
    assert_eq!(options.body_file.as_deref(), Some("x/y.bin".as_ref()));
    let options = load(&["-T", "y", "host"]).expect("a load");
    assert_eq!(options.url.as_deref(), Some("http://host/y"));
}

#[test]
fn urls_are_taken_as_by_curl() {
    let url = |words: &[&str]| load(words).expect("a load").url.expect("a URL");
    assert_eq!(url(&["-g", "host/{a}[1]"]), "http://host/{a}[1]");
    assert_eq!(url(&["host/\\{a\\}\\x"]), "http://host/{a}\\x");
    assert_eq!(url(&["host/a/./b/../c/..?../x"]), "http://host/a/?../x");
    assert_eq!(url(&["host/../..#/../"]), "http://host/#/../");
    assert_eq!(url(&["--path-as-is", "host/a/../b"]), "http://host/a/../b");
    assert_eq!(url(&["http://[::1]:80/"]), "http://[::1]:80/");
    assert_eq!(url(&["http://a:b@[::1]:80/"]), "http://[::1]:80/");
    let query = ["--url-query", "a=b c", "--url-query", "+d=%20", "-G", "-d", "e=f", "host#g"];
    assert_eq!(url(&query), "http://host?a=b+c&d=%20&e=f#g");
    let user = |words: &[&str]| load(words).expect("a load").engine.user;
    assert_eq!(user(&["http://a%40b:c%3a@host"]).as_deref(), Some("a@b:c:"));
    assert_eq!(user(&["-u", "x:y", "http://a:b@host"]).as_deref(), Some("x:y"));
    assert_eq!(user(&["http://a:b@host", "-u", "x:y"]).as_deref(), Some("x:y"));
    let engine = load(&["-E", "a.pem", "https://host"]).expect("a load").engine;
    assert_eq!(engine.key.as_deref(), Some("a.pem".as_ref()));
    let typed = ["keepwarm", "load", "-n1", "--template", "--", "curl", "host/{n}"];
    let Command::Load(options) = Arguments::try_parse_from(typed).expect("arguments").command
    else {
        panic!("it is a load")
    };
    assert_eq!(apply(*options).expect("a load").url.as_deref(), Some("http://host/{n}"));
}

/// Lines that people copy: of documentation, of scripts, of browsers.
#[test]
fn common_lines_are_taken_whole() {
    for line in [
        "-fsSL https://host/install.sh",
        "--proto =https --tlsv1.2 -sSf https://host",
        "-s -o /dev/null -w %{http_code} host",
        "-sS -D - -o /dev/null host",
        "-v --http1.1 host",
        "-i -X DELETE host/items/1",
        "-X PATCH -H Content-Type:application/json -d {\"a\":1} host",
        "-k -I https://host",
        "-b a=b; -c jar host",
        "--retry 5 --retry-delay 1 --retry-all-errors --max-time 2.5 host",
        "-L --max-redirs 3 --location-trusted host",
        "--resolve host:443:127.0.0.1,[::1] https://host",
        "--resolve *:443:[::1] https://host",
        "-4 --interface 127.0.0.1 --noproxy * host",
        "-OJR --create-dirs --output-dir x host",
        "-Z --parallel-max 5 --no-progress-meter host",
        "-1 -j --no-silent --no-verbose host",
        "--data-binary x --http2 https://host",
        "--url host --request GET --header A:b --user a:b --get --data c",
        "--oauth2-bearer t --json {} --compressed host",
        "-r 0-99 -e from -A agent -g host",
        "--unix-socket /run/a.sock http://localhost/x",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        if let Err(error) = load(&words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn browsers_line_becomes_a_load() {
    let options = load(&[
        "https://host.test/api?x=1",
        "-X",
        "POST",
        "-H",
        "accept: */*",
        "-H",
        "content-length: 8",
        "--data-raw",
        "{\"a\":1}@",
        "--compressed",
        "--insecure",
    ])
    .expect("a load");
    assert!(!load(&["-k", "http://host.test/"]).expect("a load").engine.insecure, "no TLS");
    assert_eq!(options.url.as_deref(), Some("https://host.test/api?x=1"));
    assert_eq!(options.method.as_deref(), Some("POST"));
    assert_eq!(text(&options), "{\"a\":1}@");
    let names: Vec<&str> = options.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["accept", "Accept-Encoding"]);
    assert!(options.engine.insecure);
}

#[test]
fn letters_values_and_credentials_are_read() {
    let options = load(&["-sSXPUT", "-H", "A: b", "-da=1", "-d", "b=2", "-m2", "-4", "u:p@host/x"]);
    let options = options.expect("a load");
    assert_eq!(options.url.as_deref(), Some("http://host/x"));
    assert_eq!(options.engine.user.as_deref(), Some("u:p"));
    assert_eq!(text(&options), "a=1&b=2");
    assert_eq!(options.method.as_deref(), Some("PUT"));
    assert_eq!(options.timeout.as_secs(), 2);
    assert!(options.engine.ipv4);
    let options = load(&["-G", "--data-urlencode", "q=a b", "host/x?y=1"]).expect("a load");
    assert_eq!(options.url.as_deref(), Some("http://host/x?y=1&q=a+b"));
    let options = load(&["-I", "--resolve", "host:80:127.0.0.1", "host"]).expect("a load");
    assert_eq!(options.method.as_deref(), Some("HEAD"));
    assert_eq!(options.engine.connect_to[0].to_string(), "host:80:127.0.0.1:");
}

#[test]
fn fields_follow_curls_own_rules() {
    let line =
        "-H Accept: -H X-Empty; -b a=1 -b b=2 --json {} --json [] -H content-type:text/x host";
    let options = load(&line.split(' ').collect::<Vec<_>>()).expect("a load");
    let fields: Vec<String> =
        options.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let wanted = ["X-Empty: ", "content-type: text/x", "Cookie: a=1; b=2"];
    assert_eq!(fields, wanted);
    assert_eq!(options.omitted, ["accept"]);
    assert_eq!(text(&options), "{}[]");
    let options = load(&["--http2", "--no-keepalive", "-qo", "/dev/null", "host"]);
    let options = options.expect("a load");
    assert!(options.engine.http2 && options.close);
}

#[test]
fn files_are_encoded_where_curl_does() {
    let path = std::env::temp_dir().join(format!("keepwarm-curl-{}", std::process::id()));
    std::fs::write(&path, "a b\n").expect("written");
    let file = path.to_str().expect("plain");
    let options = load(&["--data-urlencode", &format!("q@{file}"), "host"]).expect("a load");
    assert_eq!(text(&options), "q=a+b%0A");
    let options = load(&["-d", &format!("@{file}"), "host"]).expect("a load");
    assert_eq!(text(&options), "a b", "without line ends");
    std::fs::remove_file(path).expect("removable");
}

#[test]
fn unknown_options_are_named() {
    for (words, named) in [
        (&["--zzz", "host"][..], "--zzz"),
        (&["-F", "a", "host"], "-F: write NAME=CONTENT"),
        (&["-F", "a=b", "-d", "c", "host"], "exclude each other"),
        (&["-I", "-T", "x", "host"], "exclude each other"),
        (&["-d", "@-", "host"], "standard input"),
        (&["host", "--next", "other"], "--requests-file"),
        (&["--digest", "-u", "a:b", "host"], "--digest"),
        (&["-K", "file", "host"], "-K"),
        (&["host/{a,b}"], "-g"),
        (&["http://host/[1-3]"], "-g"),
        (&["-H", "Host:", "host"], "-H"),
        (&["-E", "no.pem:secret", "https://host"], "-E: keys with a password"),
        (&["-sxproxy", "host"], "-x"),
        (&["host", "other"], "other"),
        (&["-X"], "-X"),
        (&[], "no URL"),
        (&["-b", "jar.txt", "host"], "-b"),
        (&["-H", "@fields.txt", "host"], "-H"),
    ] {
        let error = load(words).expect_err(named).to_string();
        assert!(error.contains(named), "{error}");
    }
}

proptest! {
    #[test]
    fn no_line_panics(words in proptest::collection::vec("-{0,2}[a-zA-Z@:=]{0,4}|\\PC{0,6}", 0..4)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = load(&words);
    }
}
