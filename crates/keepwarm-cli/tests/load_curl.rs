//! `keepwarm load -- curl …` beside curl itself: both send the same request, whatever the line says.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use common::{PATIENCE, keepwarm, run};
use keepwarm_testkit::skipped;

/// A request as it arrived: its line, its fields by name in small letters, and its content.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    line: String,
    fields: BTreeMap<String, String>,
    content: Vec<u8>,
}

/// A server that answers each request, and passes it on.
fn server() -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read(&mut stream) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                if stream.get_mut().write_all(answer).is_err() || sender.send(request).is_err() {
                    break;
                }
            }
        }
    });
    (port, receiver)
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end_matches("\r\n") {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut fields = BTreeMap::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').expect("a field");
        let twice = fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        assert_eq!(twice, None, "{line}");
    }
    let length = fields.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut content = vec![0; length];
    stream.read_exact(&mut content).ok()?;
    Some(Request { line: lines[0].clone(), fields, content })
}

/// Removes where both may differ: the name of the program, and the boundary of a form.
fn same(mut request: Request) -> Request {
    let agent = request.fields.get("user-agent").map_or("", String::as_str);
    if agent.starts_with("curl/") || agent.starts_with("keepwarm/") {
        request.fields.insert("user-agent".to_owned(), "the program".to_owned());
    }
    // Several -b are joined without a blank by curl, which RFC 6265 has (section 4.2.1).
    if let Some(cookies) = request.fields.get_mut("cookie") {
        *cookies = cookies.replace("; ", ";");
    }
    // curl waits for leave to send a file.
    request.fields.remove("expect");
    // A POST without content has its length said by a load alone (RFC 9110, section 8.6).
    if request.content.is_empty() {
        request.fields.remove("content-length");
    }
    let kind = request.fields.get("content-type").cloned().unwrap_or_default();
    if let Some((kind, boundary)) = kind.split_once("boundary=") {
        let content = String::from_utf8(request.content).expect("a form of text");
        request.content = content.replace(boundary, "BOUNDARY").into_bytes();
        request.fields.insert("content-type".to_owned(), kind.to_owned());
        request.fields.remove("content-length");
    }
    if let Some(codings) =
        request.fields.get_mut("accept-encoding").filter(|all| all.contains(", "))
    {
        // curl names those that it was built with.
        *codings = "several".to_owned();
    }
    request
}

fn words(text: &str) -> Vec<String> {
    text.split('|').map(str::to_owned).collect()
}

#[test]
fn load_sends_what_curl_sends() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped::because("curl is not installed");
    }
    let (port, requests) = server();
    let folder = common::folder(&format!("curl-{}", std::process::id()));
    let write = |name: &str, content: &[u8]| {
        fs::write(folder.join(name), content).expect("written");
    };
    write("page.html", b"<p>");
    write("text.txt", b"a b\r\nc=d\n");
    write("binary.bin", &[0, 1, 0xff, b'\n', 0xfe]);
    write("fields", b"X-One: 1\nX-Two: 2\n\n");
    let jar = "# Netscape HTTP Cookie File\n\
        127.0.0.1\tFALSE\t/\tFALSE\t0\tplain\t1\n#HttpOnly_127.0.0.1\tFALSE\t/deep\tFALSE\t0\tdeep\t2\n\
        127.0.0.1\tFALSE\t/\tTRUE\t0\tsecure\t3\n127.0.0.1\tFALSE\t/\tFALSE\t1\told\t4\n\
        other.test\tTRUE\t/\tFALSE\t0\tother\t5\n";
    write("jar", jar.as_bytes());
    let lines = [
        "URL",
        "127.0.0.1:PORT?q#f",
        "URL/a/./b/../c/?x=/../y",
        "--path-as-is|URL/a/../b",
        "-X|PUT|-d|a=1|-d|b=2|URL",
        "-d|@FOLDER/text.txt|URL",
        "--data-binary|@FOLDER/binary.bin|-H|content-type: x/y|URL",
        "--data-raw|@x|URL",
        "-d||URL",
        "-X|POST|URL",
        "-X|DELETE|URL/items/1",
        "-G|-d|q=1|--data-urlencode|r=a b&c|--data-urlencode|=d e|URL/x?y=z",
        "--data-urlencode|f@FOLDER/text.txt|--data-urlencode|@FOLDER/text.txt|URL",
        "--json|{\"a\":|--json|1}|URL",
        "--json|{}|-H|accept: text/plain|URL",
        "-F|a=b;type=text/x|-F|f=@FOLDER/text.txt;filename=\"x;y.txt\"|-F|g=<FOLDER/text.txt|URL",
        "-F|f=@FOLDER/text.txt;filename=y.PNG|-F|g=<FOLDER/page.html|URL",
        "-F|f=@FOLDER/text.txt|--form-string|h=@x;y|URL",
        "-H|Content-Type: multipart/form-data|-F|a=\"b;c\"|URL",
        "-T|FOLDER/text.txt|URL/up/",
        "-T|FOLDER/text.txt|URL",
        "-I|URL/x",
        "-u|me:pw|-b|a=1|-b|b=2|-A|agent|-e|http://from/|-r|0-5|URL",
        "-b|FOLDER/jar|URL/deep/er",
        "-b|FOLDER/jar|-b|z=9|URL",
        "-b|a=1|-H|Cookie: b=2|URL",
        "-H|X-A: b|-H|X-Empty;|-H|Accept:|-H|User-Agent:|URL",
        "-H|@FOLDER/fields|URL",
        "-H|Content-Type:|-d|x|URL",
        "-A||URL",
        "--compressed|URL",
        "--compressed|-H|accept-encoding: br|URL",
        "-u|a:b|-H|Authorization: Custom x|URL",
        "--oauth2-bearer|token|URL",
        "http://us%40er:p%3aw@127.0.0.1:PORT/",
        "-u|a:b|http://c:d@127.0.0.1:PORT/",
        "-g|URL/{a}[1]",
        "URL/\\{a\\}",
        "--resolve|host.test:PORT:127.0.0.1|http://host.test:PORT/",
        "--connect-to|::127.0.0.1:PORT|http://other.test/x",
        "-H|Host: named.test|URL",
        "-sSfL#|--proto|=http|--tlsv1.2|--retry|0|-o|/dev/null|-m|9.5|URL",
        "--url|URL/x|--request|PATCH|--data|y",
    ];
    for line in lines {
        let line = line.replace("FOLDER", folder.to_str().expect("plain"));
        let line = line.replace("URL", "http://127.0.0.1:PORT").replace("PORT", &port.to_string());
        let next = |program: &str| {
            let request = requests.recv_timeout(PATIENCE);
            same(request.unwrap_or_else(|_| panic!("{program} sends a request: {line}")))
        };
        // Without a configuration file, and past any proxy of the environment.
        let quiet = ["-q", "-s", "-o", "/dev/null", "--noproxy", "*"];
        let curl = run(Command::new("curl").args(quiet).args(words(&line)));
        assert!(curl.status.success(), "{line}: {}", curl.stderr);
        let wanted = next("curl");
        let load = run(keepwarm().args(["load", "-n", "1", "--", "curl"]).args(words(&line)));
        assert!(load.status.success(), "{line}: {}", load.stderr);
        assert_eq!(next("the load"), wanted, "{line}");
    }
    fs::remove_dir_all(folder).expect("removable");
}

