//! Stand-ins for systems other than Linux: opening fails as "unsupported".

use crate::error::{Error, Operation};

#[derive(Debug)]
pub(crate) enum Netlink {}

impl Netlink {
    pub(crate) fn open() -> Result<Netlink, Error> {
        Netlink::subscribe(0, None)
    }

    pub(crate) fn subscribe(_groups: u32, _port: Option<u16>) -> Result<Netlink, Error> {
        Err(Error::unsupported(Operation::OpenNetlink, "this system is not Linux"))
    }

    pub(crate) fn receive_buffer(&self) -> usize {
        match *self {}
    }

    pub(crate) fn port_id(&self) -> Result<u32, Error> {
        match *self {}
    }

    pub(crate) fn send(&self, _message: &[u8]) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn receive(&self, _buffer: &mut [u8]) -> Result<usize, i32> {
        match *self {}
    }

    pub(crate) fn receive_many(&self, _into: &mut Datagrams, _waits: bool) -> Result<(), i32> {
        match *self {}
    }
}

pub(crate) struct Datagrams;

impl Datagrams {
    pub(crate) fn new(_room: usize) -> Datagrams {
        Datagrams
    }

    pub(crate) fn within(_bytes: Vec<u8>) -> Datagrams {
        Datagrams
    }

    pub(crate) fn into_memory(self) -> Vec<u8> {
        Vec::new()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        false
    }
}

pub(crate) fn wait(
    _sockets: &[&Netlink],
    _waker: &Waker,
    _at_most: std::time::Duration,
    _ready: &mut Vec<bool>,
) -> Result<(), Error> {
    Err(Error::unsupported(Operation::ReadEvents, "this system is not Linux"))
}

pub(crate) fn enter(_namespace: &std::fs::File) -> Result<(), Error> {
    Err(Error::unsupported(Operation::EnterNamespace, "this system is not Linux"))
}

#[derive(Debug)]
pub(crate) struct Waker;

impl Waker {
    pub(crate) fn new() -> Result<Waker, Error> {
        Err(Error::unsupported(Operation::Watch, "this system is not Linux"))
    }

    pub(crate) fn wake(&self) {}
}

pub(crate) fn fence() -> Vec<u64> {
    Vec::new()
}

pub(crate) fn abort_on_close(_socket: &std::net::TcpStream) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

pub(crate) fn connect_from(
    _local: std::net::SocketAddr,
    _remote: std::net::SocketAddr,
) -> std::io::Result<std::net::TcpStream> {
    Err(std::io::ErrorKind::Unsupported.into())
}

pub(crate) fn monotonic_ns() -> u64 {
    0
}

pub(crate) fn boot_ns() -> u64 {
    0
}

pub(crate) fn thread_cpu() -> std::time::Duration {
    std::time::Duration::ZERO
}

pub(crate) fn open_nonblocking(_path: &std::path::Path) -> std::io::Result<std::fs::File> {
    Err(std::io::ErrorKind::Unsupported.into())
}
