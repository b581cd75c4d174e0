//! Next steps that depend on no runtime: one entry for each situation, with its source.
//!
//! To add one, see "The knowledge base" in CONTRIBUTING.md. Settings of a runtime are in `advice`.

use super::{Situation, Step, source};

const fn step(
    situation: Situation,
    code: &'static str,
    text: &'static str,
    source: &'static str,
) -> Step {
    Step { situation, code, text, source }
}

/// The next steps.
pub const STEPS: &[Step] = &[
    step(
        Situation::BodiesUnreadOnHost,
        "D3",
        "read each response to its end before it is closed",
        source::RESET_UNREAD,
    ),
    step(
        Situation::ServerCloses,
        "D4-D6",
        "look at the server's keep-alive timeout, its limit of requests a connection, and whether it \
         answers Connection: close",
        source::HTTP_CONNECTIONS,
    ),
    step(
        Situation::ConnectsFail,
        "D9",
        "look whether the service listens, and whether its queue overflows (`nstat -az \
         TcpExtListenOverflows`)",
        source::SNMP_COUNTERS,
    ),
    step(
        Situation::Ipv4Only,
        "D9",
        "let the service listen on [::] as well, or have its clients call it by its IPv4 address instead \
         of a name such as localhost, which leads to IPv6 first",
        source::IPV6,
    ),
    step(
        Situation::HandshakesFailOnHost,
        "D9",
        "look whether the services that are called listen",
        source::SNMP_COUNTERS,
    ),
    step(
        Situation::AcceptQueueFullOnHost,
        "D9",
        "look for a listener with a full queue (`ss -ltn`: Recv-Q above Send-Q), and raise its \
         backlog and net.core.somaxconn",
        source::LISTEN,
    ),
    step(
        Situation::PortsRunOut,
        "D10",
        "keep connections, so that they need not be closed; until then widen \
         net.ipv4.ip_local_port_range, or set net.ipv4.tcp_tw_reuse=1 on the client",
        source::IP_SYSCTL,
    ),
    step(
        Situation::PortsRunOutInOneDump,
        "D10",
        "to see why they are closed, watch a while (--for 10s)",
        source::SOCK_DIAG,
    ),
    step(
        Situation::OneDump,
        "mixed",
        "one dump does not show the requests of a connection: watch a while, with --for 10s",
        source::SOCK_DIAG,
    ),
    step(
        Situation::AcceptQueueFull,
        "D9",
        "look why the program accepts slowly (a blocked event loop, all workers busy: `ss -ltn` shows \
         the queue as Recv-Q); then raise its backlog and net.core.somaxconn",
        source::LISTEN,
    ),
    step(
        Situation::GivenUp,
        "D13",
        "compare the client's deadline with the time that the server takes for these requests: make \
         the server faster, or shed load before the deadline, or give it more time; sharing the client \
         does not help",
        source::GRPC_DEADLINES,
    ),
    step(
        Situation::PeerSilent,
        "D14",
        "look for a peer that is gone, and a firewall, NAT or load balancer that forgot the connection \
         (`ss -tnoi` shows retrans and lastrcv); let idle connections end before the middlebox forgets \
         them, and set TCP_USER_TIMEOUT and SO_KEEPALIVE so that a dead peer is noticed",
        source::TCP_MAN,
    ),
    step(
        Situation::ClientClosesAtLimit,
        "D5",
        "the client closes first: look for its own limit of requests a connection; where it has none, \
         the answer says Connection: close, and the limit is the server's",
        source::HTTP_CONNECTIONS,
    ),
    step(
        Situation::LoadClosesAtLimit,
        "D5",
        "nothing at the server: the load closes each connection itself, as --requests-per-connection \
         says; leave that out, or raise it",
        source::HTTP_CONNECTIONS,
    ),
    step(
        Situation::ResetsOnPurposeOnHost,
        "D8",
        "look for the checks of a load balancer on this host, and for clients with SO_LINGER 0; level \
         L2 (root, tracefs) and the server's host know of which service they are",
        source::SOCKET_MAN,
    ),
];
