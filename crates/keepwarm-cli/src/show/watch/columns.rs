//! The page of `keepwarm explain columns`: the meaning of each column of a watch's tables.

/// The page, 80 columns wide, without its last line end.
pub(crate) const PAGE: &str = "\
columns: what the table of `keepwarm watch` shows

Each row is a service, seen from one side of its connections: from the client,
which calls connect(2), or from the server. A connection within this host has a
socket on each side, so both sides have a row. \"We\" are the side of the row.

  open/s    connections established, a second
  close/s   connections ended, a second
  ours      of those, our FIN came first: we hold the TIME_WAIT
  theirs    the other side's FIN came first
  reset     ended by a reset, from either side, with no data unread
  unread    we closed with unread data, which makes the kernel reset: a body was
            not drained
  unclear   ended, but the evidence of how was gone when it was looked up; only
            shown where there is one
  failed    connects that were refused, or timed out
  req/conn  requests on a connection, median and most: segments with data from
            the client. With TLS, HTTP/2 or large uploads there are more
            segments than requests
  idle      time between the last data and the close, median
  life      time from established to closed, median (level L2)
  rtt       round trips of its connections: the least of all, and the median of
            the means that the kernel smooths
  retrans   segments that were sent again, by this side; only shown where there
            are any
  estab     connections in ESTABLISHED now
  t-wait    connections in TIME_WAIT now, held by this side
  c-wait    connections in CLOSE_WAIT now: the other side has closed, our
            program has not
  ports     local ports taken towards the service, TIME_WAIT included, from the
            source address that has taken most
  cliff     time until half of them are taken, and connect(2) gets slow. It is
            computed from the moments at which each TIME_WAIT ends, and from the
            closes of the last 5 s going on. \"past\": half are taken; \"no
            port\": all are, and connect(2) fails
  owner     the process that owns the connections, and its share of them: known
            from traces (root), from the listening socket, or from a dump that
            showed them open. JSON says from which

One dump (--once) counts nothing, and has instead:

  closed first, 60 s   TIME_WAITs held by this side: closes of the last minute
                       that this side began
  5 s                  those of the last 5 s

Where destroy events are refused (level L0) nothing is counted. Polls show:

  new/s         connections that an earlier poll did not see: a lower bound of
                those that were opened
  closed 1st/s  TIME_WAITs of ours that came: a lower bound of the connections
                that we closed first
  gone/s        connections that left no TIME_WAIT here: closed by the other
                side first, or reset
  kept          connections open for two seconds or more
  ?             this system does not report it";
