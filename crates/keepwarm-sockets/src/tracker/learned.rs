//! How connections of a service begin and end, as those showed that were followed.
//!
//! Owns what followed connections have besides requests and answers, and what that makes of the segments of
//! others. Pure.

use std::num::NonZero;

use super::handshakes::BehindTls;
use super::messages::Beginning;

/// Requests of a connection, at least and at most.
pub(super) type Range = (u32, u32);
/// Segments with data of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SegmentsOfBoth {
    pub(super) asked: Run,
    pub(super) answered: Run,
    /// An answer is due: there may be a request more than answers.
    pub(super) is_due: bool,
}

/// Segments with data of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Run {
    /// Their number, at least and at most.
    pub(super) segments: Range,
    /// Messages in them, at least, where a message takes several; `None`: each takes one.
    pub(super) messages: Option<NonZero<u32>>,
}

/// Bytes of data that a client has sent on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AskedBytes {
    pub(super) most: u64,
    /// One of them may be a FIN, which the kernel counts too.
    pub(super) may_count_fin: bool,
}

impl AskedBytes {
    fn possible(self) -> impl Iterator<Item = u64> {
        self.most.saturating_sub(self.may_count_fin.into())..=self.most
    }
}

impl Run {
    /// Segments of which each is a message.
    pub(super) fn short(least: u32, most: u32) -> Run {
        Run { segments: (least, most), messages: None }
    }

    /// Returns the messages but those that `besides` segments hold, at least, and at most if each segment
    /// may be one; `None` if there are fewer segments.
    fn without(&self, besides: Range) -> Option<Range> {
        let (least, most) = less(self.segments, besides)?;
        let messages = self.messages.map(|messages| messages.get().saturating_sub(besides.1));
        Some((messages.unwrap_or(least).min(most), most))
    }
}
/// Bytes that a client sends on connections whose requests are all as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// In front of the first request.
    pub(super) before: u64,
    /// Each request.
    pub(super) request: u64,
}

impl Sizes {
    /// Sizes of one destination: further ones are not kept.
    const MOST: usize = 8;
    /// Bytes of a farewell, none included: close_notify of TLS 1.3 and of TLS 1.2 with GCM or ChaCha20, and
    /// the two alerts of Java's TLS 1.3.
    const FAREWELLS: [u64; 4] = [0, 24, 31, 48];

    /// Returns the numbers of requests that a client may have sent with so many bytes.
    fn requests(self, sent: u64) -> impl Iterator<Item = u32> {
        Sizes::FAREWELLS.into_iter().filter_map(move |farewell| {
            let requests = sent.checked_sub(self.before + farewell)?;
            let number = requests.is_multiple_of(self.request).then(|| requests / self.request)?;
            u32::try_from(number).ok()
        })
    }
}

/// How the connections of a destination begin and end, as those showed that were followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Learned {
    /// Of connections that were followed from their first segment to their last.
    whole: Kinds,
    /// Of connections of which the first messages were followed.
    begun: Kinds,
    /// Of those of which segments were sent again meanwhile.
    begun_with_losses: Kinds,
    /// Sizes that both showed, and how many connections did.
    sizes: Vec<(Sizes, u32)>,
    /// Connections that began without a handshake.
    plain: u32,
    /// Connections that were followed, those that showed nothing included.
    followed: u32,
}

/// Kinds of connections behind a handshake.
#[derive(Debug, Clone, Default)]
struct Kinds(Vec<Kind>);

/// Segments of each side besides requests and answers: a handshake, tickets, farewells; at least and at
/// most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Besides {
    pub(super) asked: Range,
    pub(super) answered: Range,
}

/// Connections that are alike in what they have besides requests and answers.
#[derive(Debug, Clone, Copy)]
struct Kind {
    besides: Besides,
    /// Connections that showed it.
    count: u32,
}

impl Kinds {
    /// Kinds of one destination: where there are more, they are none.
    const MOST: usize = 16;
    /// From so many connections on, what they show is taken for all.
    const ENOUGH: u32 = 3;

    fn count(&self) -> u32 {
        self.0.iter().map(|kind| kind.count).sum()
    }

    fn are_sure(&self) -> bool {
        self.count() >= Kinds::ENOUGH && self.0.len() < Kinds::MOST
    }

