//! Failed requests as data: a closed list of classes, the errno where there is one, when it
//! happened first and last, and one example. Owns the words and the hints for them; decides
//! nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a request failed. A response with any status code is not a failure: it is a completed
/// exchange, counted by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// No connection could be opened for it; the errno says why. Every address has been tried.
    Connect,
    /// The TLS handshake failed, or a record could not be read.
    Tls,
    /// The timeout passed before a connection for it was established, TLS included.
    ConnectTimeout,
    /// The timeout passed before the last byte of the response, on an established connection.
    Timeout,
    /// The peer's RST came before the first byte of the response.
    ResetBeforeResponse,
    /// The peer's RST came within the response.
    ResetWithinResponse,
    /// The peer's FIN came before the first byte of the response, on a connection that had not
    /// served a request before.
    EofOnNew,
    /// The peer's FIN came before the first byte of the response, on a connection that had served
    /// requests before: the server closed it just as it was used again. It is neither hidden nor
    /// sent again.
    EofOnReused,
    /// The peer's FIN came within the response, head or body.
    EofWithinResponse,
    /// The bytes are not a response whose end can be known (RFC 9112, section 6.3).
    BadFraming,
    /// The response's head, or its trailers, exceed 64 KiB or 100 fields.
    TooLarge,
    /// Writing the request failed with this errno, and no complete response had come.
    Write,
    /// Reading the response failed with this errno, which is not the peer's RST.
    Read,
    /// The run was over, and its grace with it, before the last byte of the response: how long it
    /// would have taken is not known, only that it was longer than that.
    Unanswered,
}

impl ErrorClass {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 14] = [
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
        Self::Read,
        Self::Unanswered,
    ];

    /// A stable name for machines.
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
            Self::Read => "read",
            Self::Unanswered => "unanswered",
        }
    }

    /// What the class usually means, and what to do about it.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::ConnectTimeout => {
                Some("nobody answered: a firewall drops the packets, or the listen queue overflows")
            }
            Self::Tls => Some(
                "is it an https port, and its certificate signed by one that is trusted? --ca-cert \
                 names another, --insecure trusts anybody",
            ),
            Self::Timeout => Some("the server is slower than --timeout, or has stopped"),
            Self::ResetBeforeResponse => Some(
                "the server aborted instead of answering: it crashed, closed with the request \
                 unread, or an idle timeout of its own hit just then",
            ),
            Self::EofOnNew => Some("the server accepts connections and closes them unanswered"),
            Self::EofOnReused => Some(
                "the server closed an idle connection just as it was used again: let its idle \
                 timeout be longer than the client's",
            ),
            Self::EofWithinResponse | Self::ResetWithinResponse => {
                Some("the server gave up within a response: look for a crash or a worker's timeout")
            }
            Self::Unanswered => Some(
                "requests in flight when a run ends have another second, or twice the longest \
                 service time of the run if that is longer: the server has stopped, or a run has \
                 to be longer (-z) to learn how slow it is",
            ),
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

    /// The number.
    pub fn raw(self) -> i32 {
        self.0
    }

    /// Its symbolic name, such as `ECONNREFUSED`, for the numbers that connections meet.
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
            (E::MFILE, "EMFILE"),
            (E::NETDOWN, "ENETDOWN"),
            (E::NETUNREACH, "ENETUNREACH"),
            (E::NFILE, "ENFILE"),
            (E::NOBUFS, "ENOBUFS"),
            (E::NOMEM, "ENOMEM"),
            (E::PERM, "EPERM"),
            (E::PIPE, "EPIPE"),
            (E::TIMEDOUT, "ETIMEDOUT"),
        ];
        let found = names.iter().find(|(errno, _)| errno.raw_os_error() == self.0);
        found.map(|(_, name)| *name)
    }

    /// What the number usually means for a load generator, and what to do about it.
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
                "nobody answered: a firewall drops the packets, or the listen queue overflows",
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
    /// The name, or `errno N` for a number without a known one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// What failed in the same way: class and errno. It names no port, so that thousands of failures
/// from thousands of ports are one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorKey {
    /// How the request failed.
    pub class: ErrorClass,
    /// The error number, where the operating system gave one.
    pub errno: Option<Errno>,
}

impl ErrorKey {
    /// What it usually means, and what to do about it: by the errno if it has one that is known,
    /// else by the class.
    pub fn hint(&self) -> Option<&'static str> {
        self.errno.and_then(Errno::hint).or_else(|| self.class.hint())
    }
}

/// The failures of one [`ErrorKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorStat {
    /// How many requests failed this way; never zero.
    pub count: u64,
    /// The first one, since the start of the run.
    pub first: Duration,
    /// The last one, since the start of the run.
    pub last: Duration,
    /// The first one in words.
    pub example: String,
}

/// Failures by key. Bounded by the number of classes and errnos, not by that of failures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    by_key: BTreeMap<ErrorKey, ErrorStat>,
}

impl Errors {
    /// Counts one failure; `example` is asked for only if it is the first of its kind.
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

    /// Adds the failures of `other`; of two examples the earlier one stays.
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

    /// All failures, ordered by class and errno.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorKey, &ErrorStat)> {
        self.by_key.iter().map(|(key, stat)| (*key, stat))
    }

    /// The number of failed requests.
    pub fn total(&self) -> u64 {
        self.by_key.values().map(|stat| stat.count).sum()
    }

    /// The number of failed requests of one class.
    pub fn of(&self, class: ErrorClass) -> u64 {
        let of_class = self.by_key.iter().filter(|(key, _)| key.class == class);
        of_class.map(|(_, stat)| stat.count).sum()
    }

    /// Whether no request failed.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(class: ErrorClass, errno: Option<rustix::io::Errno>) -> ErrorKey {
        ErrorKey { class, errno: errno.map(Errno::from_rustix) }
    }

    #[test]
    fn names_are_unique_and_every_class_is_listed() {
        let names: std::collections::BTreeSet<_> = ErrorClass::ALL.map(ErrorClass::as_str).into();
        assert_eq!(names.len(), ErrorClass::ALL.len());
    }

    #[test]
    fn merging_keeps_counts_and_the_earlier_example() {
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
    fn exhaustion_is_recognised_by_its_number() {
        use rustix::io::Errno as E;
        for errno in [E::MFILE, E::NFILE, E::ADDRNOTAVAIL, E::CONNREFUSED] {
            let errno = Errno::from_rustix(errno);
            assert!(errno.name().is_some() && errno.hint().is_some());
        }
        assert_eq!(Errno::from_rustix(E::MFILE).to_string(), "EMFILE");
        assert_eq!(Errno(9999).to_string(), "errno 9999");
    }
}
