//! The tracer against this kernel. Needs root and a mounted tracefs; says so where it is skipped.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use keepwarm_testkit::skipped;

use super::*;
use crate::kernel::socket::State;
use crate::kernel::sys::abort_on_close;

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

/// Reads until this end has ended.
#[track_caller]
fn ended(tracer: &mut Tracer, local: SocketAddr, remote: SocketAddr) -> (TracedSocket, Traced) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        let mut traced = Traced::default();
        tracer.read(&mut traced);
        let wanted = |life: &&TracedSocket| life.local == local && life.remote == remote;
        if let Some(life) = traced.ended.iter().find(wanted).cloned() {
            return (life, traced);
        }
        std::thread::yield_now();
    }
    panic!("{local} to {remote} has not ended");
}

#[test]
fn a_connection_is_traced_to_us_with_its_lifetime_and_the_reason_of_its_reset() {
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
    let (life, traced) = ended(&mut tracer, local, remote);
    assert_eq!(life.owner, Some(std::process::id()));
    let lifetime = std::time::Duration::from_nanos(life.lifetime_ns.unwrap());
    assert!(lifetime <= most, "{lifetime:?} of {most:?}");
    let reset = (local, remote, "TCP_ABORT_ON_CLOSE".into());
    assert!(traced.resets.contains(&reset), "{traced:?}");
    assert!(traced.names.iter().any(|(pid, _)| *pid == std::process::id()), "{traced:?}");
    let peer = traced.ended.iter().find(|life| life.local == remote).unwrap();
    assert_eq!(peer.reset_in, Some(State::Established));
    assert_eq!(tracer.lost(), 0);
}

#[test]
fn an_instance_is_removed_by_drop_and_by_panic_and_one_of_the_dead_by_the_next() {
    let Some(tracer) = tracer(None) else { return };
    let path = tracer.instance.path().to_owned();
    assert!(path.exists());
    drop(tracer);
    assert!(!path.exists(), "{path:?}");

    let panicked = std::panic::catch_unwind(|| {
        let tracer = Tracer::start(None).unwrap();
        std::panic::panic_any(tracer.instance.path().to_owned());
    });
    let path = *panicked.unwrap_err().downcast::<PathBuf>().unwrap();
    assert!(!path.exists(), "{path:?}");

    // A process that is gone; its id is not given again so soon.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let name = format!("keepwarm-{}-0", child.id());
    child.wait().unwrap();
    let stale = path.with_file_name(name);
    std::fs::create_dir(&stale).unwrap();
    drop(Tracer::start(None).unwrap());
    assert!(!stale.exists(), "{stale:?}");
}

#[test]
fn events_that_the_ring_could_not_keep_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut tracer) = tracer(Some(listener.local_addr().unwrap().port())) else { return };
    std::fs::write(tracer.instance.path().join("buffer_size_kb"), "4").unwrap();
    for _ in 0..600 {
        let (client, server) = pair(&listener);
        abort_on_close(&client).unwrap();
        drop((client, server));
    }
    tracer.read(&mut Traced::default());
    assert!(tracer.lost() > 100, "{}", tracer.lost());
}
