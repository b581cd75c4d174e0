//! Failed requests as data: a closed list of classes, the errno if there is one, the time of the
//! first and the last failure, and one example. Owns the names and the hints; decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Protocol;

/// How a request failed. A response with any status code is not a failure; it is a completed
/// exchange, counted by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// No connection could be opened for the request; the errno says why. Every address was tried.
    Connect,
    /// The TLS handshake failed, or a record could not be read.
    Tls,
    /// The timeout passed before a connection was established, TLS included.
    ConnectTimeout,
    /// The timeout passed on an established connection, before the last byte of the response.
    Timeout,
    /// The peer's RST came before the first byte of the response.
    ResetBeforeResponse,
    /// The peer's RST came within the response.
    ResetWithinResponse,
    /// The peer's FIN came before the first byte of the response, on a connection that had not
    /// served a request before.
    EofOnNew,
    /// The peer's FIN came before the first byte of the response, on a connection that had served
    /// requests before: the server closed it just as it was used again. The failure is not hidden,
    /// and the request is not sent again.
    EofOnReused,
    /// The peer's FIN came within the head or the body of the response.
    EofWithinResponse,
    /// The end of the response cannot be known from its bytes (RFC 9112, section 6.3).
    BadFraming,
    /// The head or the trailers of the response exceed 64 KiB.
    TooLarge,
    /// Writing the request failed with this errno, and no complete response had arrived.
    Write,
    /// The body could not be read from its file while it was sent, or the file has become shorter
    /// than when the run began.
    Body,
    /// Reading the response failed with this errno, other than by the peer's RST.
    Read,
    /// The server refused the stream before any processing (REFUSED_STREAM of HTTP/2).
    StreamRefused,
    /// The server ended the stream with another code before the response was complete (HTTP/2).
    StreamReset,
    /// The server said by GOAWAY that it has not processed the request, and does not take it on this
    /// connection (HTTP/2).
    Unprocessed,
    /// The run and its grace ended before the last byte of the response. The response would have
    /// taken longer than that; how much longer is unknown.
    Unanswered,
}

impl ErrorClass {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 18] = [
        Self::Connect,
        Self::Tls,
        Self::ConnectTimeout,
        Self::Timeout,
        Self::ResetBeforeResponse,
        Self::ResetWithinResponse,
        Self::EofOnNew,
        Self::EofOnReused,
        Self::EofWithinResponse,
        Self::BadFraming,
        Self::TooLarge,
        Self::Write,
        Self::Body,
        Self::Read,
        Self::StreamRefused,
        Self::StreamReset,
        Self::Unprocessed,
        Self::Unanswered,
    ];

    /// Returns a stable name for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::ConnectTimeout => "connect_timeout",
            Self::Timeout => "timeout",
            Self::ResetBeforeResponse => "reset_before_response",
            Self::ResetWithinResponse => "reset_within_response",
            Self::EofOnNew => "eof_on_new",
            Self::EofOnReused => "eof_on_reused",
            Self::EofWithinResponse => "eof_within_response",
            Self::BadFraming => "bad_framing",
            Self::TooLarge => "too_large",
            Self::Write => "write",
            Self::Body => "body",
            Self::Read => "read",
            Self::StreamRefused => "stream_refused",
            Self::StreamReset => "stream_reset",
            Self::Unprocessed => "unprocessed",
            Self::Unanswered => "unanswered",
        }
    }

    /// Returns the usual meaning of the class, and a remedy.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::ConnectTimeout => Some(
                "no answer came: a firewall drops the packets, or the listen queue overflows; with \
                 https://, the port may not speak TLS",
            ),
            Self::Tls => Some(
                "is it an https port, and its certificate signed by a trusted authority? --ca-cert \
                 names another authority, --insecure trusts any certificate",
            ),
            Self::Timeout => Some("the server is slower than --timeout, or has stopped"),
            Self::ResetBeforeResponse => Some(
                "the server aborted instead of answering: it crashed, closed with the request \
                 unread, or its idle timeout ended just then",
            ),
            Self::EofOnNew => Some(
                "the server accepts connections and closes them unanswered: does the port speak \
                 TLS (https://), or is it another service's, such as a database's?",
            ),
            Self::EofOnReused => Some(
                "the server closed an idle connection just as it was used again: let its idle \
                 timeout be longer than the client's",
            ),
            Self::EofWithinResponse | Self::ResetWithinResponse => {
                Some("the server gave up within a response: look for a crash or a worker's timeout")
            }
            Self::Unanswered => Some(
                "requests in flight when a run ends have another second, or twice the longest \
                 service time of the run if that is longer: the server has stopped, or is slower \
                 than that; a longer run (-z) shows how slow",
            ),
            Self::StreamRefused => Some(
                "the server has as many streams as it takes: ask for fewer --streams, or raise its limit \
                 on streams at once",
            ),
            Self::StreamReset => Some(
                "the server gave up on the request: its log says more; with ENHANCE_YOUR_CALM it sees \
                 too many resets or frames",
            ),
            Self::Unprocessed => Some(
                "the server ended its connection, perhaps after its limit of requests (nginx: \
                 keepalive_requests); clients send such a request again on another connection",
            ),
            Self::Body => {
                Some("the body's file must keep its length, and stay readable, while it is sent")
            }
            Self::Connect | Self::BadFraming | Self::TooLarge | Self::Write | Self::Read => None,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error number of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(i32);

