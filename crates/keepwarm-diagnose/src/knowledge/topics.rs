//! The pages of `keepwarm explain`, besides one for each runtime.

use super::Topic;

/// The pages of `keepwarm explain`, besides one for each runtime.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "D1",
        title: "a client for each request",
        text: "The client opens a connection, sends one request on it, and closes it first. Each \
               connection holds a local port for 60 s (TIME_WAIT), and costs a handshake.\n\n\
               How it shows: one request a connection, closed by the client within milliseconds of \
               its last byte. If the program never closes its pools, connections with one request \
               each pile up instead.\n\n\
               How it differs from D6: there the client, or the server, says Connection: close, \
               and \
               either may close first.\n\n\
               What it is not: a session for each call of a command-line program (curl, psql) is \
               D1 by design; a stream that ends (server-sent events, WebSockets) has a connection \
               of its own; a deadline that ends requests is D13; an idle timeout that is far apart \
               from bursts is D11.\n\n\
               What would refute it: connections that carry a second request, or a server that \
               closes first.",
    },
    Topic {
        name: "D2",
        title: "fewer connections may idle than are used at once",
        text: "A burst opens as many connections as there are requests at once. When they return, \
               the pool keeps a few and closes the rest, which the next burst opens again.\n\n\
               How it shows: the client closes connections within milliseconds of their last byte, \
               some carried one request and a few carried many, and after each burst the same \
               small \
               number is left: 2 names Go, 10 requests, 5 Java, 20 httpx.\n\n\
               What it is not: a client without a pool keeps none (D1), but beside another \
               client's pool it looks like this, if each closed connection carried one request: \
               as root, traces say which process closes; a pool whose size is the load's own is \
               no fault.\n\n\
               What would refute it: closes long after the last byte (D4, D11), or no small \
               number that is left again and again.",
    },
    Topic {
        name: "D3",
        title: "a body that is not read to its end",
        text: "A client that closes a response before it has read the body cannot use the \
               connection again. The kernel answers data that the program will not read with an \
               RST (RFC 2525, section 2.17).\n\n\
               How it shows: at the client, closes with more data unread than a farewell of TLS \
               takes (close_notify, 85 bytes at most); at the server, answers of which a part \
               was sent and never acknowledged. Resets alone are a guess. As root, with a \
               client on this host, the kernel's traces say why: TCP_ABORT_ON_CLOSE is data \
               unread at the close; TCP_ABORT_ON_DATA is data that came after it, which is the \
               rest of a body, a late answer or a farewell; TCP_STATE is a connection ended on \
               purpose (SO_LINGER 0), which is not this finding.\n\n\
               What it is not: a request that was given up before its answer began is D13; a \
               reset on purpose after a whole answer is D1, or a health check (D8); a \
               close_notify that was left unread is the server's close.\n\n\
               What would refute it: no data unread at the closes, and counters TCPAbortOnClose \
               and TCPAbortOnData that do not rise.",
    },
    Topic {
        name: "D4",
        title: "the server's keep-alive timeout is shorter than the client's",
        text: "The server closes idle connections before the client does. That costs connections; \
               and \
               a request that is written in the moment of the close fails (ECONNRESET, 502), the \
               more \
               often the less traffic there is.\n\n\
               How it shows: the server closes first, always after the same idle time, and that \
               time \
               names the server. As root, traces also count the requests that were written after \
               the \
               server's FIN: each of them failed, or had to be sent again. The rule: each hop's \
               server timeout is longer than its client's.\n\n\
               What it is not: a restart closes all at once, so the finding is less sure where \
               each connection ended once; a limit of requests (D5) closes \
               right after an answer; a client's own timeout is D11.\n\n\
               What would refute it: idle times at the close that differ, or a client that closes \
               first.",
    },
    Topic {
        name: "D5",
        title: "a limit of requests on each connection",
        text: "The server closes each connection after a fixed number of requests: 1000 is \
               nginx, 100 Apache and Tomcat. Harmless when the number is large.\n\n\
               How it shows: closes at once after an answer, most of them after the same number \
               of requests, each connection replaced many times. Either side may send the first \
               FIN. Where only bounds of the number are known (long bodies, losses), the \
               finding is less sure.\n\n\
               What it is not: one request behind a TLS handshake and the settings of HTTP/2 \
               takes up to eight messages, the same each time: up to that number it is D1 or \
               D6, and so is one large request, of many segments. A lifetime of connections (D11) leaves about the same number where requests \
               are steady: unless the number is round, or traces show that ages differ, the finding \
               is less sure. A client that makes each pool for a number of requests shows the same \
               number: its settings tell.\n\n\
               What would refute it: numbers of requests that differ from connection to \
               connection.",
    },
    Topic {
        name: "D6",
        title: "Connection: close, or HTTP/1.0",
        text: "One request a connection, because one of the two says so. The side that closes \
               first \
               need not be the side that said it: a client that sends Connection: close mostly \
               sees the server's FIN \
               first.\n\n\
               How it shows: one request on each connection, closed by FIN within moments of the \
               answer, and not by the client alone (that is D1).\n\n\
               How to tell: look at one exchange, `curl -v` to the server (does it answer \
               Connection: \
               close, or HTTP/1.0?), and one request of the client (does it send Connection: \
               close?).\n\n\
               What it is not: a client made for each request (D1) closes by itself, and says \
               nothing of it.\n\n\
               What would refute it: an exchange without a Connection: close on either side and \
               in HTTP/1.1.",
    },
    Topic {
        name: "D4-D6",
        title: "the server closes first, and polls cannot show why",
        text: "At level L0 no close is counted, so neither idle times nor requests are known: the \
               server's keep-alive timeout (D4), its limit of requests a connection (D5) and \
               Connection: close (D6) look the same.\n\n\
               How it shows: TIME_WAITs at the server, or connections that vanish at the client \
               without one.\n\n\
               How to tell: level L1 or L2, see `keepwarm explain levels`.\n\n\
               What it is not: resets leave no TIME_WAIT on either side and look like this at the \
               client; a client that closes first (D1, D2, D11) holds the TIME_WAITs itself.\n\n\
               What would refute it: TIME_WAITs at the client (`ss -tan state time-wait`), or \
               closes that level L1 counts as the client's.",
    },
    Topic {
        name: "D7",
        title: "connections that the program does not close",
        text: "The peer has closed, and the program has not: CLOSE_WAIT, for as long as it lives. \
               A \
               number that grows is a leak (a response that was never closed); a number that \
               stays is \
               a pool that checks a connection only when it needs one.\n\n\
               How it shows: CLOSE_WAIT at the end of the window is above that at its start by \
               more than the program closed meanwhile; in one dump, a hundred and more.\n\n\
               What it is not: CLOSE_WAITs that turn over are a pool that checks late: as many \
               are closed as come. Long streams are in ESTABLISHED.\n\n\
               What would refute it: a number that stays or falls in a longer watch, or the \
               program's closes after the peer's FIN.",
    },
    Topic {
        name: "D8",
        title: "connections without a request",
        text: "Probes: a load balancer or a monitor that connects and closes, often by RST. \
               Left out of the verdict on the rest.\n\n\
               How it shows: most of the closed connections carried no data in either \
               direction; or one short request each, ended by a reset on purpose (SO_LINGER 0), \
               as the HTTP checks of HAProxy do. The kernel forgets the port of such a \
               connection at the client: at level L1 it is in no row, and the finding is about \
               the host.\n\n\
               What it is not: a port scan shows refused connects too (D9); a client that sends \
               a part of a request and waits (slowloris) is D13; a client that resets each \
               connection after its answer is D1.\n\n\
               What would refute it: data on the connections, or an answer that a program waits \
               for.",
    },
    Topic {
        name: "D9",
        title: "connects that fail",
        text: "No program listens, the queue of the listener is full, or a firewall is in the \
               way. With no \
               local port left connect(2) fails too, without a packet.\n\n\
               How it shows: sockets that die in SYN_SENT; at a server, connections that wait for \
               accept(2), with the length of the queue and its bound, and the host's counter of \
               overflows.\n\n\
               What it is not: requests that fail after the handshake are not connects: see \
               D13.\n\n\
               What would refute it: counters AttemptFails and TcpExtListenOverflows that do not \
               rise.",
    },
    Topic {
        name: "D10",
        title: "local ports run out",
        text: "Towards one service a source address has as many connections as \
               net.ipv4.ip_local_port_range has ports (28,232 by default), TIME_WAIT of the client \
               included. At half of them connect(2) gets slow: it first tries only every second \
               port, \
               and then searches long. At all of them it fails: cannot assign requested \
               address.\n\n\
               Closing first at more than ports / 60 s (470 a second) for a minute gets there. The \
               cure is to keep connections. Until then: a wider ip_local_port_range, or \
               net.ipv4.tcp_tw_reuse=1 on the client.\n\n\
               How it shows: the number of ports that one source address has taken towards one \
               service, and the rate of the last seconds as a forecast.\n\n\
               What it is not: TIME_WAIT at a server takes no port. Ports are counted for each \
               remote address and port, so the sum over several says nothing.\n\n\
               What would refute it: a count below a third of the range for each single \
               destination.",
    },
    Topic {
        name: "D11",
        title: "connections that are meant to end",
        text: "Closed by their owner's own idle timeout or lifetime: nothing to do.\n\n\
               How it shows: the client closes first, most closes after the same idle time of a \
               second and more; or, as root, connections that end right after an answer at the \
               same age, after differing numbers of requests.\n\n\
               What it is not: the end of a program closes all at once; pools that are thrown away and collected later (D1) idle beside \
               new connections; a deadline with an answer due is D13.\n\n\
               What would refute it: new connections that are opened while as many idle.",
    },
    Topic {
        name: "D12",
        title: "few long connections, whose requests cannot be counted",
        text: "HTTP/2, gRPC and proxies carry many requests at once on few connections. No churn, \
               and \
               nothing to set; but segments are not requests there, so none are counted. A load of \
               its own (`keepwarm load --http2 --watch PORT`) knows its requests, and the finding \
               has them.\n\n\
               How it shows: a few connections stay open, next to none is opened or closed for \
               what \
               goes over them, and more segments with data go to the server than come back. In \
               HTTP/1.1 each request waits for its answer, which is a segment at least; a request \
               with a long body shows like this too.\n\n\
               What it is not: a client that uploads long bodies, or a stream that the server \
               sends.\n\n\
               What would refute it: an answer for each segment that goes to the server, and \
               connections that are opened and closed.",
    },
    Topic {
        name: "D13",
        title: "requests that are given up before their answer",
        text: "The client sent a request and received nothing, or closed while an answer was \
               due: its deadline, a cancellation, or a server that does not answer. The \
               commonest churn under overload: each request given up costs its connection, and \
               the next one a handshake.\n\n\
               How it shows: closed connections on which data went to the server and none came \
               back; closes by the client after a time of waiting, and where that time is the \
               same, it is the deadline; at the server, answers of which nothing was \
               acknowledged, for the client had left. Behind a farewell of TLS the close itself \
               does not show it: then the connections that a dump met while the client waited \
               do. At a server also: many open connections that have sent data and got no \
               answer (a server that hangs, or slow clients).\n\n\
               What it is not: a client for each request (D1) has its answer before it closes; \
               a body that is not read (D3) has begun to come; a farewell of the protocol \
               (QUIT, close_notify) is followed by the close at once, within 70 ms. A protocol \
               without answers (lines of a log) looks like this without any waiting, and so does a \
               server that hangs up: then the finding is less sure.\n\n\
               What would refute it: answers on those connections, and a client without a \
               deadline that is as short as the times of waiting.",
    },
    Topic {
        name: "D14",
        title: "the peer is silent",
        text: "Data, a FIN or keep-alive probes go to the peer, and nothing is acknowledged: a \
               host \
               that is gone, a cable, or a firewall, NAT or load balancer that forgot the \
               connection. \
               Such a connection looks open; a request on it hangs until the kernel gives up, \
               after a \
               quarter of an hour by default (net.ipv4.tcp_retries2).\n\n\
               How it shows: open sockets with retransmitted data and a long time since they \
               received \
               anything, or with three retransmissions in a row of which none is acknowledged, \
               although segments come (a firewall may drop one direction); and sockets that stay in FIN_WAIT1, LAST_ACK or CLOSING.\n\n\
               What it is not: a slow server acknowledges at once, and answers late (D13); a \
               network \
               that loses some segments has few retransmissions, and goes on.\n\n\
               What would refute it: acknowledgements (`ss -tnoi`: lastack is small, retrans is \
               0).",
    },
    Topic {
        name: "healthy",
        title: "connections are kept",
        text: "How it shows: many requests on each connection, and few closes for what was \
               carried; or streams \
               (server-sent events, WebSockets, subscriptions) over which the server sends again \
               and \
               again, and next to none of which closes.\n\n\
               Requests are counted by their lower bound: the segments of a long body are no \
               requests.\n\n\
               What it is not: an absence of evidence (mixed). Resets with a request under way, \
               requests \
               without an answer and sockets with a silent peer rule it out, however many \
               requests went \
               well.\n\n\
               What would refute it: errors that the callers report.",
    },
    Topic {
        name: "mixed",
        title: "no single cause, or not enough evidence",
        text: "How it shows: fewer than 30 closes, or none of the causes has four fifths of them; \
               or what a cause would rest on was lost, or is not reported by this kernel, and the \
               finding says so. Watch longer, or one destination at a time.\n\n\
               What it is not: a sign of health. Two causes at once (probes beside a pool, two \
               clients of one service) are mixed too.\n\n\
               What would refute it: a watch of one port, or of one process (--pid), that names \
               a cause.",
    },
    Topic {
        name: "time-wait",
        title: "what TIME_WAIT is, and which side has it",
        text: "The side that closes first keeps the four-tuple for 60 s (TCP_TIMEWAIT_LEN, a \
               constant: \
               tcp_fin_timeout does not change it). At a server it is harmless: 256 bytes. At a \
               client \
               each holds a local port: see D10.\n\n\
               Counting it is not counting closes: on loopback Linux reuses a client's after one \
               second (tcp_tw_reuse = 2), a new connection replaces a server's, and a reset leaves \
               none. `keepwarm watch` counts the closes themselves.",
    },
    Topic {
        name: "levels",
        title: "what the kernel lets us see",
        text: "L0, counters and polls, for any user on any system with /proc/net: the numbers of \
               connections opened, closed and reset on the whole host, open connections by \
               destination, local ports, and lower bounds of opens and closes from the differences \
               between two dumps of the socket table. Not: every close, its closer, its requests. \
               It remains where sock_diag is refused: a seccomp sandbox, gVisor, an old kernel.\n\n\
               L1, destroy events and dumps, for any user: every close with its closer, by FIN or \
               RST, \
               requests, idle time; opens by conservation. Not: the process of a connection too \
               short \
               to be seen alive, the name of a reset's reason, lifetimes. It takes Linux 4.19 with \
               inet_diag, and no rule against NETLINK_SOCK_DIAG.\n\n\
               L2, traces as well, for root: the process of every connection, lifetimes, why \
               resets \
               were sent.",
    },
];
