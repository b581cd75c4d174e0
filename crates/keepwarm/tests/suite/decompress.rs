//! Compressed responses: what is asked for, what comes out, and that the connection is kept.

use keepwarm::{Client, ClientBuilder, Error, Response};
use keepwarm_testkit::codings::{bare_deflate as bare, gzip, zlib, zstd};
use keepwarm_testkit::scripted::{Answer, Request, Server, Stage, ok, within};
use tokio::task::JoinHandle;

use crate::support::{done, exchange};

/// The output of node's zlib for `FOX`.
const BR_FOX: &str = "1be703f88d946ee6a20631a3c353686f39c824a5e508db74541648d78e3d00";
/// The output of node's zlib for 4 MiB of zeros.
const BR_BOMB: &str = "9bffff3ff82700e2b14020f7fe07";
const BOMB: usize = 4 << 20;

fn fox() -> Vec<u8> {
    "the quick brown fox ".repeat(50).into_bytes()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn asking() -> ClientBuilder {
    Client::builder().decompress(true)
}

/// How a body is cut on the wire.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Length,
    /// In chunks of so many bytes.
    Chunks(usize),
}

fn response(fields: &str, body: &[u8], cut: Cut) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{fields}").into_bytes();
    match cut {
        Cut::Length => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
        }
        Cut::Chunks(size) => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(size) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        }
    }
    bytes
}

/// A server that gives each request the next of these answers.
async fn answering(answers: Vec<Vec<u8>>) -> (String, JoinHandle<usize>) {
    let stage = Stage::open().await;
    let url = stage.url("/");
    let task = tokio::spawn(async move {
        let (mut accepted, mut answers) = (0, answers.into_iter());
        loop {
            let mut peer = stage.accept().await;
            accepted += 1;
            while peer.request_or_end().await.is_some() {
                let Some(answer) = answers.next() else { return accepted };
                peer.write(answer).await;
                if answers.len() == 0 {
                    return accepted;
                }
            }
        }
    });
    (url, task)
}

/// The outcome of reading the body of one answer.
async fn outcome(builder: ClientBuilder, answer: Vec<u8>) -> Result<Vec<u8>, Error> {
    let (url, task) = answering(vec![answer]).await;
    let client = builder.build().expect("a client");
    let response = within("a response", client.get(&url).send()).await.expect("a head");
    let outcome = within("a body", response.bytes()).await;
    done(task).await;
    outcome.map(|bytes| bytes.to_vec())
}

#[tokio::test]
async fn every_coding_is_undone_however_cut() {
    let mut members = gzip(&fox());
    members.extend(gzip(b" and more"));
    let more = [fox(), b" and more".to_vec()].concat();
    let mut frames = zstd(&fox());
    frames.extend(b"\x51\x2a\x4d\x18\x03\0\0\0abc");
    frames.extend(zstd(b" and more"));
    let mut named = gzip(&fox());
    // Extra field, name, comment and check sum of the head.
    named[3] = 2 | 4 | 8 | 16;
    named.splice(10..10, *b"\x02\0xxname\0comment\0ck");
    for (coding, coded, plain) in [
        ("gzip", gzip(&fox()), fox()),
        ("GZip", gzip(&fox()), fox()),
        ("x-gzip", gzip(&fox()), fox()),
        ("gzip", gzip(b""), Vec::new()),
        ("gzip", members, more.clone()),
        ("gzip", named, fox()),
        ("gzip", [gzip(&fox()), vec![0; 300]].concat(), fox()),
        ("deflate", zlib(&fox()), fox()),
        ("deflate", bare(&fox()), fox()),
        ("br", unhex(BR_FOX), fox()),
        ("zstd", zstd(&fox()), fox()),
        ("zstd", frames, more),
        ("gzip", Vec::new(), Vec::new()),
    ] {
        let fields = format!("Content-Encoding: {coding}\r\n");
        for cut in [Cut::Length, Cut::Chunks(1), Cut::Chunks(7), Cut::Chunks(4096)] {
            let answer = response(&fields, &coded, cut);
            let (url, task) = answering(vec![answer.clone(), answer]).await;
            let client = asking().build().expect("a client");
            for _ in 0..2 {
                let response = client.get(&url).send().await.expect("a head");
                let bytes = within("a body", response.bytes()).await;
                assert_eq!(bytes.expect("a body"), plain, "{coding} {cut:?}");
            }
            assert_eq!(done(task).await, 1, "the connection is kept: {coding} {cut:?}");
        }
    }
}