    fn add(&mut self, new: Kind) {
        let is_it = |kind: &&mut Kind| kind.besides == new.besides;
        if let Some(kind) = self.0.iter_mut().find(is_it) {
            kind.count += new.count;
        } else if self.0.len() < Kinds::MOST {
            self.0.push(new);
        }
    }

    fn merge(&mut self, other: &Kinds) {
        other.0.iter().for_each(|kind| self.add(*kind));
    }

    /// Returns the least and the most of all kinds; `None` if they are not sure.
    fn bounds(&self) -> Option<Besides> {
        let kinds = self.0.iter().map(|kind| kind.besides).filter(|_| self.are_sure());
        kinds.reduce(|one, other| Besides {
            asked: union(one.asked, other.asked),
            answered: union(one.answered, other.answered),
        })
    }
}

impl Learned {
    /// Connections to learn from.
    const MOST: u32 = 12;
    /// Connections whose first messages are enough, where none shows its end.
    const MOST_BEGUN: u32 = 64;
    /// Connections that are followed to find them.
    const MOST_FOLLOWED: u32 = 512;
    /// From so many on, they are taken for those too of which one side's segments alone are of their kind.
    const MANY: u32 = 8;

    pub(super) fn is_sure(&self) -> bool {
        self.plain == 0 && (self.whole.are_sure() || self.beginnings().are_sure())
    }

    /// Returns the beginnings to go by: those of connections with losses show less.
    fn beginnings(&self) -> &Kinds {
        if self.begun.are_sure() { &self.begun } else { &self.begun_with_losses }
    }

    pub(super) fn is_plain(&self) -> bool {
        let behind_handshake = [&self.whole, &self.begun, &self.begun_with_losses];
        self.plain >= Kinds::ENOUGH && behind_handshake.into_iter().all(|kinds| kinds.0.is_empty())
    }

    /// Returns whether further connections can show more.
    pub(super) fn is_curious(&self) -> bool {
        let (whole, begun) = (self.whole.count().max(self.plain), self.begun.count());
        self.followed < Learned::MOST_FOLLOWED
            && whole < Learned::MOST
            && begun < Learned::MOST_BEGUN
    }

    pub(super) fn may_follow(&mut self) -> bool {
        let may = self.is_curious();
        self.followed += u32::from(may);
        may
    }

    pub(super) fn add(&mut self, besides: Besides) {
        self.whole.add(Kind { besides, count: 1 });
    }

    pub(super) fn add_beginning(&mut self, beginning: Beginning) {
        /// Farewells of a client (Java says two), and of a server.
        const FAREWELLS: [u32; 2] = [2, 1];
        let (kinds, Besides { asked, answered }, sizes) = match beginning {
            Beginning::Plain => {
                self.plain = self.plain.saturating_add(1);
                return;
            }
            Beginning::Tls(besides, sizes) => (&mut self.begun, besides, sizes),
            Beginning::TlsWithLosses(besides, sizes) => {
                (&mut self.begun_with_losses, besides, sizes)
            }
        };
        let besides = Besides {
            asked: (asked.0, asked.1 + FAREWELLS[0]),
            answered: (answered.0, answered.1 + FAREWELLS[1]),
        };
        kinds.add(Kind { besides, count: 1 });
        self.add_sizes(sizes, 1);
    }

    fn add_sizes(&mut self, sizes: Sizes, count: u32) {
        if let Some((_, known)) = self.sizes.iter_mut().find(|(known, _)| *known == sizes) {
            *known = known.saturating_add(count);
        } else if self.sizes.len() < Sizes::MOST {
            self.sizes.push((sizes, count));
        }
    }

    pub(super) fn merge(&mut self, other: &Learned) {
        self.followed = self.followed.saturating_add(other.followed);
        self.plain = self.plain.saturating_add(other.plain);
        self.whole.merge(&other.whole);
        self.begun.merge(&other.begun);
        self.begun_with_losses.merge(&other.begun_with_losses);
        other.sizes.iter().for_each(|(sizes, count)| self.add_sizes(*sizes, *count));
    }

    /// Returns whether enough connections have shown requests of one length.
    pub(super) fn knows_sizes(&self) -> bool {
        self.sure_sizes().next().is_some()
    }

