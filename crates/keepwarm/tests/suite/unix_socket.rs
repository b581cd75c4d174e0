//! A client whose connections go to a Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keepwarm::connect::{Destination, Name};
use keepwarm::{Client, ClientBuilder, Stage as At};
use keepwarm_testkit::scripted::{Peer, Request, eventually, ok, within};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tower::service_fn;

use crate::support::{assert_at_rest, done, fetch, get, only};

/// A listening socket in a directory of its own, which goes with it.
struct Socket {
    listener: UnixListener,
    directory: PathBuf,
}

impl Socket {
    fn open() -> Self {
        let directory = directory();
        let listener = UnixListener::bind(directory.join("http.sock")).expect("bind");
        Self { listener, directory }
    }

    /// With the shortest accept queue there is.
    fn open_narrow() -> Self {
        let directory = directory();
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let address = socket2::SockAddr::unix(directory.join("http.sock")).expect("a path");
        socket.bind(&address).expect("bind");
        socket.listen(0).expect("listen");
        socket.set_nonblocking(true).expect("nonblocking");
        let listener = UnixListener::from_std(socket.into()).expect("a listener");
        Self { listener, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("http.sock")
    }

    fn client(&self) -> Client {
        Client::builder().unix_socket(self.path()).build().expect("good settings")
    }

    async fn accept(&self) -> Peer<UnixStream> {
        accept(&self.listener).await
    }
}

async fn accept(listener: &UnixListener) -> Peer<UnixStream> {
    Peer::over(within("a connection", listener.accept()).await.expect("accept").0)
}

impl Drop for Socket {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).expect("removed");
    }
}

fn directory() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("keepwarm-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).expect("a directory of its own");
    path
}

/// One exchange on this connection.
async fn serve(client: &Client, url: &str, peer: &mut Peer<UnixStream>) -> Request {
    let request = fetch(client, url);
    let seen = peer.serve("unix").await;
    assert_eq!(done(request).await.expect("a body"), "unix");
    seen
}

/// Requests go to the socket.
#[tokio::test]
async fn url_gives_host_and_pool_only() {
    let socket = Socket::open();
    let client = socket.client();
    for (url, host, origin) in [
        ("http://Docker/v1/x?y", "docker", "http://docker:80"),
        ("http://localhost:81/v1/x?y", "localhost:81", "http://localhost:81"),
    ] {
        let request = fetch(&client, url);
        let mut peer = socket.accept().await;
        let seen = peer.serve("unix").await;
        assert_eq!((seen.target(), seen.field("host")), ("/v1/x?y", Some(host)));
        assert_eq!(done(request).await.expect("a body"), "unix");
        serve(&client, url, &mut peer).await;
        let stats = client.stats();
        let stats = stats.origin(origin).expect("known by its URL");
        assert_eq!((stats.opened, stats.reused, stats.idle), (1, 1, 1));
    }
}