#[tokio::test]
async fn decoded_response_loses_fields_of_its_coding() {
    let answer = response("Content-Encoding: gzip\r\n", &gzip(&fox()), Cut::Length);
    let (url, task) = answering(vec![answer]).await;
    let client = asking().build().expect("a client");
    let response = client.get(&url).send().await.expect("a head");
    for name in ["content-encoding", "content-length"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    assert_eq!(response.content_length(), None);
    assert_eq!(response.text().await.expect("a text").into_bytes(), fox());
    done(task).await;
}

fn accepting() -> Server {
    Server::start(|request: &Request| {
        Answer::Send(ok(request.field("accept-encoding").unwrap_or("-")))
    })
}

#[tokio::test]
async fn codings_are_asked_for_with_exceptions() {
    let server = accepting();
    let url = server.url("/");
    assert_eq!(exchange(&Client::new(), &url).await, "-", "the default");
    let all = asking().build().expect("a client");
    assert_eq!(exchange(&all, &url).await, "zstd, br, gzip, deflate");
    let some = Client::builder().gzip(true).brotli(true).build().expect("a client");
    assert_eq!(exchange(&some, &url).await, "br, gzip");
    let less = asking().zstd(false).deflate(false).build().expect("a client");
    assert_eq!(exchange(&less, &url).await, "br, gzip");
    let text = async |request: keepwarm::RequestBuilder| {
        let response: Response = request.send().await.expect("a response");
        response.text().await.expect("a body")
    };
    assert_eq!(text(all.get(&url).header("range", "bytes=0-9")).await, "-");
    assert_eq!(text(all.get(&url).header("accept-encoding", "own")).await, "own");
    assert_eq!(text(all.get(&url).decompress(false)).await, "-");
    assert_eq!(text(some.get(&url).decompress(true)).await, "br, gzip");
    let plain = Client::new();
    assert_eq!(text(plain.get(&url).decompress(true)).await, "zstd, br, gzip, deflate");
}

#[tokio::test]
async fn other_responses_come_as_they_are() {
    let coded = gzip(&fox());
    for fields in [
        "",
        "Content-Encoding: identity\r\n",
        "Content-Encoding: gzip, br\r\n",
        "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
        "Content-Encoding: gzipp\r\n",
        "Content-Encoding: compress\r\n",
    ] {
        let answer = response(fields, &coded, Cut::Length);
        assert_eq!(outcome(asking(), answer).await.expect("a body"), coded, "{fields:?}");
    }
    // The caller asked by itself, and so gets what it asked for.
    let answer = response("Content-Encoding: gzip\r\n", &coded, Cut::Length);
    let (url, task) = answering(vec![answer]).await;
    let client = asking().build().expect("a client");
    let request = client.get(&url).header("accept-encoding", "gzip");
    let response = request.send().await.expect("a head");
    assert!(response.headers().contains_key("content-encoding"));
    assert_eq!(response.bytes().await.expect("a body"), coded);
    done(task).await;
}

/// Also where a byte above 127 stands in another field.
#[tokio::test]
async fn empty_members_name_no_coding() {
    for fields in [
        "Content-Encoding: gzip,\r\n",
        "Content-Encoding: , ,\tgzip ,\r\n",
        "Content-Encoding:\r\nContent-Encoding: GZIP\r\nX: \u{e9}\r\n",
    ] {
        let answer = response(fields, &gzip(&fox()), Cut::Length);
        assert_eq!(outcome(asking(), answer).await.expect("a body"), fox(), "{fields:?}");
    }
}

#[tokio::test]
async fn responses_without_a_body_are_untouched() {
    let head = "Content-Encoding: gzip\r\nContent-Length: 30\r\n\r\n";
    let answers = vec![
        format!("HTTP/1.1 304 Not Modified\r\n{head}").into_bytes(),
        b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n".to_vec(),
        format!("HTTP/1.1 200 OK\r\n{head}").into_bytes(),
    ];
    let (url, task) = answering(answers).await;
    let client = asking().build().expect("a client");
    for request in [client.get(&url), client.get(&url), client.head(&url)] {
        let response = within("a response", request.send()).await.expect("a head");
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.bytes().await.expect("no body"), "");
    }
    assert_eq!(done(task).await, 1);
}

