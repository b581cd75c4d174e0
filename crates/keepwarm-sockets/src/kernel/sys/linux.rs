//! Netlink sockets, a waker, clocks and fences, through rustix: every system call of this crate
//! except the reading of files.

use std::fs::File;
use std::io::IoSliceMut;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{
    Timeout, set_socket_linger, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force,
    set_socket_timeout, socket_cookie, socket_recv_buffer_size,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, sendto,
    socket_with,
};
use rustix::thread::{
    CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_getaffinity, sched_setaffinity,
};
use rustix::time::{ClockId, Timespec, clock_gettime};
use socket2::{SockFilter, SockRef};

use crate::error::{Error, Operation};
use crate::kernel::wire::event_filter::port_filter;

/// Requested receive buffer, enough for some 26,000 events; the kernel takes memory only for events
/// that wait. It doubles the requested size, and caps it at `net.core.rmem_max` unless root
/// requests it (`__sock_set_rcvbuf`, net/core/sock.c).
const WANTED_RECEIVE_BUFFER: usize = 16 << 20;

/// Longest wait for a reply. The kernel answers a dump while the caller waits in recv(2), so this
/// is reached only in a fault.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A `NETLINK_SOCK_DIAG` socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
}

impl Netlink {
    /// Opens a socket for dumps and lookups.
    pub(crate) fn open() -> Result<Netlink, Error> {
        let fail = |errno: Errno| Error::os(Operation::OpenNetlink, errno.raw_os_error());
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))
            .map_err(fail)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(fail)?;
        Ok(Netlink { fd })
    }

    /// Opens a socket and joins the multicast groups of the mask (bit n-1 is group n). Joining
    /// needs no privilege: `NL_CFG_F_NONROOT_RECV`, net/core/sock_diag.c. With `port` the kernel
    /// drops events that do not concern it, if it accepts the filter.
    pub(crate) fn subscribe(groups: u32, port: Option<u16>) -> Result<Netlink, Error> {
        let netlink = Netlink::open()?;
        // Set before the first message can arrive. Refusals are ignored: the default buffer stays,
        // and the reader drops foreign events itself.
        if set_socket_recv_buffer_size_force(&netlink.fd, WANTED_RECEIVE_BUFFER).is_err() {
            let _ = set_socket_recv_buffer_size(&netlink.fd, WANTED_RECEIVE_BUFFER);
        }
        if let Some(port) = port {
            let program = port_filter(port).map(|[code, yes, no, number]| {
                SockFilter::new(code as u16, yes as u8, no as u8, number)
            });
            let _ = SockRef::from(&netlink.fd).attach_filter(&program);
        }
        bind(&netlink.fd, &SocketAddrNetlink::new(0, groups))
            .map_err(|errno| Error::os(Operation::Subscribe, errno.raw_os_error()))?;
        Ok(netlink)
    }

    /// Returns the size of the receive buffer in bytes as the kernel counts it, its own overhead
    /// included.
    pub(crate) fn receive_buffer(&self) -> usize {
        socket_recv_buffer_size(&self.fd).unwrap_or(0)
    }

    /// Returns the port id that the kernel gave this socket, as /proc/net/netlink lists it.
    pub(crate) fn port_id(&self) -> Result<u32, Error> {
        let fail = |errno: Errno| Error::os(Operation::Subscribe, errno.raw_os_error());
        let address = getsockname(&self.fd).map_err(fail)?;
        Ok(SocketAddrNetlink::try_from(address).map_err(fail)?.pid())
    }

    /// Sends one message to the kernel.
    pub(crate) fn send(&self, message: &[u8]) -> Result<(), Error> {
        let kernel = SocketAddrNetlink::new(0, 0);
        retry_on_intr(|| sendto(&self.fd, message, SendFlags::empty(), &kernel))
            .map(|_| ())
            .map_err(|errno| Error::os(Operation::Dump, errno.raw_os_error()))
    }

    /// Receives one datagram and waits for it; the error is an errno.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Result<usize, i32> {
        match retry_on_intr(|| recv(&self.fd, &mut *buffer, RecvFlags::empty())) {
            Ok((_, length)) => Ok(length),
            Err(errno) => Err(errno.raw_os_error()),
        }
    }

    /// Receives the datagrams that are queued, as many as `into` has room for: by one call, for entering
    /// the kernel costs as much as copying a datagram. Waits for the first one if `waits`, else fails with
    /// `EAGAIN` where there is none. Fewer than there is room for: no more were queued.
    pub(crate) fn receive_many(&self, into: &mut Datagrams, waits: bool) -> Result<(), i32> {
        let flags = if waits { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT };
        loop {
            match self.receive_once(into, flags) {
                Err(nix::errno::Errno::EINTR) => {}
                done => return done.map_err(|errno| errno as i32),
            }
        }
    }

    fn receive_once(&self, into: &mut Datagrams, flags: MsgFlags) -> nix::Result<()> {
        let Datagrams { headers, bytes, lengths } = into;
        lengths.clear();
        let mut places: Vec<[IoSliceMut<'_>; 1]> =
            bytes.chunks_mut(DATAGRAM_LEN).map(|place| [IoSliceMut::new(place)]).collect();
        let received = recvmmsg(self.fd.as_raw_fd(), headers, places.iter_mut(), flags, None)?;
        lengths.extend(received.map(|one| one.bytes));
        Ok(())
    }
}

