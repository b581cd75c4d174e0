//! nghttpd, the server of nghttp2, as the server of a scenario: one file, one thread.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::clients::Failure;
use crate::place;

/// Longest wait for its first connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Finds out whether nghttpd is installed; `Err` says what is missing.
pub(crate) fn find() -> Result<(), String> {
    let found = Command::new("nghttpd").arg("--version").stdout(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err("nghttpd is not installed (Debian: nghttp2-server)".to_owned()),
    }
}

/// Runs nghttpd until standard input ends. Prints its port, and nothing at its end: nghttpd does not
/// count connections.
pub(crate) fn serve(body_bytes: usize) -> Result<(), Failure> {
    place::pin(&[place::server_core()]);
    // nghttpd takes a port, and does not say one that the kernel chose.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let folder = std::env::temp_dir().join(format!("bench-client-{port}"));
    std::fs::create_dir(&folder)?;
    let served = serve_folder(&folder, port, body_bytes);
    std::fs::remove_dir_all(&folder)?;
    served
}

fn serve_folder(folder: &std::path::Path, port: u16, body_bytes: usize) -> Result<(), Failure> {
    std::fs::write(folder.join("data"), vec![b'x'; body_bytes])?;
    // Ends with this process, however that ends.
    let mut server = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "nghttpd", "--no-tls", "--address", "127.0.0.1", "--htdocs"])
        .arg(folder)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let began = Instant::now();
    let started = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => break Ok(()),
            Err(error) if began.elapsed() > PATIENCE => break Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if started.is_ok() {
        println!("{port}");
        let _nothing = std::io::stdin().read(&mut [0]);
    }
    // One that has ended already cannot be killed, and need not be.
    let _ = server.kill();
    let _ = server.wait();
    started
}
