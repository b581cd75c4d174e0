//! Tracing: which process opened and closed a connection, when, and why a reset was sent (level
//! L2).
//!
//! Owns an instance of tracefs and the order of its events. Decodes nothing itself: `ring_page` and
//! `event_format` know the layout of the ring, `event` the meaning of a record, `traced_sockets`
//! which events belong to one socket; all these are pure. Joins no trace with a socket: see
//! `tracker`.
//!
//! ```text
//!  rings of the CPUs ──pages──► records ──► events ──by time──► traced sockets ──► tracker
//! ```
//! Each ring is in order; several rings are not in order among each other. So a reading notes the
//! time before it begins, and keeps younger events for the next reading: by then all older events
//! have been read. Where much has gathered, because the watch got no processor time, a reading has
//! several parts, each of some pages of the rings that are behind, so that memory is bounded: a part
//! handles the events up to the time that every ring has been read to.
//!
//! An event does not name the network namespace in which it happened. The tracker joins traced
//! sockets by their addresses with sockets that a dump or a destroy event has shown to be in ours.

pub(crate) mod event;
mod event_format;

pub(crate) mod ring_page;
mod thread_owners;
pub(crate) mod traced_sockets;
mod tracefs;

use std::net::SocketAddr;
use std::sync::Arc;

use self::event::{Event, Layouts};
use self::ring_page::PageLayout;
pub(crate) use self::thread_owners::ThreadOwner;
use self::thread_owners::ThreadOwners;
pub(crate) use self::traced_sockets::TracedSocket;
use self::traced_sockets::TracedSockets;
use self::tracefs::Instance;
use crate::error::{Error, Operation};
use crate::kernel::burst::Burst;
use crate::kernel::sys::{boot_ns, monotonic_ns};

/// Maximum number of events held at once, those kept for the next reading included: some 100 bytes
/// each. Beyond what the parts of a reading hold, so that none is lost for it.
const MAX_EVENTS: usize = 1 << 17;
/// Pages of all rings together that one part of a reading takes, and of one ring at least: a page has
/// some 45 events.
const PAGES: usize = 128;
/// A clock tick as `/proc` has it (`USER_HZ`, include/asm-generic/param.h).
const TICK_NS: u64 = 10_000_000;
const PAGES_OF_RING: usize = 4;

/// Texts of tracefs that describe the layout of the rings.
#[derive(Debug)]
struct LayoutTexts {
    page: String,
    state: String,
    sent: String,
    received: String,
}

/// Reader of the trace of connections.
#[derive(Debug)]
pub(crate) struct Tracer {
    instance: Instance,
    page: PageLayout,
    layouts: Layouts,
    sockets: TracedSockets,
    threads: ThreadOwners,
    /// The reading under way.
    reading: Option<Reading>,
    /// Events that were read and not handled yet: between two readings, those that are too young.
    events: Vec<(u64, Event)>,
    burst: Burst,
    /// Number of records that were read.
    read: u64,
    /// Events that were lost, as far as the pages report it.
    missed: u64,
    /// Lost events by the kernel's own count, which is read only after a page has reported a loss.
    lost: u64,
}

/// A reading that has several parts.
#[derive(Debug)]
struct Reading {
    until: u64,
    rings: Vec<Ring>,
}

/// How far a ring has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Ring {
    /// Time of the last event; every event of the ring up to then has been read.
    read_to: u64,
    /// Nothing was left in it.
    is_empty: bool,
    pages: usize,
}

/// Result of one part of a reading, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct TraceBatch {
    /// Time at which the reading began, by the clock of the trace.
    pub(crate) at_ns: u64,
    /// This is its first part.
    pub(crate) begins: bool,
    pub(crate) ended: Vec<TracedSocket>,
    /// Resets sent from the first address to the second.
    pub(crate) resets: Vec<(SocketAddr, SocketAddr, Arc<str>)>,
    /// Processes that own a socket in `ended`.
    pub(crate) processes: Vec<ThreadOwner>,
    burst: Burst,
}

impl TraceBatch {
    fn clear(&mut self, at_ns: u64, begins: bool) {
        (self.at_ns, self.begins) = (at_ns, begins);
        let count = self.ended.len();
        self.ended.clear();
        self.burst.shrink_buffer(count, &mut self.ended);
        self.resets.clear();
        self.processes.clear();
    }
}