impl Errno {
    pub(crate) fn from_rustix(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }

    /// Returns the number.
    pub fn raw(self) -> i32 {
        self.0
    }

    /// Returns the symbolic name, such as `ECONNREFUSED`, of the numbers that connections meet.
    pub fn name(self) -> Option<&'static str> {
        use rustix::io::Errno as E;
        let names = [
            (E::ACCESS, "EACCES"),
            (E::ADDRINUSE, "EADDRINUSE"),
            (E::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
            (E::AGAIN, "EAGAIN"),
            (E::CONNABORTED, "ECONNABORTED"),
            (E::CONNREFUSED, "ECONNREFUSED"),
            (E::CONNRESET, "ECONNRESET"),
            (E::HOSTDOWN, "EHOSTDOWN"),
            (E::HOSTUNREACH, "EHOSTUNREACH"),
            (E::INVAL, "EINVAL"),
            (E::LOOP, "ELOOP"),
            (E::MFILE, "EMFILE"),
            (E::NETDOWN, "ENETDOWN"),
            (E::NETUNREACH, "ENETUNREACH"),
            (E::NFILE, "ENFILE"),
            (E::NOBUFS, "ENOBUFS"),
            (E::NOENT, "ENOENT"),
            (E::NOMEM, "ENOMEM"),
            (E::NOTDIR, "ENOTDIR"),
            (E::PERM, "EPERM"),
            (E::PIPE, "EPIPE"),
            (E::PROTOTYPE, "EPROTOTYPE"),
            (E::TIMEDOUT, "ETIMEDOUT"),
        ];
        let found = names.iter().find(|(errno, _)| errno.raw_os_error() == self.0);
        found.map(|(_, name)| *name)
    }

    /// Returns the usual meaning of the number for a load generator, and a remedy.
    pub fn hint(self) -> Option<&'static str> {
        use rustix::io::Errno as E;
        let hints = [
            (E::CONNREFUSED, "nothing listens on that port: is the server running?"),
            (
                E::MFILE,
                "this process has no file descriptor left: raise `ulimit -n` above the number of connections",
            ),
            (E::NFILE, "this host has no file descriptor left: raise fs.file-max"),
            (
                E::ADDRNOTAVAIL,
                "no local port is left towards this address: connections in TIME_WAIT hold them; \
                 keep connections alive, or widen net.ipv4.ip_local_port_range",
            ),
            (
                E::TIMEDOUT,
                "no answer came: a firewall drops the packets, or the listen queue overflows",
            ),
            (E::HOSTUNREACH, "no route leads to that host, or it does not answer"),
            (E::NETUNREACH, "no route leads to that network"),
            (E::NOBUFS, "the kernel has no memory left for sockets"),
        ];
        let found = hints.iter().find(|(errno, _)| errno.raw_os_error() == self.0);
        found.map(|(_, hint)| *hint)
    }
}

impl fmt::Display for Errno {
    /// Writes the name, or `errno N` for a number without a known name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// A kind of failure: class, errno, and the server's protocol if it is another one. Names no port, so that thousands of failures from thousands
/// of ports are one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ErrorKey {
    /// How the request failed.
    pub class: ErrorClass,
    /// The error number, where the operating system gave one.
    pub errno: Option<Errno>,
    /// The server's protocol, where its first bytes or its port show that it is not the one asked
    /// for.
    pub protocol: Option<Protocol>,
}

