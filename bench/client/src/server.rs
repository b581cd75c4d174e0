//! The server that every client is measured against: one thread, one fixed response, no parsing
//! beyond the end of the head. It counts what it accepts, which is the truth about connections.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::{ServerConfig, ServerConnection};

use crate::clients::Failure;
use crate::{place, tls};

/// Runs until standard input ends, so that whoever started it cannot leave it behind. Prints its
/// port in the first line, then the certificate of its authority if it speaks TLS, and at its end the
/// number of accepted connections.
pub(crate) fn serve(body_bytes: usize, with_tls: bool, with_gzip: bool) -> Result<(), Failure> {
    // So that a profile of a measurement can tell the two processes apart.
    rustix::thread::set_name(c"bench-server")?;
    place::raise_file_limit();
    place::pin(&[place::server_core()]);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // Listening again lengthens the queue: 1000 clients connect at once.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    let tls = if with_tls { Some(tls::issue()?) } else { None };
    println!("{}", listener.local_addr()?.port());
    if let Some((_, authority_pem)) = &tls {
        print!("{authority_pem}");
    }

    let response = if with_gzip { compressed(body_bytes)? } else { plain(body_bytes) };
    let mut server = Server::new(response, listener, tls.map(|(config, _)| config))?;
    server.run()?;
    println!("{}", server.accepted);
    Ok(())
}

fn plain(body_bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body_bytes}\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.resize(response.len() + body_bytes, b'x');
    response
}

/// A list of records as a service sends it, in gzip: about a fifth of its size.
fn compressed(body_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut body = String::from("[");
    let mut state = 1_u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    while body.len() < body_bytes {
        let (id, name, price) = (number(), number() % 1000, number() % 10_000);
        let record = format!(r#"{{"id":{id},"name":"item {name}","price":{price},"stock":true}},"#);
        body.push_str(&record);
    }
    body.truncate(body_bytes);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes())?;
    let coded = encoder.finish()?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
         content-length: {}\r\n\r\n",
        coded.len()
    );
    Ok([head.as_bytes(), &coded].concat())
}

struct Server {
    listener: TcpListener,
    epoll: std::os::fd::OwnedFd,
    response: Vec<u8>,
    tls: Option<Arc<ServerConfig>>,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    accepted: u64,
}

impl Server {
    fn new(
        response: Vec<u8>,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        watch(&epoll, &listener, EventFlags::IN)?;
        watch(&epoll, &io::stdin(), EventFlags::IN)?;
        Ok(Self { listener, epoll, response, tls, connections: Vec::new(), accepted: 0 })
    }

    fn run(&mut self) -> io::Result<()> {
        let listener = token(&self.listener);
        let stdin = token(&io::stdin());
        let mut events = Vec::with_capacity(1024);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    token if token == listener => self.accept()?,
                    token if token == stdin => {
                        // Nothing is ever written to it: this is its end. What still waits in the
                        // queue was opened too.
                        return self.accept();
                    }
                    token => self.attend(usize::try_from(token).unwrap_or(usize::MAX)),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.accepted += 1;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let place = stream.as_raw_fd().cast_unsigned() as usize;
            watch(&self.epoll, &stream, EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
            if self.connections.len() <= place {
                self.connections.resize_with(place + 1, || None);
            }
            let tls = match &self.tls {
                Some(config) => {
                    Some(ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?)
                }
                None => None,
            };
            self.connections[place] = Some(Connection::new(stream, tls));
        }
    }

    fn attend(&mut self, place: usize) {
        let Some(slot) = self.connections.get_mut(place) else { return };
        let Some(connection) = slot else { return };
        // A failure was seen by the client too, which is measured.
        let served = if connection.tls.is_some() {
            connection.serve_tls(&self.response)
        } else {
            connection.serve(&self.response)
        };
        if !served.unwrap_or(false) {
            *slot = None;
        }
    }
}

struct Connection {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// How much of the `\r\n\r\n` that ends a request has arrived.
    matched: usize,
    /// Responses to be written.
    owed: usize,
    /// How much of the first of them is written.
    offset: usize,
}

impl Connection {
    fn new(stream: TcpStream, tls: Option<ServerConnection>) -> Self {
        Self { stream, tls: tls.map(Box::new), matched: 0, owed: 0, offset: 0 }
    }

    /// The same over TLS: reads records until the socket is empty, then writes what is owed, as much
    /// at a time as rustls takes.
    fn serve_tls(&mut self, response: &[u8]) -> io::Result<bool> {
        let Some(mut tls) = self.tls.take() else { return Ok(false) };
        let mut open = true;
        while open {
            match tls.read_tls(&mut self.stream) {
                Ok(0) => open = false,
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                    self.take_all(&mut tls)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while open && (self.owed > 0 || tls.wants_write()) {
            if self.owed > 0 {
                self.offset += tls.writer().write(&response[self.offset..])?;
                if self.offset == response.len() {
                    self.owed -= 1;
                    self.offset = 0;
                }
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.tls = Some(tls);
                        return Ok(true);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.tls = Some(tls);
        Ok(open)
    }

    fn take_all(&mut self, tls: &mut ServerConnection) -> io::Result<()> {
        let mut input = [0; 2 << 10];
        loop {
            match tls.reader().read(&mut input) {
                Ok(0) => return Ok(()),
                Ok(length) => input[..length].iter().for_each(|&byte| self.take(byte)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes and reads as far as the socket goes. False once the client has closed.
    ///
    /// One read and one write for a request: a read that does not fill its room has emptied the
    /// socket, and whatever comes later is an event of its own. A slower server would be what is
    /// measured: a client that waits for it sleeps more often, and pays for each waking.
    fn serve(&mut self, response: &[u8]) -> io::Result<bool> {
        let mut input = [0; 2 << 10];
        let mut emptied = false;
        loop {
            while self.owed > 0 {
                match self.stream.write(&response[self.offset..]) {
                    Ok(written) => self.offset += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
                if self.offset == response.len() {
                    self.owed -= 1;
                    self.offset = 0;
                }
            }
            if emptied {
                return Ok(true);
            }
            match self.stream.read(&mut input) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    emptied = length < input.len();
                    for &byte in &input[..length] {
                        self.take(byte);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, byte: u8) {
        self.matched = match (byte, self.matched) {
            (b'\r', 2) => 3,
            (b'\r', _) => 1,
            (b'\n', 1) => 2,
            (b'\n', 3) => {
                self.owed += 1;
                0
            }
            _ => 0,
        };
    }
}

fn watch(epoll: impl AsFd, source: &(impl AsFd + AsRawFd), flags: EventFlags) -> io::Result<()> {
    Ok(epoll::add(epoll, source, EventData::new_u64(token(source)), flags)?)
}

fn token(source: &impl AsRawFd) -> u64 {
    u64::from(source.as_raw_fd().cast_unsigned())
}
