//! Server-sent events, by the code of the example.

use keepwarm::Client;
use keepwarm_testkit::scripted::{Stage, within};

#[path = "../../examples/sse.rs"]
mod example;

use example::{Event, Parser, follow};

fn event(kind: &str, data: &str) -> Event {
    Event { kind: kind.to_owned(), data: data.to_owned() }
}

#[test]
fn pieces_of_any_size_make_one_stream() {
    let stream = "\u{feff}data: one\ndata:two\r\n\r\n: a comment\rid: 7\revent: price\rdata:  3 €\r\r\
        retry: 25\nretry: soon\nid: a\0b\n\ndata\n\nevent: lost\n\ndata: never ended";
    let due = [event("message", "one\ntwo"), event("price", " 3 €"), event("message", "")];
    for size in 1..=stream.len() {
        let (mut parser, mut found) = (Parser::default(), Vec::new());
        for piece in stream.as_bytes().chunks(size) {
            parser.push(piece, &mut found).expect("short");
        }
        assert_eq!(found, due, "in pieces of {size}");
        assert_eq!(parser.last_id, "7");
        assert_eq!(parser.retry, Some(std::time::Duration::from_millis(25)));
    }
}

#[test]
fn endless_event_is_given_up() {
    let (mut parser, mut found) = (Parser::default(), Vec::new());
    let piece = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
    let pushed = (0..2000).map(|_| parser.push(&piece, &mut found)).position(|one| one.is_err());
    assert_eq!(pushed, Some(1047), "a mebibyte of data, and the line feeds between");
    assert!(found.is_empty());
}

#[tokio::test]
async fn stream_goes_on_from_the_last_id() {
    let stage = Stage::open().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (client, url) = (Client::new(), stage.url("/events"));
    let task =
        tokio::spawn(async move { follow(&client, &url, |event| tell.send(event).is_ok()).await });
    let mut peer = stage.accept().await;
    let request = peer.request().await;
    assert_eq!(request.field("accept"), Some("text/event-stream"));
    assert_eq!(request.field("last-event-id"), None);
    peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    peer.write("retry: 1\nid: 41\ndata: fi").await;
    peer.write("rst\n\ndata: cut off").await;
    assert_eq!(within("an event", told.recv()).await, Some(event("message", "first")));
    peer.close();
    let mut peer = stage.accept().await;
    assert_eq!(peer.request().await.field("last-event-id"), Some("41"));
    peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\ndata: second\n\r\n")
        .await;
    peer.write("1\r\n\n\r\n0\r\n\r\n").await;
    assert_eq!(within("an event", told.recv()).await, Some(event("message", "second")));
    assert!(peer.request().await.field("last-event-id").is_some(), "on the same connection");
    peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    within("the end", task).await.expect("no panic").expect("no error");
}