impl ErrorKey {
    /// Returns the usual meaning and a remedy: by the server's protocol if it is another one, by
    /// the errno if there is a known one, else by the class.
    pub fn hint(&self) -> Option<&'static str> {
        let by_errno = || self.errno.and_then(Errno::hint);
        self.protocol.map(Protocol::hint).or_else(by_errno).or_else(|| self.class.hint())
    }
}

/// The failures of one [`ErrorKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorStat {
    /// Number of requests that failed this way; never zero.
    pub count: u64,
    /// Time of the first failure, since the start of the run.
    pub first: Duration,
    /// Time of the last failure, since the start of the run.
    pub last: Duration,
    /// The first failure, in words.
    pub example: String,
}

/// Failures by key. Its size is bounded by the number of classes and errnos, not of failures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    by_key: BTreeMap<ErrorKey, ErrorStat>,
}

impl Errors {
    /// Counts one failure. Calls `example` only for the first failure of a kind.
    pub(crate) fn record(&mut self, key: ErrorKey, at: Duration, example: impl FnOnce() -> String) {
        let stat = self.by_key.entry(key).or_insert_with(|| ErrorStat {
            count: 0,
            first: at,
            last: at,
            example: example(),
        });
        stat.count += 1;
        stat.last = at;
    }

    /// Adds the failures of `other`. The earlier of two examples stays.
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, theirs) in other.by_key {
            let Some(ours) = self.by_key.get_mut(&key) else {
                self.by_key.insert(key, theirs);
                continue;
            };
            ours.count += theirs.count;
            ours.last = ours.last.max(theirs.last);
            if theirs.first < ours.first {
                ours.first = theirs.first;
                ours.example = theirs.example;
            }
        }
    }

    /// Lists the failures, ordered by class and errno.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorKey, &ErrorStat)> {
        self.by_key.iter().map(|(key, stat)| (*key, stat))
    }

    /// Returns the number of failed requests.
    pub fn total(&self) -> u64 {
        self.by_key.values().map(|stat| stat.count).sum()
    }

    /// Returns the number of failed requests of one class.
    pub fn of(&self, class: ErrorClass) -> u64 {
        let of_class = self.by_key.iter().filter(|(key, _)| key.class == class);
        of_class.map(|(_, stat)| stat.count).sum()
    }

    /// Returns true if no request failed.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(class: ErrorClass, errno: Option<rustix::io::Errno>) -> ErrorKey {
        ErrorKey { class, errno: errno.map(Errno::from_rustix), protocol: None }
    }

    #[test]
    fn every_class_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = ErrorClass::ALL.map(ErrorClass::as_str).into();
        assert_eq!(names.len(), ErrorClass::ALL.len());
    }

    #[test]
    fn merge_keeps_the_earlier_example() {
        let refused = key(ErrorClass::Connect, Some(rustix::io::Errno::CONNREFUSED));
        let second = Duration::from_secs(1);
        let (mut a, mut b) = (Errors::default(), Errors::default());
        a.record(refused, second * 2, || "late".into());
        a.record(refused, second * 5, || unreachable!("only the first is asked for"));
        b.record(refused, second, || "early".into());
        b.record(key(ErrorClass::Timeout, None), second * 9, || "slow".into());
        a.merge(b);
        assert_eq!((a.total(), a.of(ErrorClass::Connect)), (4, 3));
        let stat = a.iter().next().unwrap().1;
        assert_eq!((stat.first, stat.last), (second, second * 5));
        assert_eq!(stat.example, "early");
    }

    #[test]
    fn exhaustion_errnos_have_name_and_hint() {
        use rustix::io::Errno as E;
        for errno in [E::MFILE, E::NFILE, E::ADDRNOTAVAIL, E::CONNREFUSED] {
            let errno = Errno::from_rustix(errno);
            assert!(errno.name().is_some() && errno.hint().is_some());
        }
        assert_eq!(Errno::from_rustix(E::MFILE).to_string(), "EMFILE");
        assert_eq!(Errno(9999).to_string(), "errno 9999");
    }
}