/// Bytes of a datagram that carries one socket: some 380 on Linux 6.18, growing with `tcp_info`.
const DATAGRAM_LEN: usize = 2 << 10;

/// Datagrams that are received by one call, and the memory for them. Belongs to one thread.
pub(crate) struct Datagrams {
    headers: MultiHeaders<()>,
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

impl Datagrams {
    /// Makes room for so many.
    pub(crate) fn new(room: usize) -> Datagrams {
        Datagrams::within(vec![0; room * DATAGRAM_LEN])
    }

    /// Makes room for as many as these bytes can hold.
    pub(crate) fn within(bytes: Vec<u8>) -> Datagrams {
        let room = bytes.len() / DATAGRAM_LEN;
        let headers = MultiHeaders::preallocate(room, None);
        Datagrams { headers, bytes, lengths: Vec::with_capacity(room) }
    }

    /// Returns the bytes.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    /// Iterates over those that were received last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(DATAGRAM_LEN).zip(&self.lengths).map(|(place, length)| &place[..*length])
    }

    /// Returns whether there was room for no more.
    pub(crate) fn is_full(&self) -> bool {
        self.lengths.len() * DATAGRAM_LEN >= self.bytes.len()
    }
}

/// Sleeps until a message can be received from one of these sockets, the waker is used or `at_most` is
/// over. Replaces the contents of `ready`: for each socket, in their order, whether a message can be
/// received or an error fetched.
pub(crate) fn wait(
    sockets: &[&Netlink],
    waker: &Waker,
    at_most: Duration,
    ready: &mut Vec<bool>,
) -> Result<(), Error> {
    let mut fds = vec![PollFd::new(&waker.fd, PollFlags::IN)];
    fds.extend(sockets.iter().map(|socket| PollFd::new(&socket.fd, PollFlags::IN)));
    let timeout = Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    retry_on_intr(|| poll(&mut fds, Some(&timeout)))
        .map_err(|errno| Error::os(Operation::ReadEvents, errno.raw_os_error()))?;
    waker.forget();
    ready.clear();
    // POLLERR on a netlink socket means ENOBUFS, which the next receive fetches.
    ready.extend(fds[1..].iter().map(|fd| !fd.revents().is_empty()));
    Ok(())
}

/// Moves the calling thread into a network namespace. Takes `CAP_SYS_ADMIN`.
pub(crate) fn enter(namespace: &File) -> Result<(), Error> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::os(Operation::EnterNamespace, errno.raw_os_error()))
}

/// Ends the sleep of a thread that [`wait`]s, or its next one.
#[derive(Debug)]
pub(crate) struct Waker {
    fd: OwnedFd,
}

impl Waker {
    pub(crate) fn new() -> Result<Waker, Error> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(|fd| Waker { fd })
            .map_err(|errno| Error::os(Operation::Watch, errno.raw_os_error()))
    }

    pub(crate) fn wake(&self) {
        // Fails only if the counter would overflow; then the other thread is awake already.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    fn forget(&self) {
        // Fails if the waker was not used.
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

/// Closes a new socket on every CPU that this thread may run on, and returns the cookies of these
/// sockets.
///
/// Destroy events come from a work queue with one line per CPU (`sock_diag_events`,
/// net/core/sock_diag.c): in order within a CPU, in no order between CPUs. Once the event of a
/// fence has arrived, the events of all sockets that died earlier on its CPU have arrived too. The
/// socket is never bound and takes no port.
///
/// Moves the calling thread from CPU to CPU and back, so the caller should own the thread.
pub(crate) fn fence() -> Vec<u64> {
    let Ok(allowed) = sched_getaffinity(None) else {
        return die_here().into_iter().collect();
    };
    let mut cookies = Vec::new();
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)) {
        let mut only = CpuSet::new();
        only.set(cpu);
        // A sandbox may forbid it; then the fence is on the current CPU, better than no fence.
        let _ = sched_setaffinity(None, &only);
        cookies.extend(die_here());
    }
    let _ = sched_setaffinity(None, &allowed);
    cookies
}

/// Makes the socket's close send an RST (SO_LINGER 0).
pub(crate) fn abort_on_close(socket: &TcpStream) -> std::io::Result<()> {
    set_socket_linger(socket, Some(Duration::ZERO)).map_err(Into::into)
}

/// Connects from a local address that was used a moment ago.
pub(crate) fn connect_from(
    local: std::net::SocketAddr,
    remote: std::net::SocketAddr,
) -> std::io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(remote);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    socket.connect(&remote.into())?;
    Ok(socket.into())
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds, the clock of trace records.
pub(crate) fn monotonic_ns() -> u64 {
    let (seconds, ns) = split(clock_gettime(ClockId::Monotonic));
    seconds * 1_000_000_000 + ns
}

/// Returns the time since the boot, which goes on while the machine is suspended.
pub(crate) fn boot_ns() -> u64 {
    let (seconds, ns) = split(clock_gettime(ClockId::Boottime));
    seconds * 1_000_000_000 + ns
}

/// Returns the processor time that this thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let (seconds, ns) = split(clock_gettime(ClockId::ThreadCPUTime));
    Duration::from_secs(seconds) + Duration::from_nanos(ns)
}

fn split(time: Timespec) -> (u64, u64) {
    (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Opens a file for reads that fail with `WouldBlock` instead of waiting.
pub(crate) fn open_nonblocking(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

fn die_here() -> Option<u64> {
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    socket_cookie(&socket).ok()
}
