//! Claim: the large file of a body is sent whole and unchanged by every connection, in bounded
//! memory; a file that shrinks, and a server that does not read on, end the exchange and not the
//! run.

mod common;

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use common::{run, tls};
use keepwarm_load::{Body, CloseCause, ErrorClass, Plan, PlanBuilder};

/// More than the limit of what is kept in memory, and no multiple of any buffer.
const LENGTH: usize = (3 << 20) + 12_345;

/// A file of a test, removed at its end.
struct TestFile(PathBuf, File);

impl TestFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
        let mut file = File::create(&path).expect("a file");
        file.write_all(bytes).expect("space");
        Self(path, file)
    }

    fn open(&self) -> Body {
        let body = Body::open(&self.0).expect("a readable file");
        assert_eq!(body.bytes(), None, "the file is streamed");
        body
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Content without repetition: every eight bytes are their own position.
fn content() -> Vec<u8> {
    (0..(LENGTH as u64).div_ceil(8)).flat_map(u64::to_be_bytes).take(LENGTH).collect()
}

/// A checksum that depends on the order of all bytes, and not on how they come in pieces.
fn checksum(pieces: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(pieces);
    hasher.finish()
}

/// Starts a server that follows `script` on each connection; it ends with the test.
fn serve(script: impl Fn(&mut TcpStream, u64) + Send + Sync + Copy + 'static) -> PlanBuilder {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for (nth, socket) in listener.incoming().flatten().enumerate() {
            let mut socket = socket;
            std::thread::spawn(move || script(&mut socket, nth as u64));
        }
    });
    Plan::builder(format!("http://{address}/"))
}

/// Reads the head of a request. Returns the length of its body, and the first bytes of it.
fn read_head(stream: &mut impl Read) -> io::Result<(usize, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).expect("a length");
            let length = length.lines().next().expect("a line").parse().expect("a number");
            return Ok((length, bytes.split_off(end + 4)));
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Reads the body of a request, at most `most` bytes of it. Returns its checksum.
fn read_body(stream: &mut impl Read, most: usize) -> io::Result<u64> {
    let (length, first) = read_head(stream)?;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&first);
    let mut left = length.min(most).saturating_sub(first.len());
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let count = stream.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.write(&buffer[..count]);
        left -= count;
    }
    Ok(hasher.finish())
}

/// Answers every request with the checksum of its body, until the client closes.
fn answer_checksums(stream: &mut (impl Read + Write), expected: u64) {
    while let Ok(sum) = read_body(stream, usize::MAX) {
        let status = if sum == expected { "200 OK" } else { "400 Wrong bytes" };
        let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(response.as_bytes()).and_then(|()| stream.flush());
    }
}

fn assert_all_arrive(builder: PlanBuilder, file: &TestFile) {
    let builder = builder.requests(12).concurrency(4).threads(2).method("POST").body(file.open());
    let plan = builder.clone().build().expect("a plan");
    assert!(plan.request_bytes().ends_with(b"\r\n\r\n"), "the head only");
    let length = plan.request_len() as u64;
    // Bytes that are added to the file later are neither announced nor sent.
    (&file.1).write_all(b"more").expect("space");
    let summary = run(builder);
    assert_eq!((summary.completed, summary.failed), (12, 0), "{:?}", summary.errors);
    assert_eq!(summary.statuses[&200], 12, "{:?}", summary.statuses);
    assert_eq!(summary.ledger.opened, 4);
    assert!(summary.bytes_written >= 12 * length, "TLS writes more, plain text as much");
}

#[test]
fn streamed_file_arrives_whole_everywhere() {
    let content = content();
    let expected = checksum(&content);
    let file = TestFile::new("plain", &content);
    assert_all_arrive(serve(move |stream, _| answer_checksums(stream, expected)), &file);
}

#[test]
fn streamed_file_arrives_whole_over_tls() {
    let content = content();
    let expected = checksum(&content);
    let file = TestFile::new("secure", &content);
    let authority = tls::Authority::new();
    let server = authority.server("localhost", None);
    let (address, _) = tls::serve(server, move |stream| answer_checksums(stream, expected));
    assert_all_arrive(tls::plan(address).tls_roots(authority.pem()), &file);
}

