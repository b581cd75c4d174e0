//! Claim: `h2` and this crate understand each other. Requests are read by `h2`'s server as they were
//! meant, its responses are counted as they were sent, and bytes that `h2`'s client reads as a response
//! are read alike.

mod common {
    pub(crate) mod reading;
}

use bytes::Bytes;
use common::reading::compare;
use keepwarm_http2::{Block, Connection, Counts, Dictionary, Event, Response, write_data_header};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The response that a server is to send.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    content: usize,
    has_trailers: bool,
}

fn answer() -> impl Strategy<Value = Answer> {
    // Few of a kind repeat, so that they are in the server's table; others push them out of it.
    let field = prop_oneof![
        ("[a-c]", "[ -~]{0,2}"),
        ("[a-z][a-z0-9-]{0,20}", "[ -~]{0,40}"),
        ("[a-c]", "[a-z]{1500}"),
    ];
    (200_u16..600, prop::collection::vec(field, 0..5), 0_usize..40_000, any::<bool>()).prop_map(
        |(status, fields, content, has_trailers)| {
            let fields = fields.into_iter().map(|(name, value)| (format!("x-{name}"), value));
            let content = if matches!(status, 204 | 304) { 0 } else { content };
            Answer { status, fields: fields.collect(), content, has_trailers }
        },
    )
}

/// Serves one connection by `h2`: the answers in turn. Returns the requests as it has read them.
async fn serve(
    stream: tokio::io::DuplexStream,
    answers: Vec<Answer>,
) -> Vec<(String, String, usize)> {
    let mut connection = h2::server::handshake(stream).await.expect("a valid exchange");
    let mut seen = Vec::new();
    let mut answers = answers.into_iter();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { break };
        let Some(answer) = answers.next() else { break };
        let (head, mut body) = request.into_parts();
        let mut length = 0;
        let read = async {
            while let Some(Ok(data)) = body.data().await {
                length += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
        };
        tokio::select! {
            () = read => {}
            _ = connection.accept() => {}
        }
        seen.push((head.method.to_string(), head.uri.to_string(), length));
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.fields {
            response = response.header(name, value);
        }
        let is_empty = answer.content == 0 && !answer.has_trailers;
        let mut stream = respond
            .send_response(response.body(()).expect("a valid exchange"), is_empty)
            .expect("a valid exchange");
        if !is_empty {
            let content = Bytes::from(vec![b'x'; answer.content]);
            stream.send_data(content, !answer.has_trailers).expect("a valid exchange");
        }
        if answer.has_trailers {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "1".parse().expect("a valid exchange"));
            stream.send_trailers(trailers).expect("a valid exchange");
        }
    }
    seen
}

/// Encodes requests with bodies of these lengths. Three in four have fields that the server keeps;
/// there are three paths.
fn blocks(bodies: &[usize]) -> Vec<Block> {
    let mut dictionary = Dictionary::default();
    let mut blocks = Vec::new();
    for (at, length) in bodies.iter().enumerate() {
        let mut block = Block::new();
        for (name, value) in [
            (":method", if *length > 0 { "POST" } else { "GET" }),
            (":scheme", "http"),
            (":authority", "host:1"),
            (":path", &format!("/item?{}", at % 3)),
            ("User-Agent", "keepwarm"),
            // The third does not fit.
            ("X-Long", &format!("{}{}", at % 3, "x".repeat(1500))),
        ] {
            match at % 4 {
                3 => block.push(name.as_bytes(), value.as_bytes()),
                _ => block.push_kept(name.as_bytes(), value.as_bytes(), &mut dictionary),
            }
        }
        blocks.push(block);
    }
    blocks.iter_mut().for_each(|block| block.shorten(&dictionary));
    blocks
}

