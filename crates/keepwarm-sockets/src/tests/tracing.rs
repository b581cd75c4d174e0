//! The tracer on the running kernel. Needs root and a mounted tracefs; a test without them reports
//! that it is skipped.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use keepwarm_testkit::skipped;

use crate::kernel::socket::State;
use crate::kernel::sys::abort_on_close;
use crate::kernel::trace::{TraceBatch, TracedSocket, Tracer};

fn tracer(port: Option<u16>) -> Option<Tracer> {
    match Tracer::start(port) {
        Ok(tracer) => Some(tracer),
        Err(error) if error.is_denied() || error.is_unsupported() => {
            skipped::because(&format!("tracing: {error}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Reads until this socket has ended.
#[track_caller]
fn ended(tracer: &mut Tracer, local: SocketAddr, remote: SocketAddr) -> (TracedSocket, TraceBatch) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        let mut batch = TraceBatch::default();
        tracer.read(&mut batch);
        let wanted = |one: &&TracedSocket| one.local == local && one.remote == remote;
        if let Some(socket) = batch.ended.iter().find(wanted).cloned() {
            return (socket, batch);
        }
        std::thread::yield_now();
    }
    panic!("{local} to {remote} has not ended");
}

#[test]
fn a_trace_has_owner_lifetime_and_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(mut tracer) = tracer(Some(port)) else { return };
    let begun = std::time::Instant::now();
    let (client, mut server) = pair(&listener);
    let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    server.write_all(b"unread").unwrap();
    client.peek(&mut [0; 6]).unwrap();
    drop(client);
    let most = begun.elapsed();
    let (socket, batch) = ended(&mut tracer, local, remote);
    assert_eq!(socket.owner, Some(std::process::id()));
    let lifetime = std::time::Duration::from_nanos(socket.lifetime_ns.unwrap());
    assert!(lifetime <= most, "{lifetime:?} of {most:?}");
    let reset = (local, remote, "TCP_ABORT_ON_CLOSE".into());
    assert!(batch.resets.contains(&reset), "{batch:?}");
    assert!(batch.processes.iter().any(|one| one.pid == std::process::id()), "{batch:?}");
    let peer = batch.ended.iter().find(|one| one.local == remote).unwrap();
    assert_eq!(peer.reset_in, Some(State::Established));
    assert_eq!(tracer.lost(), 0);
}

#[test]
fn no_instance_outlives_its_process() {
    let Some(tracer) = tracer(None) else { return };
    let path = tracer.instance_path().to_owned();
    assert!(path.exists());
    drop(tracer);
    assert!(!path.exists(), "{path:?}");

    let panicked = std::panic::catch_unwind(|| {
        let tracer = Tracer::start(None).unwrap();
        std::panic::panic_any(tracer.instance_path().to_owned());
    });
    let path = *panicked.unwrap_err().downcast::<PathBuf>().unwrap();
    assert!(!path.exists(), "{path:?}");

    // A process that has ended; its id is not reused so soon.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let name = format!("keepwarm-{}-0", child.id());
    child.wait().unwrap();
    let stale = path.with_file_name(name);
    std::fs::create_dir(&stale).unwrap();
    drop(Tracer::start(None).unwrap());
    assert!(!stale.exists(), "{stale:?}");
}

#[test]
fn events_lost_by_the_ring_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut tracer) = tracer(Some(listener.local_addr().unwrap().port())) else { return };
    std::fs::write(tracer.instance_path().join("buffer_size_kb"), "4").unwrap();
    for _ in 0..600 {
        let (client, server) = pair(&listener);
        abort_on_close(&client).unwrap();
        drop((client, server));
    }
    tracer.read(&mut TraceBatch::default());
    assert!(tracer.lost() > 100, "{}", tracer.lost());
}