    fn sure_sizes(&self) -> impl Iterator<Item = Sizes> {
        self.sizes.iter().filter(|(_, count)| *count >= Kinds::ENOUGH).map(|(sizes, _)| *sizes)
    }

    /// Returns whether a connection has the bytes of so many requests, if none is shorter than those that were
    /// followed. A segment that came twice counts twice, and its bytes do not.
    fn are_sent(&self, requests: u32, behind: &BehindTls) -> bool {
        let shortest = self.sizes.iter().map(|(sizes, _)| sizes.request).min();
        let before = self.sizes.iter().map(|(sizes, _)| sizes.before).min();
        let Some(((shortest, before), sent)) = shortest.zip(before).zip(behind.asked_bytes) else {
            return true;
        };
        before + shortest.saturating_mul(requests.into()) <= sent.most
    }

    /// Returns the requests of a connection if its bytes are those of connections that were followed, with
    /// requests that are all as long. It may be by chance.
    pub(super) fn requests_by_size(&self, behind: &BehindTls) -> Option<Range> {
        let sent = behind.asked_bytes?;
        let (least, most) = behind.requests;
        let fitting = self
            .sure_sizes()
            .flat_map(|sizes| sent.possible().flat_map(move |bytes| sizes.requests(bytes)))
            .filter(|number| (least..=most).contains(number));
        fitting.map(|number| (number, number)).reduce(union).filter(|_| self.plain == 0)
    }

    /// Returns the requests of a connection. They are exact where the segments of both sides, less those of
    /// one kind of connections, leave as many requests as answers.
    pub(super) fn requests(&self, behind: &BehindTls) -> Range {
        let both = match behind.segments {
            Some(both) if self.is_sure() => both,
            _ => return behind.requests,
        };
        let kinds = if self.whole.are_sure() { &self.whole } else { self.beginnings() };
        // Each segment is a message where there are as many in both directions, and some are short.
        let are_short = both.asked.messages.is_none() || both.answered.messages.is_none();
        let agreed = kinds.0.iter().filter(|_| are_short).filter_map(|kind| {
            let requests = less(both.asked.segments, kind.besides.asked)?;
            let answers = less(both.answered.segments, kind.besides.answered)?;
            intersection(requests, answers).filter(|(least, _)| self.are_sent(*least, behind))
        });
        if let Some(requests) = agreed.reduce(union) {
            return intersection(requests, behind.requests).unwrap_or(behind.requests);
        }
        let by_begun = self.beginnings().bounds().and_then(|besides| both.requests(besides));
        // One more or less: it may be of another kind than those that were followed, and nothing agrees.
        let is_many = self.whole.count() >= Learned::MANY;
        let whole = self.whole.bounds().filter(|_| is_many);
        let by_whole = whole.and_then(|besides| both.requests(besides));
        let by_whole =
            by_whole.map(|(least, most)| (least.saturating_sub(1), most.saturating_add(1)));
        let known = [by_begun, by_whole].into_iter().flatten();
        known.fold(behind.requests, |one, other| intersection(one, other).unwrap_or(one))
    }
}

impl SegmentsOfBoth {
    /// Returns the requests, of connections that have so much besides; `None` of others.
    fn requests(&self, besides: Besides) -> Option<Range> {
        let asked = self.asked.without(besides.asked)?;
        let answers = self.answered.without(besides.answered)?;
        // A short answer takes a segment, or two. Long ones may take many.
        let by_answers = if self.answered.messages.is_none() { answers.0.div_ceil(2) } else { 0 };
        let most = asked.1.min(answers.1.saturating_add(self.is_due.into()));
        let least = asked.0.max(by_answers);
        (least <= most).then_some((least, most))
    }
}

fn intersection(one: Range, other: Range) -> Option<Range> {
    let both = (one.0.max(other.0), one.1.min(other.1));
    (both.0 <= both.1).then_some(both)
}

fn union(one: Range, other: Range) -> Range {
    (one.0.min(other.0), one.1.max(other.1))
}

/// Returns what is left of some segments; `None` if that is less than nothing.
fn less((least, most): Range, besides: Range) -> Option<Range> {
    Some((least.saturating_sub(besides.1), most.checked_sub(besides.0)?))
}