/// Sends requests with bodies of these lengths, one after the other, and counts the responses.
async fn exchange(mut stream: tokio::io::DuplexStream, bodies: &[usize]) -> Vec<Counts> {
    let (mut connection, mut out) = (Connection::default(), Vec::new());
    Connection::write_preface(&mut out);
    let mut all = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    for (block, length) in blocks(bodies).iter().zip(bodies) {
        let (id, _) = connection.open();
        connection.write_request(block, &mut out, id, *length == 0);
        if *length > 0 {
            write_data_header(&mut out, id, *length, true);
            out.resize(out.len() + length, b'y');
        }
        let mut response = Response::to(false);
        let mut counts = None;
        while counts.is_none() {
            stream.write_all(&out).await.expect("a valid exchange");
            out.clear();
            let count = stream.read(&mut buffer).await.expect("a valid exchange");
            assert!(count > 0, "the server has ended");
            let mut rest = &buffer[..count];
            while let Some(event) = connection.next(&mut rest, &mut out).expect("a valid exchange")
            {
                counts = counts.or(match event {
                    Event::Headers { block, is_last, .. } => {
                        response.headers(block, is_last).expect("a valid exchange")
                    }
                    Event::Data { bytes, is_last, .. } => {
                        response.data(bytes.len(), is_last).expect("a valid exchange")
                    }
                    Event::Reset { code, .. } => panic!("reset: {code}"),
                    _ => None,
                });
            }
        }
        all.extend(counts);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_understand_each_other(
        answers in prop::collection::vec(answer(), 1..12),
        lengths in prop::collection::vec(0_usize..5_000, 12),
    ) {
        let bodies = &lengths[..answers.len()];
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a valid exchange");
        let (counts, seen) = runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(256 * 1024);
            let server = tokio::spawn(serve(theirs, answers.clone()));
            let counts = exchange(ours, bodies).await;
            (counts, server.await.expect("a valid exchange"))
        });
        for (at, answer) in answers.iter().enumerate() {
            let expected = (answer.status, answer.content as u64);
            prop_assert_eq!((counts[at].status, counts[at].body_bytes), expected);
            let method = if bodies[at] > 0 { "POST" } else { "GET" };
            let request = (method.to_owned(), format!("http://host:1/item?{}", at % 3), bodies[at]);
            prop_assert_eq!(&seen[at], &request);
        }
    }
}

/// Frames from which mutations begin.
fn valid() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let mut bytes = vec![
            0,
            0,
            u8::try_from(payload.len()).expect("a valid exchange"),
            kind,
            flags,
            0,
            0,
            0,
            stream,
        ];
        bytes.extend_from_slice(payload);
        bytes
    };
    [
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(4, 1, 0, &[]),
        frame(1, 4, 1, &[0x08, 3, b'1', b'0', b'3']),
        frame(1, 0, 1, &[0x3f, 0xe1, 0x03, 0x88, 0x0f, 0x0d, 1, b'4']),
        frame(9, 4, 1, &[0x0f, 0x27, 0x82, 0x64, 0x02, 0x40, 2, b'a', b'b', 1, b'c']),
        frame(0, 8, 1, &[1, b'a', b'b', 0]),
        frame(6, 0, 0, &[1; 8]),
        frame(8, 0, 0, &[0, 0, 1, 0]),
        frame(0, 0, 1, b"cd"),
        frame(1, 5, 1, &[0x40, 1, b't', 1, b'v', 0xbf, 0x7e, 1, b'w']),
    ]
    .concat()
}

#[test]
fn unmutated_bytes_are_read_alike() {
    use common::reading::{Ended, read, read_by_h2};
    assert_eq!(read_by_h2(&valid()), Some((200, 4)));
    assert_eq!(read(&valid(), &[]).0, Ended::Complete(200, 4));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bytes_are_read_alike(
        changes in prop::collection::vec((0_usize..140, any::<u8>()), 0..4),
        cut in 0_usize..400,
        doubled in prop::option::of((0_usize..140, 1_usize..20)),
    ) {
        let mut bytes = valid();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Some((at, length)) = doubled {
            let (from, to) = (at.min(bytes.len()), (at + length).min(bytes.len()));
            let piece = bytes[from..to].to_vec();
            bytes.splice(from..from, piece);
        }
        bytes.truncate(cut.max(9));
        compare(&bytes);
    }
}