#[tokio::test]
async fn malformed_bodies_are_errors_and_keep_connections() {
    let with = |mut bytes: Vec<u8>, at: usize, byte: u8| {
        bytes[at] ^= byte;
        bytes
    };
    let end = |bytes: Vec<u8>| bytes.len() - 1;
    for (coding, coded) in [
        ("gzip", gzip(&fox())[..20].to_vec()),
        ("gzip", gzip(&fox())[..5].to_vec()),
        ("gzip", gzip(&fox())[..end(gzip(&fox()))].to_vec()),
        ("gzip", with(gzip(&fox()), 0, 1)),
        ("gzip", with(gzip(&fox()), end(gzip(&fox())), 1)),
        ("gzip", [gzip(&fox()), b"garbage".to_vec()].concat()),
        ("gzip", [gzip(&fox()), vec![0, 0, 1]].concat()),
        ("gzip", [gzip(&fox()), vec![0x1f]].concat()),
        ("gzip", b"plain text".to_vec()),
        ("deflate", zlib(&fox())[..12].to_vec()),
        ("deflate", vec![0x78]),
        ("deflate", [bare(&fox()), b"garbage".to_vec()].concat()),
        ("deflate", with(zlib(&fox()), end(zlib(&fox())), 1)),
        ("br", unhex(BR_FOX)[..20].to_vec()),
        ("br", [unhex(BR_FOX), b"x".to_vec()].concat()),
        ("br", vec![0xff; 40]),
        ("zstd", zstd(&fox())[..9].to_vec()),
        ("zstd", [zstd(&fox()), b"garbage".to_vec()].concat()),
        ("zstd", with(zstd(&fox()), 0, 1)),
        ("zstd", with(zstd(&fox()), end(zstd(&fox())), 1)),
        // A window of 16 MiB.
        ("zstd", b"\x28\xb5\x2f\xfd\x00\x70\x01\0\0".to_vec()),
    ] {
        let fields = format!("Content-Encoding: {coding}\r\n");
        let malformed = response(&fields, &coded, Cut::Chunks(50));
        let (url, task) = answering(vec![malformed, response("", b"next", Cut::Length)]).await;
        let client = asking().build().expect("a client");
        let head = client.get(&url).send().await.expect("a head");
        let error = within("an end", head.bytes()).await.expect_err(coding);
        assert!(error.is_decode() && !error.is_closed_by_peer(), "{coding}: {error}");
        assert_eq!(exchange(&client, &url).await, "next");
        assert_eq!(done(task).await, 1, "the connection is kept: {coding} {error}");
    }
}

#[tokio::test]
async fn bombs_are_bounded_to_the_byte() {
    for (coding, coded) in [
        ("gzip", gzip(&vec![0; BOMB])),
        ("deflate", zlib(&vec![0; BOMB])),
        ("br", unhex(BR_BOMB)),
        ("zstd", zstd(&vec![0; BOMB])),
    ] {
        assert!(coded.len() * 900 < BOMB, "{coding}: {}", coded.len());
        let answer = response(&format!("Content-Encoding: {coding}\r\n"), &coded, Cut::Length);
        for (limit, fits) in [(BOMB as u64, true), (BOMB as u64 - 1, false), (1000, false)] {
            let outcome = outcome(asking().max_decompressed_size(limit), answer.clone()).await;
            assert_eq!(outcome.is_ok(), fits, "{coding} {limit}");
            if let Err(error) = outcome {
                assert!(error.is_too_large() && error.is_limit(), "{error}");
                assert!(error.to_string().contains("max_decompressed_size"), "{error}");
            }
        }
        let (url, task) = answering(vec![answer]).await;
        let client = asking().build().expect("a client");
        let head = client.get(&url).send().await.expect("a head");
        let error = head.bytes_up_to(BOMB - 1).await.expect_err("a bomb");
        assert!(error.is_too_large(), "{coding}: {error}");
        done(task).await;
    }
}

/// The decoder is at its end before the wire is.
#[tokio::test]
async fn late_last_chunk_keeps_the_connection() {
    let stage = Stage::open().await;
    let client = asking().build().expect("a client");
    let request = client.get(stage.url("/"));
    let task = tokio::spawn(async move {
        let mut response = request.send().await?;
        let mut all = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok::<_, Error>(all)
    });
    let mut peer = stage.accept().await;
    peer.request().await;
    let whole = response("Content-Encoding: gzip\r\n", &gzip(&fox()), Cut::Chunks(4096));
    let (first, last) = whole.split_at(whole.len() - 5);
    peer.write(first).await;
    tokio::task::yield_now().await;
    peer.write(last).await;
    assert_eq!(done(task).await.expect("a body"), fox());
    let next = client.get(stage.url("/"));
    let next = tokio::spawn(async move { next.send().await?.text().await });
    peer.serve("next").await;
    assert_eq!(done(next).await.expect("a body"), "next");
}

#[tokio::test]
async fn redirects_and_the_service_decode_too() {
    use tower::Service as _;
    let moved = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_vec();
    let coded = || response("Content-Encoding: gzip\r\n", &gzip(&fox()), Cut::Length);
    let (url, task) = answering(vec![moved, coded(), coded()]).await;
    let mut client = asking().build().expect("a client");
    assert_eq!(exchange(&client, &url).await.into_bytes(), fox());
    let request = http::Request::get(&url).body(keepwarm::Body::empty()).expect("a request");
    let response = client.call(request).await.expect("a response");
    let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body");
    assert_eq!(body.to_bytes(), fox());
    assert_eq!(done(task).await, 1);
}
