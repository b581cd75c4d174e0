//! Servers that end connections in every way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// How a server treats a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers for ever.
    Keep,
    /// Answers four requests, and closes without a word.
    FinAfterFour,
    /// Answers four requests, and aborts.
    RstAfterFour,
    /// Answers four requests, sends FIN, and reads on until the client closes.
    HalfCloseAfterFour,
    /// Closes within the body of the first response.
    FinWithinBody,
    /// Aborts within the body of the first response.
    RstWithinBody,
    /// Ends each response, which has no length, by closing.
    UntilFin,
    /// Says `Connection: close`, and closes.
    SaysClose,
    /// Reads, and never answers.
    Silent,
    /// Answers with what is not HTTP, and reads on.
    Garbage,
}

pub(crate) const COMPLETE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const CLOSING: &[u8] =
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const PARTIAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbeginning";
const LENGTHLESS: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok";
const GARBAGE: &[u8] = b"this is not what was asked for\r\n\r\n";

/// Listens on a port of its own until the process ends; the port.
pub(crate) fn start(manner: Manner) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in the middle is no failure of the server.
            std::thread::spawn(move || drop(serve(stream, manner)));
        }
    });
    port
}

fn serve(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // A client that never closes must not keep a thread for ever.
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    for nth in 1.. {
        if !read_request(&mut stream)? {
            return Ok(());
        }
        match manner {
            Manner::Silent => return drain(stream),
            Manner::Garbage => {
                stream.write_all(GARBAGE)?;
                return drain(stream);
            }
            Manner::UntilFin => return stream.write_all(LENGTHLESS),
            Manner::SaysClose => return stream.write_all(CLOSING),
            Manner::FinWithinBody => return stream.write_all(PARTIAL),
            Manner::RstWithinBody => {
                stream.write_all(PARTIAL)?;
                return abort(stream);
            }
            _ => stream.write_all(COMPLETE)?,
        }
        match manner {
            Manner::FinAfterFour if nth == 4 => return Ok(()),
            Manner::RstAfterFour if nth == 4 => return abort(stream),
            Manner::HalfCloseAfterFour if nth == 4 => {
                stream.shutdown(Shutdown::Write)?;
                return drain(stream);
            }
            _ => {}
        }
    }
    Ok(())
}

/// One request without a body; false at the end of the connection.
pub(crate) fn read_request(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => return Ok(false),
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(true)
}

fn drain(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(|_| ())
}

fn abort(stream: TcpStream) -> std::io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}
