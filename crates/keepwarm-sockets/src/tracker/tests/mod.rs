//! The tracker against made-up rows and events: what real sockets on one host cannot show, such as
//! a client elsewhere, a late dump, a pair of addresses that is used twice.

mod folding;
mod passing_time;
mod port_view;

use std::net::SocketAddr;
use std::time::Duration;

use super::Tracker;
use crate::kernel::proc::sysctl::EphemeralPorts;
use crate::kernel::socket::{Socket, State, TcpInfo};
use crate::report::host::{HostReport, Scope};
use crate::tracker::window::Window;

const SERVER: &str = "10.0.0.1:80";
/// A client on another host.
const AWAY: &str = "192.0.2.7:40000";
/// A client at the server's own address.
const HERE: &str = "10.0.0.1:40000";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn tracker(scope: Scope) -> Tracker {
    let ephemeral = EphemeralPorts { low: 32768, high: 60999, reserved: 0 };
    Tracker::new(scope, Some(ephemeral), false)
}

fn socket(local: &str, remote: &str, state: State, cookie: u64) -> Socket {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    Socket {
        state,
        local: address(local),
        remote: address(remote),
        cookie,
        rqueue: 0,
        wqueue: 0,
        inode: 1,
        uid: 0,
        timer: 0,
        expires_ms: 0,
        interface: 0,
        info: None,
    }
}

/// The event of a socket whose FIN was acknowledged, or not.
fn died(local: &str, remote: &str, cookie: u64, fin_acked: bool, requests: u32) -> Socket {
    let syn = u64::from(remote.ends_with(":80"));
    let info = TcpInfo {
        bytes_sent: Some(100),
        bytes_retrans: Some(0),
        bytes_acked: Some(100 + syn + u64::from(fin_acked)),
        data_segs_out: Some(requests),
        data_segs_in: Some(requests),
        last_ack_recv_ms: Some(0),
        ..TcpInfo::default()
    };
    Socket { inode: 0, info: Some(info), ..socket(local, remote, State::Close, cookie) }
}

/// The event of a socket that was closed with SO_LINGER 0.
fn aborted(local: &str, remote_ip: &str, cookie: u64) -> Socket {
    Socket { wqueue: 65_538, ..died(local, &format!("{remote_ip}:0"), cookie, false, 0) }
}

fn time_wait(local: &str, remote: &str, age_ms: u32) -> Socket {
    let expires_ms = 60_000 - age_ms;
    Socket { expires_ms, timer: 3, inode: 0, ..socket(local, remote, State::TimeWait, 0) }
}

fn dump(tracker: &mut Tracker, now: u64, rows: &[Socket]) {
    tracker.begin_dump();
    rows.iter().for_each(|row| tracker.handle_row(row, ms(now)));
    tracker.end_dump(ms(now), false);
}

/// A tracker whose window began at 1000 ms with these sockets.
fn opened(scope: Scope, rows: &[Socket]) -> Tracker {
    let mut tracker = tracker(scope);
    dump(&mut tracker, 900, rows);
    tracker.handle_baseline();
    tracker.open_window(ms(1000));
    tracker
}

fn end(tracker: Tracker, now: u64) -> HostReport {
    let now = ms(now);
    tracker.finish(&Window {
        now,
        length: now,
        settled: true,
        time_waits_refused: None,
        lost_events: 0,
    })
}
