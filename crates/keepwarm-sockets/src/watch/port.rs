//! Watching one port: the account of [`PortWatch`].
//!
//! Owns the public face only: threads are `threads`', time is `schedule`'s, the bookkeeping is
//! `ledger`'s.

use std::time::Duration;

use crate::error::{Error, Operation};
use crate::kernel::dump::Filter;
use crate::kernel::socket::{Socket, States};
use crate::ledger::Ledger;
use crate::report::port::PortReport;
use crate::tracker::window::Window;
use crate::watch::threads::Threads;
use crate::watch::tracking::Books;

/// Watches the connections of one port, in both roles, until it is finished or dropped.
///
/// Needs no privilege. Its threads sleep while no socket of the port dies. Each TCP socket that
/// dies, of any port and for every watch, costs the kernel a message; one of the port costs this
/// process a recv(2), and while connections of the port close, a dump is made every 250 ms.
///
/// ```no_run
/// use std::time::Duration;
/// let watch = keepwarm_sockets::PortWatch::start(8081)?;
/// // ... load ...
/// let account = watch.finish(Duration::from_secs(1))?;
/// println!("opened {}, closed {:?}", account.opened, account.closed);
/// # Ok::<(), keepwarm_sockets::Error>(())
/// ```
#[derive(Debug)]
pub struct PortWatch {
    threads: Threads<Ledger>,
}

impl PortWatch {
    /// Subscribes to destroy events and takes the baseline; returns when the window has begun.
    /// Every connection opened after this returns is in the account.
    ///
    /// # Errors
    /// Port 0; a sandbox; a system without destroy events; no file descriptor or thread to be had;
    /// more than 2^20 sockets of the port already there.
    pub fn start(port: u16) -> Result<PortWatch, Error> {
        if port == 0 {
            return Err(Error::unsupported(Operation::Watch, "port 0 names no service"));
        }
        let filter =
            Filter { states: States::CONNECTED, either_port: Some(port), ..Filter::default() };
        let empty = PortReport { port, ..PortReport::default() };
        Threads::start(filter, Ledger::new(port), empty).map(|threads| PortWatch { threads })
    }

    /// The account so far, without asking the kernel. It lags by up to 350 ms while connections
    /// close; `opened` counts what the last dump saw, so connections that are only opened show
    /// when some connection of the port closes next, and all at the end.
    pub fn snapshot(&self) -> PortReport {
        let (account, lost_events) = self.threads.snapshot();
        PortReport { lost_events, ..account }
    }

    /// Waits until the port is at rest, at most `settle`, and closes the account.
    ///
    /// Rest is: no event for 50 ms and no socket of the port in SYN_SENT, SYN_RECV, FIN_WAIT,
    /// CLOSE_WAIT, LAST_ACK or CLOSING. Under load, or with a program that does not close what its
    /// peer closed, there is no rest, and the account is closed after `settle` with
    /// `settled: false`; it is exact all the same, only not complete: what is under way counts as
    /// alive.
    ///
    /// # Errors
    /// When reading events or dumping failed on the way.
    pub fn finish(self, settle: Duration) -> Result<PortReport, Error> {
        let (account, lost_events) = self.threads.finish(settle)?;
        Ok(PortReport { lost_events, ..account })
    }
}

impl Books for Ledger {
    type Account = PortReport;

    fn begin_look(&mut self) {
        self.begin_look();
    }

    fn handle_row(&mut self, row: &Socket, now: Duration) {
        self.handle_row(row, now);
    }

    fn end_look(&mut self, now: Duration, refused: bool) {
        self.end_look(now, refused);
    }

    fn alive_sockets(&self) -> usize {
        self.alive_sockets()
    }

    fn handle_baseline(&mut self) {
        self.handle_baseline();
    }

    fn open_window(&mut self, now: Duration) {
        self.open_window(now);
    }

    fn handle_event(&mut self, event: Socket, at: Duration) -> bool {
        self.handle_event(&event, at)
    }

    fn unlooked_since(&self) -> Option<Duration> {
        self.unlooked_since()
    }

    fn is_waiting(&self) -> bool {
        self.is_waiting()
    }

    fn is_transitional(&self) -> bool {
        self.is_transitional()
    }

    fn settle(&mut self, now: Duration) {
        self.settle(now, false);
    }

    fn close_window(&mut self) {
        self.close_window();
    }

    fn account(&mut self, so_far: &Window) -> PortReport {
        with_window(self.account(), so_far)
    }

    fn finish(self, window: &Window) -> PortReport {
        with_window(self.finish(window.now), window)
    }
}

fn with_window(account: PortReport, window: &Window) -> PortReport {
    PortReport {
        window: window.length,
        settled: window.settled,
        time_waits_refused: window.time_waits_refused,
        ..account
    }
}