#[tokio::test]
async fn redirect_stays_on_the_socket() {
    let socket = Socket::open();
    let client = socket.client();
    let request = fetch(&client, "http://a.test/");
    let mut first = socket.accept().await;
    first.request().await;
    first
        .write("HTTP/1.1 302 Found\r\nLocation: http://b.test/there\r\nContent-Length: 0\r\n\r\n")
        .await;
    let mut second = socket.accept().await;
    let seen = second.serve("there").await;
    assert_eq!((seen.target(), seen.field("host")), ("/there", Some("b.test")));
    assert_eq!(done(request).await.expect("a body"), "there");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn at_sign_or_zero_is_abstract() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("keepwarm-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).expect("bind");
    listener.set_nonblocking(true).expect("nonblocking");
    let listener = UnixListener::from_std(listener).expect("a listener");
    for path in [format!("@{name}"), format!("\0{name}")] {
        let client = Client::builder().unix_socket(path).build().expect("good");
        let request = get(&client, "http://localhost/");
        let mut peer = accept(&listener).await;
        peer.serve("").await;
        done(request).await.expect("a response");
    }
    drop(listener);
    let client = Client::builder().unix_socket(format!("\0{name}")).build().expect("good");
    let error = within("an answer", client.get("http://localhost/").send()).await;
    let text = error.expect_err("nobody listens").to_string();
    assert!(text.contains(&format!("unix socket @{name}: Connection refused")), "{text}");
}

#[tokio::test]
async fn errors_name_the_path() {
    let directory = directory();
    let path = directory.join("missing.sock");
    let failure = async || {
        let client = Client::builder().unix_socket(&path).build().expect("good");
        within("an answer", client.get("http://docker/").send()).await.expect_err("no server")
    };
    let error = failure().await;
    assert!(error.is_connect() && error.stage() == At::Connect, "{error}");
    assert_eq!(error.io_error().map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
    let place = format!("unix socket {}: ", path.display());
    assert!(error.to_string().starts_with("http://docker:80: connecting failed: "), "{error}");
    assert!(error.to_string().contains(&place), "{error}");

    drop(UnixListener::bind(&path).expect("bind"));
    let error = failure().await;
    assert_eq!(
        error.io_error().map(std::io::Error::kind),
        Some(std::io::ErrorKind::ConnectionRefused)
    );
    assert!(error.to_string().contains(&place), "{error}");
    std::fs::remove_dir_all(&directory).expect("removed");
}

/// A Unix socket whose queue is full says EAGAIN, where TCP would wait.
/// The connect timeout names the path.
#[tokio::test]
async fn full_accept_queue_is_waited_for() {
    let socket = Socket::open_narrow();
    let mut fillers = Vec::new();
    let full = loop {
        match UnixStream::connect(socket.path()).await {
            Ok(stream) => fillers.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);

    let builder = Client::builder().unix_socket(socket.path());
    let client = builder.connect_timeout(Duration::from_millis(60)).build().expect("good");
    let error = within("the timeout", client.get("http://a.test/").send()).await.expect_err("late");
    assert!(error.is_timeout() && error.is_connect(), "{error}");
    let place = format!("unix socket {}: timed out", socket.path().display());
    assert!(error.to_string().contains(&place), "{error}");

    let client = socket.client();
    let request = fetch(&client, "http://a.test/");
    eventually("the dial", || client.stats().origins.iter().any(|origin| origin.dialing == 1))
        .await;
    for _ in fillers.drain(..) {
        drop(socket.accept().await);
    }
    socket.accept().await.serve("at last").await;
    assert_eq!(done(request).await.expect("a body"), "at last");
}

/// A client of another socket shares no connection.
#[tokio::test]
async fn idle_socket_close_is_noticed() {
    let (one, other) = (Socket::open(), Socket::open());
    let clients = [one.client(), other.client()];
    let mut peers = Vec::new();
    for (client, socket) in clients.iter().zip([&one, &other]) {
        let request = get(client, "http://same.test/");
        let mut peer = socket.accept().await;
        peer.write(ok("")).await;
        peer.request().await;
        done(request).await.expect("a response");
        peers.push(peer);
    }
    peers.remove(0).close();
    eventually("the close", || only(&clients[0]).idle == 0).await;
    assert_at_rest(&only(&clients[0]));
    assert_eq!(only(&clients[1]).idle, 1);
    serve(&clients[1], "http://same.test/", &mut peers[0]).await;
}

/// Also settings that contradict it.
#[test]
fn unusable_socket_path_is_rejected() {
    let refused = |builder: ClientBuilder| {
        let error = builder.build().expect_err("refused");
        assert!(error.is_invalid(), "{error}");
        error.to_string()
    };
    let at = |path: &str| Client::builder().unix_socket(Path::new(path));
    assert!(refused(at("")).contains("unix_socket is : an empty path"));
    let long = "/".repeat(108);
    assert!(refused(at(&long)).contains(&format!("unix_socket is {long}: path must be shorter")));
    assert!(refused(at("/a\0b")).contains("unix_socket is /a\0b: "));
    let resolver = service_fn(|_: Name| async { std::io::Result::Ok(Vec::new()) });
    assert!(refused(at("/a").resolver(resolver)).contains("resolver is set beside unix_socket"));
    let connector = service_fn(|_: Destination| TcpStream::connect("127.0.0.1:1"));
    assert!(refused(at("/a").connector(connector)).contains("connector is set beside unix_socket"));
}