/// A line that a browser copied for bash, in a file of arguments.
#[test]
fn copied_line_is_taken_from_a_file() {
    let (port, requests) = server();
    let folder = common::folder(&format!("curl-copied-{}", std::process::id()));
    let path = folder.join("copied.txt");
    let text = format!(
        "-n 1 -- curl 'http://127.0.0.1:{port}/api?a=b&c=%20' \\\n  \
         -H 'accept: */*' \\\n  -H $'x-quoted: it\\'s \\u0021' \\\n  -b $'session=a\\u0021' \\\n  \
         --data-raw $'{{\"text\":\"don\\'t\\\\n\"}}' \\\n  --compressed --insecure\n"
    );
    fs::write(&path, text).expect("written");
    run(keepwarm().args(["load", &format!("@{}", path.display())])).exits_with(0);
    let request = requests.recv_timeout(PATIENCE).expect("a request");
    assert_eq!(request.line, "POST /api?a=b&c=%20 HTTP/1.1");
    assert_eq!(request.fields["x-quoted"], "it's !");
    assert_eq!(request.fields["cookie"], "session=a!");
    assert_eq!(request.content, b"{\"text\":\"don't\\n\"}");
    fs::remove_dir_all(folder).expect("removable");
}

/// An option that a load does not have is refused by its name, with another way to the same end.
#[test]
fn other_lines_are_refused_by_name() {
    for (line, named) in [
        ("http://h/|http://i/", "http://i/: there are several URLs"),
        ("http://h/|--next|http://i/", "--next: a load repeats one request"),
        ("http://h/|-:|http://i/", "-:: a load repeats one request"),
        ("http://h/{a,b}", "add -g"),
        ("http://h[1-3].test/", "add -g"),
        ("-x|http://proxy:3128|http://h/", "-x: a load goes through no proxy"),
        ("-K|file|http://h/", "-K: files of options"),
        ("-n|http://h/", "-n: files of passwords"),
        ("--digest|-u|a:b|http://h/", "--digest: a load sends Basic"),
        ("--http3|https://h/", "--http3: a load speaks HTTP/1.1"),
        ("-d|@-|http://h/", "standard input is not read"),
        ("-d|@/no/such|http://h/", "cannot read /no/such"),
        ("-F|a|http://h/", "-F: write NAME=CONTENT"),
        ("-d|a|-F|b=c|http://h/", "exclude each other"),
        ("--wibble|http://h/", "--wibble: a load does not know this option"),
        ("-u|me|http://h/", "it has no password"),
        ("-m|soon|http://h/", "-m: "),
        ("ftp://h/", "neither http nor https"),
    ] {
        let load = run(keepwarm().args(["load", "-n", "1", "--", "curl"]).args(words(line)));
        load.exits_with(2).says(named);
    }
}