impl Tracer {
    /// Starts tracing the connections of `port`, or all connections.
    pub(crate) fn start(port: Option<u16>) -> Result<Tracer, Error> {
        let (instance, texts) = Instance::create(port)?;
        let unknown = |what: &str| Error::malformed(Operation::Trace, what);
        let page = PageLayout::parse(&texts.page).ok_or_else(|| unknown("events/header_page"))?;
        let layouts = Layouts::parse(&texts.state, &texts.sent, &texts.received)
            .ok_or_else(|| unknown("the format of inet_sock_set_state"))?;
        Ok(Tracer {
            instance,
            page,
            layouts,
            sockets: TracedSockets::default(),
            threads: ThreadOwners::new(),
            reading: None,
            events: Vec::new(),
            burst: Burst::default(),
            read: 0,
            missed: 0,
            lost: 0,
        })
    }

    /// Reads events up to the time of its first part, and replaces the contents of `batch` by them.
    /// Returns true if more of them are left, for another call.
    pub(crate) fn read(&mut self, batch: &mut TraceBatch) -> bool {
        let begins = self.reading.is_none();
        let rings = self.instance.rings();
        let mut reading = self.reading.take().unwrap_or_else(|| Reading {
            until: monotonic_ns(),
            rings: vec![Ring::default(); rings],
        });
        let horizon = self.read_rings(&mut reading);
        let Tracer { events, .. } = self;
        // The stable sort is cheap here, because each ring is in order.
        events.sort_by_key(|(at, _)| *at);
        batch.clear(reading.until, begins);
        let old_enough = events.partition_point(|(at, _)| *at <= horizon);
        for (at, event) in events.drain(..old_enough) {
            batch.ended.extend(self.sockets.handle(at, &event));
            if let Event::SentReset { local, remote, reason } = event {
                batch.resets.push((local, remote, reason));
            }
        }
        let count = old_enough + self.events.len();
        self.burst.shrink_buffer(count, &mut self.events);
        self.name_owners(batch);
        let is_over = horizon == reading.until;
        if is_over {
            self.sockets.end_reading();
        }
        self.reading = (!is_over).then_some(reading);
        !is_over
    }

    /// Reads some pages of each ring that is behind. Returns the time up to which every ring has been
    /// read, at most that of the reading.
    fn read_rings(&mut self, reading: &mut Reading) -> u64 {
        let pages = (PAGES / reading.rings.len().max(1)).max(PAGES_OF_RING);
        let most = self.instance.most_pages();
        let Tracer { page, layouts, events, missed, read, instance, .. } = self;
        let (before, until) = (*missed, reading.until);
        let behind = reading.rings.iter().map(|ring| ring.read_to).min().unwrap_or(until);
        for (number, ring) in reading.rings.iter_mut().enumerate() {
            if ring.is_empty || ring.read_to > behind.max(1) {
                continue;
            }
            let found = instance.drain(number, pages, |bytes| {
                let gone = page.each(bytes, |at, record| {
                    *read += 1;
                    ring.read_to = ring.read_to.max(at);
                    match layouts.decode(record) {
                        Some(event) if events.len() < MAX_EVENTS => events.push((at, event)),
                        Some(_) => *missed += 1,
                        None => {}
                    }
                });
                *missed += gone.lost + u64::from(gone.malformed);
            });
            ring.pages += found;
            ring.is_empty = found < pages || ring.pages >= most || ring.read_to >= until;
            if ring.is_empty {
                ring.read_to = until;
            }
        }
        if *missed > before {
            self.lost = self.instance.lost();
        }
        reading.rings.iter().map(|ring| ring.read_to).min().unwrap_or(until).min(until)
    }

    /// Replaces the threads in `batch` by their processes, and adds these.
    fn name_owners(&mut self, batch: &mut TraceBatch) {
        let threads = batch.ended.iter().filter_map(|socket| socket.owner).collect();
        let Tracer { threads: owners, instance, .. } = self;
        let processes = owners.find(threads, batch.at_ns, |name| instance.shared_text(name));
        let suspended = boot_ns().saturating_sub(monotonic_ns());
        for socket in &mut batch.ended {
            let since = (socket.owned_ns + suspended) / TICK_NS;
            let process = socket.owner.and_then(|thread| processes.get(&thread));
            let process = process.filter(|process| process.was_there(since));
            socket.owner = process.map(|process| process.pid);
        }
        batch.processes.extend(processes.into_values());
    }

    /// Returns the number of events that were read.
    pub(crate) fn events(&self) -> u64 {
        self.read
    }

    /// Returns the number of lost events. Connections that they concern may lack the facts that
    /// only a trace has.
    pub(crate) fn lost(&self) -> u64 {
        self.missed.max(self.lost) + self.sockets.overflowed
    }

    /// Directory of the tracefs instance.
    #[cfg(test)]
    pub(crate) fn instance_path(&self) -> &std::path::Path {
        self.instance.path()
    }
}