/// The file is cut after the plan was built, in the middle of the body.
fn assert_shortened_fails(builder: PlanBuilder, file: &TestFile) {
    let builder = builder.requests(6).concurrency(2).method("POST").body(file.open());
    file.1.set_len(2 << 20).expect("a shorter file");
    let summary = run(builder);
    assert_eq!((summary.completed, summary.errors.of(ErrorClass::Body)), (0, 6));
    assert_eq!(summary.ledger.closed_by_us[&CloseCause::BodyFailed], 6);
    let (key, stat) = summary.errors.iter().next().expect("one kind");
    assert!(stat.example.contains("before byte 2097152 of 3158073"), "{}", stat.example);
    assert!(key.hint().is_some());
}

#[test]
fn shortened_file_fails_its_exchange() {
    let file = TestFile::new("cut", &content());
    assert_shortened_fails(serve(|stream, _| answer_checksums(stream, 0)), &file);
    let file = TestFile::new("cut-secure", &content());
    let authority = tls::Authority::new();
    let server = authority.server("localhost", None);
    let (address, _) = tls::serve(server, |stream| answer_checksums(stream, 0));
    assert_shortened_fails(tls::plan(address).tls_roots(authority.pem()), &file);
}

const REFUSED: &[u8] = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";

/// Refuses a body after its first `most` bytes, and drops the rest of it.
fn refuse_after(stream: &mut TcpStream, most: usize) {
    if read_body(stream, most).is_ok() && stream.write_all(REFUSED).is_ok() {
        let _ = io::copy(stream, &mut io::sink());
    }
}

#[test]
fn early_response_ends_streamed_upload() {
    let file = TestFile::new("early", &[]);
    file.1.set_len(64 << 20).expect("a file with holes");
    // The server reads no further: the rest of the body cannot be written.
    let server = serve(|stream, _| {
        let _ = read_head(stream).and_then(|_| stream.write_all(REFUSED));
        let mut ended = [rustix::event::PollFd::new(&*stream, rustix::event::PollFlags::RDHUP)];
        let _ = rustix::event::poll(&mut ended, None);
    });
    let summary = run(server.requests(4).concurrency(2).method("POST").body(file.open()));
    assert_eq!((summary.completed, summary.failed), (4, 0), "{:?}", summary.errors);
    assert_eq!(summary.statuses[&413], 4);
    assert_eq!(summary.ledger.closed_by_us[&CloseCause::EarlyResponse], 4);
}

#[test]
fn close_within_upload_fails_the_exchange() {
    static ACCEPTED: AtomicU64 = AtomicU64::new(0);
    let file = TestFile::new("closed", &[]);
    file.1.set_len(64 << 20).expect("a file with holes");
    let server = serve(|stream, _| {
        ACCEPTED.fetch_add(1, SeqCst);
        let _ = read_body(stream, 2 << 20);
    });
    let summary = run(server.requests(6).concurrency(2).method("POST").body(file.open()));
    assert_eq!((summary.completed, summary.failed), (0, 6));
    let by_peer = [ErrorClass::Write, ErrorClass::ResetBeforeResponse, ErrorClass::EofOnNew];
    let by_peer: u64 = by_peer.into_iter().map(|class| summary.errors.of(class)).sum();
    assert_eq!(by_peer, 6, "{:?}", summary.errors);
    assert_eq!(summary.ledger.opened, ACCEPTED.load(SeqCst));
    assert!(summary.bytes_written >= 6 * (2 << 20));
}

/// A hundred connections send a file of 200 MiB, one of them all of it. The process holds the
/// client, the server and the other tests of this file.
#[test]
fn large_file_stays_out_of_memory() {
    let file = TestFile::new("memory", &[]);
    file.1.set_len(200 << 20).expect("a file with holes");
    let server = serve(|stream, nth| match nth {
        0 => answer_checksums(stream, 0),
        _ => refuse_after(stream, 4 << 20),
    });
    let summary = run(server.requests(100).concurrency(100).method("POST").body(file.open()));
    assert_eq!((summary.completed, summary.failed), (100, 0), "{:?}", summary.errors);
    assert_eq!((summary.statuses[&413], summary.ledger.opened), (99, 100));
    assert!(summary.bytes_written > (200 << 20) + 99 * (4 << 20));
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kib < 100 << 10, "{kib} KiB at the peak");
    println!("{kib} KiB at the peak");
}

#[test]
fn streamed_body_refuses_templates() {
    let file = TestFile::new("template", &content());
    let plan = Plan::builder("http://127.0.0.1:9/").requests(1).templates(true);
    let error = plan.body(file.open()).build().expect_err("refused");
    assert_eq!(error.setting(), "templates");
    assert!(error.reason().contains("read from its file"), "{error}");
}
