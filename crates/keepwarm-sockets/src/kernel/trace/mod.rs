//! Tracing: who opened and closed a connection, when, and why a reset was sent (level L2).
//!
//! Owns an instance of tracefs and the order of its events. What they mean is `event`'s, which
//! belong together is `lives`', how the ring is laid out is `page`'s and `format`'s; all these are
//! pure.
//!
//! ```text
//!  rings of the CPUs ──pages──► records ──► events ──by time──► lives ──► whoever joins them
//! ```
//! Rings are in order, but not among each other. So a reading takes note of the time before it
//! begins, and keeps what is younger for the next one: all that is older has been read then.
//!
//! An event does not say in which network namespace it happened. Lives are joined by their
//! addresses with sockets that a dump or a destroy event has shown to be in ours.

#[cfg(test)]
mod captured;
mod event;
mod format;
#[cfg(all(test, target_endian = "little"))]
mod hostile;
mod instance;
mod lives;
mod page;
mod task;

use std::net::SocketAddr;
use std::sync::Arc;

use self::event::{Event, Layouts};
use self::instance::Instance;
pub(crate) use self::lives::TracedSocket;
use self::lives::TracedSockets;
use self::page::PageLayout;
use self::task::Tasks;
use crate::error::{Error, Operation};
use crate::kernel::sys::monotonic_ns;

/// Events kept from one reading to the next, and handled at once: some 100 bytes each.
const MAX_EVENTS: usize = 1 << 18;

/// Texts of tracefs that say how to read the rings.
#[derive(Debug)]
struct Texts {
    page: String,
    state: String,
    sent: String,
    received: String,
}

/// Events of connections, as they are traced.
#[derive(Debug)]
pub(crate) struct Tracer {
    instance: Instance,
    page: PageLayout,
    layouts: Layouts,
    lives: TracedSockets,
    tasks: Tasks,
    /// Read, and between two readings those that are too young to be handled.
    events: Vec<(u64, Event)>,
    /// How many were read.
    read: u64,
    /// Events that were lost on the way, as far as pages tell; the kernel's own count is asked
    /// only when they have told.
    missed: u64,
    lost: u64,
}

/// What a reading gave, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    /// When it began, by the clock of the times in it.
    pub(crate) at_ns: u64,
    pub(crate) ended: Vec<TracedSocket>,
    /// Resets sent from the first address to the second.
    pub(crate) resets: Vec<(SocketAddr, SocketAddr, Arc<str>)>,
    /// Names of processes that own something in it.
    pub(crate) names: Vec<(u32, String)>,
}

impl Traced {
    fn clear(&mut self, at_ns: u64) {
        self.at_ns = at_ns;
        self.ended.clear();
        self.resets.clear();
        self.names.clear();
    }
}

impl Tracer {
    /// Traces the connections of `port`, or all.
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
            lives: TracedSockets::default(),
            tasks: Tasks::new(),
            events: Vec::new(),
            read: 0,
            missed: 0,
            lost: 0,
        })
    }

    /// Everything that happened until now, into `traced` in the place of what it has.
    pub(crate) fn read(&mut self, traced: &mut Traced) {
        let until = monotonic_ns();
        let Tracer { page, layouts, events, missed, read, .. } = self;
        let before = *missed;
        self.instance.drain(|bytes| {
            let gone = page.each(bytes, |at, record| {
                *read += 1;
                match layouts.decode(record) {
                    Some(event) if events.len() < MAX_EVENTS => events.push((at, event)),
                    Some(_) => *missed += 1,
                    None => {}
                }
            });
            *missed += gone.lost + u64::from(gone.malformed);
        });
        if *missed > before {
            self.lost = self.instance.lost();
        }
        // Each ring is in order, which this makes use of.
        events.sort_by_key(|(at, _)| *at);
        traced.clear(until);
        let old_enough = events.partition_point(|(at, _)| *at <= until);
        for (at, event) in events.drain(..old_enough) {
            traced.ended.extend(self.lives.handle(at, &event));
            if let Event::SentReset { local, remote, reason } = event {
                traced.resets.push((local, remote, reason));
            }
        }
        self.name(traced);
    }

    /// From threads to processes.
    fn name(&self, traced: &mut Traced) {
        let threads = traced.ended.iter().filter_map(|life| life.owner).collect();
        let processes = self.tasks.find(threads, |name| self.instance.shared_text(name));
        for life in &mut traced.ended {
            let process = life.owner.and_then(|thread| processes.get(&thread));
            life.owner = process.map(|process| process.pid);
        }
        let named = processes.into_values();
        traced.names.extend(named.filter_map(|one| Some((one.pid, one.name?))));
    }

    /// How many events were read.
    pub(crate) fn events(&self) -> u64 {
        self.read
    }

    /// Events that were lost: the connections they were about may lack what tracing adds.
    pub(crate) fn lost(&self) -> u64 {
        self.missed.max(self.lost) + self.lives.overflowed
    }
}

#[cfg(test)]
mod tests;
