//! Requests to a page as a test needs them: one a connection, read to its end.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::common::PATIENCE;

/// Opens a connection that gives up in the end.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a response to the end of its connection.
pub(crate) fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset behind the response ends it too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Gets a path by HTTP/1.0; returns the status and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
    let response = read(&mut stream);
    let status = response.get(9..12).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{response:?}"));
    (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// The samples of a page, by name and labels as they are written.
pub(crate) fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

/// Sums the samples of a metric whose labels contain all of `labels`.
pub(crate) fn sum(samples: &BTreeMap<String, f64>, metric: &str, labels: &[&str]) -> f64 {
    let is_wanted = |name: &str| {
        let (found, rest) = name.split_once('{').unwrap_or((name, ""));
        found == metric && labels.iter().all(|label| rest.contains(label))
    };
    samples.iter().filter(|(name, _)| is_wanted(name)).map(|(_, value)| value).sum()
}
