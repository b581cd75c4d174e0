use super::*;

const MINUTE_MS: u64 = 60_000;

/// A host to watch: the events on it, and the costs of reading about them.
#[derive(Debug, Clone, Copy)]
struct Host {
    /// Sockets die, one every 10 ms.
    closes: bool,
    /// Their TIME_WAITs are wanted; otherwise their events suffice.
    wanted: bool,
    /// Connections open, one every 10 ms.
    opens: bool,
    /// Connections carry data all the time.
    data: bool,
    counters_known: bool,
    lookups_work: bool,
    dump_cost: Duration,
}

const QUIET: Host = Host {
    closes: false,
    wanted: false,
    opens: false,
    data: false,
    counters_known: true,
    lookups_work: true,
    dump_cost: Duration::from_millis(10),
};
const CLOSING: Host = Host { closes: true, opens: true, data: true, ..QUIET };
const SEARCHING: Host = Host { wanted: true, ..CLOSING };

fn dump_cost(ms: u64, host: Host) -> Host {
    Host { dump_cost: Duration::from_millis(ms), ..host }
}

/// How often a watch did what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Actions {
    dumps: u32,
    lookups: u32,
    counters: u32,
    settled: u32,
}

/// Watches a host for so many milliseconds after the baseline, on a clock that only this loop
/// moves.
fn watch(host: Host, length_ms: u64) -> Actions {
    let mut schedule = Schedule::default();
    schedule.handle_dump_start(None);
    schedule.handle_dump_end(Duration::ZERO, host.dump_cost);
    let (mut actions, mut unfinished) = (Actions::default(), Unfinished::Nothing);
    let mut counted = Counters::zero();
    for ms in 1..=length_ms {
        let now = Duration::from_millis(ms);
        if host.closes && ms % 10 == 0 {
            schedule.handle_event(now);
            if host.wanted && unfinished == Unfinished::Nothing {
                unfinished = Unfinished::TimeWaits { since: now, is_patient: false };
            }
        }
        counted.active_opens = counted.active_opens.map(|n| n + u64::from(host.opens));
        counted.segments_in = counted.segments_in.map(|n| n + u64::from(host.data));
        let counters = host.counters_known.then_some(counted);
        let dumps = match schedule.take_due(now, unfinished) {
            None => continue,
            Some(Due::Settle) => {
                actions.settled += 1;
                false
            }
            Some(Due::Counters) => {
                actions.counters += 1;
                !schedule.handle_counters(now, counters)
            }
            Some(Due::Lookups { .. }) if host.lookups_work => {
                actions.lookups += 1;
                schedule.handle_lookups(25, Duration::from_micros(50));
                false
            }
            Some(Due::Lookups { .. }) => {
                schedule.handle_lookups_refused();
                true
            }
            Some(Due::Dump) => true,
        };
        if dumps {
            actions.dumps += 1;
            schedule.handle_dump_start(counters);
            schedule.handle_dump_end(now, host.dump_cost);
        }
        unfinished = Unfinished::Nothing;
    }
    actions
}

impl Counters {
    fn zero() -> Counters {
        Counters {
            active_opens: Some(0),
            passive_opens: Some(0),
            attempt_fails: Some(0),
            estab_resets: Some(0),
            established: Some(0),
            segments_in: Some(0),
            segments_out: Some(0),
            ..Counters::default()
        }
    }
}

/// The right column: dumps and rounds of lookups in a minute.
#[test]
fn every_situation_has_its_pace() {
    let unknown = Host { counters_known: false, ..QUIET };
    let opening = Host { opens: true, ..QUIET };
    let data = Host { data: true, ..QUIET };
    let without_lookups = |host| Host { lookups_work: false, ..host };
    let table = [
        ("quiet: once after the baseline, for owners", QUIET, (1, 0)),
        ("quiet, counters unknown: every 2 s", unknown, (30, 0)),
        ("opens: every 250 ms at most", dump_cost(0, opening), (240, 0)),
        ("opens: a five-hundredth of a core", dump_cost(1, opening), (120, 0)),
        ("opens: every 2 s", opening, (30, 0)),
        ("opens: every 2 s, at any cost", dump_cost(100, opening), (30, 0)),
        ("data: as often as counters are read", dump_cost(1, data), (30, 0)),
        ("data: a thousandth of a core", dump_cost(4, data), (15, 0)),
        ("data: a thousandth of a core", dump_cost(8, data), (8, 0)),
        ("data: every 10 s, at any cost", dump_cost(100, data), (6, 0)),
        ("closes: every 250 ms at most", dump_cost(1, CLOSING), (240, 0)),
        ("closes: a two-hundredth of a core", dump_cost(5, CLOSING), (60, 0)),
        ("closes: a two-hundredth of a core", dump_cost(8, CLOSING), (37, 0)),
        ("closes: every 2 s, at any cost", dump_cost(100, CLOSING), (30, 0)),
        ("TIME_WAITs: lookups between dumps", dump_cost(5, SEARCHING), (60, 180)),
        ("TIME_WAITs: dumps are as cheap", dump_cost(1, SEARCHING), (240, 0)),
        ("TIME_WAITs: lookups spare dumps", dump_cost(100, SEARCHING), (30, 210)),
        ("TIME_WAITs, no lookups: 250 ms", without_lookups(SEARCHING), (240, 0)),
        ("no lookups: 250 ms at any cost", without_lookups(dump_cost(100, SEARCHING)), (240, 0)),
    ];
    for (situation, host, expected) in table {
        let actions = watch(host, MINUTE_MS);
        assert_eq!((actions.dumps, actions.lookups), expected, "{situation}: {actions:?}");
    }
}

#[test]
fn quiet_host_is_dumped_once() {
    let actions = watch(QUIET, 10 * MINUTE_MS);
    let read = Actions { dumps: 1, counters: 28 + 593, ..Actions::default() };
    assert_eq!(actions, read, "the counters are read every 250 ms, and later every second");
}

#[test]
fn calm_ends_at_the_first_sign() {
    let mut schedule = Schedule::default();
    let zero = || Some(Counters::zero());
    schedule.handle_dump_start(zero());
    schedule.handle_dump_end(ms(0), ms(1));
    schedule.handle_event(ms(1));
    let reads = |schedule: &mut Schedule, from: u64, to: u64, counters: Option<Counters>| {
        let due = |at: &u64| {
            let due = schedule.take_due(ms(*at), Unfinished::Nothing);
            if due == Some(Due::Counters) {
                schedule.handle_counters(ms(*at), counters);
            }
            due.is_some()
        };
        (from..=to).filter(due).collect::<Vec<u64>>()
    };
    assert_eq!(reads(&mut schedule, 1, 5_250, zero()).len(), 21, "every 250 ms");
    assert_eq!(reads(&mut schedule, 5_251, 8_250, zero()), [6_250, 7_250, 8_250]);
    // A connection opens: the counters show it within a second.
    let opened = Some(Counters { active_opens: Some(1), ..Counters::zero() });
    assert_eq!(reads(&mut schedule, 8_251, 9_750, opened), [9_250, 9_500, 9_750]);
    // A socket dies: what waits for its peer's event ends the calm at once.
    schedule.handle_dump_start(opened);
    schedule.handle_dump_end(ms(9_760), ms(1));
    assert_eq!(reads(&mut schedule, 9_761, 17_760, opened).len(), 20 + 3);
    schedule.handle_event(ms(17_800));
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(18_010), "a dump: sockets die");
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// TIME_WAITs that are wanted since so many milliseconds.
const fn wanted(since: u64) -> Unfinished {
    Unfinished::TimeWaits { since: ms(since), is_patient: false }
}

/// A schedule whose last dump ended at second 10 and took 5 ms, shortly after a socket had died.
fn dumped() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.handle_event(ms(9_900));
    schedule.handle_dump_start(Some(Counters::zero()));
    schedule.handle_dump_end(ms(10_000), ms(5));
    schedule
}

#[test]
fn events_gather_before_a_round() {
    let since = |since| Unfinished::TimeWaits { since: ms(since), is_patient: false };
    assert_eq!(dumped().next_due(since(10_010)), ms(10_250), "after the last round");
    assert_eq!(dumped().next_due(since(10_200)), ms(10_300), "after the first event");
    assert_eq!(dumped().next_due(Unfinished::Pairing), ms(10_250));
    assert_eq!(dumped().next_due(Unfinished::Nothing), ms(10_250), "the counters");
}

#[test]
fn search_awaits_a_near_dump() {
    let mut schedule = dumped();
    let since = |since| Unfinished::TimeWaits { since: ms(since), is_patient: false };
    schedule.handle_event(ms(10_700));
    assert_eq!(schedule.next_due(since(10_700)), ms(11_000), "the dump finds it too");
    assert_eq!(schedule.take_due(ms(11_000), since(10_700)), Some(Due::Dump));
    schedule.handle_dump_end(ms(11_000), ms(5));
    schedule.handle_event(ms(11_600));
    assert_eq!(schedule.next_due(since(11_600)), ms(11_700), "the dump is too far away");
}

#[test]
fn crowd_is_settled_at_once() {
    let mut schedule = dumped();
    let (searching, at) = (wanted(10_010), ms(10_020));
    schedule.handle_read(at, CROWD - 1);
    assert_eq!(schedule.take_due(at, searching), None, "the next round is soon enough");
    schedule.handle_read(at, CROWD);
    assert!(matches!(schedule.take_due(at, searching), Some(Due::Lookups { .. })));
    // They wait for their peers: no further round changes that.
    schedule.handle_round_end(CROWD);
    schedule.handle_read(at, 2 * CROWD - 1);
    assert_eq!(schedule.take_due(at, Unfinished::Pairing), None);
    schedule.handle_read(at, 2 * CROWD);
    assert_eq!(schedule.take_due(at, Unfinished::Pairing), Some(Due::Settle));
}

#[test]
fn many_watches_share_one_budget() {
    let mut schedule = dumped();
    schedule.handle_watches(20);
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(55_000), "dumps of 5 ms are rare");
    schedule.handle_dump_end(ms(10_000), ms(2));
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(50_000), "20 dumps of 2 ms in 40 s");
    let since = |since| Unfinished::TimeWaits { since: ms(since), is_patient: false };
    assert_eq!(schedule.next_due(since(10_010)), ms(10_400), "after the last round");
    assert_eq!(schedule.next_due(since(10_300)), ms(10_500), "after the first event");
    let patient = Unfinished::TimeWaits { since: ms(10_300), is_patient: true };
    assert_eq!(schedule.next_due(patient), ms(13_300), "it proves as much then");
    let wait = Wait { until: ms(13_300), wake: Wake::Loopback };
    assert_eq!(schedule.wait(ms(10_300), patient), wait);
    schedule.handle_dump_end(ms(10_000), Duration::from_micros(100));
    assert_eq!(schedule.next_due(patient), ms(12_000), "the dump finds it too");
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(12_000));
    schedule.handle_event(ms(5_000));
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(15_000), "it is calm");
    schedule.handle_watches(1_000);
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(55_000), "they cost when idle, too");
}

#[test]
fn nothing_is_due_too_early() {
    assert_eq!(dumped().take_due(ms(10_249), Unfinished::Pairing), None);
    assert_eq!(dumped().take_due(ms(10_250), Unfinished::Pairing), Some(Due::Counters));
    assert_eq!(dumped().take_due(ms(10_249), Unfinished::Nothing), None);
    assert_eq!(dumped().take_due(ms(10_250), Unfinished::Nothing), Some(Due::Counters));
}

#[test]
fn lookups_cost_at_most_a_dump() {
    let due = |lookups, cost, dump_cost| {
        let mut schedule = dumped();
        schedule.handle_dump_end(ms(10_000), dump_cost);
        schedule.handle_lookups(lookups, cost);
        schedule.take_due(ms(10_300), wanted(10_010))
    };
    let lookups = |at_most| Some(Due::Lookups { at_most });
    assert_eq!(due(0, Duration::ZERO, ms(10)), lookups(5_000), "2 us each until measured");
    assert_eq!(due(100, ms(1), ms(10)), lookups(1_000), "measured: 10 us each");
    assert_eq!(due(100, ms(1), ms(5)), lookups(500));
    assert_eq!(due(1, Duration::ZERO, ms(1_000)), lookups(MAX_LOOKUPS), "a limit on memory");
}

#[test]
fn refused_lookups_are_not_tried_again() {
    let mut schedule = dumped();
    schedule.handle_lookups_refused();
    assert_eq!(schedule.take_due(ms(10_300), wanted(10_010)), Some(Due::Dump));
}

#[test]
fn skipped_dump_puts_off_the_next() {
    let mut schedule = dumped();
    assert!(schedule.handle_counters(ms(12_000), Some(Counters::zero())));
    assert_eq!(schedule.next_periodic_dump(), ms(14_000));
    schedule.handle_event(ms(11_000));
    assert_eq!(schedule.next_periodic_dump(), ms(14_000), "seen by then");
    schedule.handle_event(ms(12_001));
    assert_eq!(schedule.next_periodic_dump(), ms(13_000), "sockets die");
}

#[test]
fn open_is_met_by_a_cheap_dump() {
    let opened = || Some(Counters { active_opens: Some(1), ..Counters::zero() });
    let mut schedule = dumped();
    schedule.handle_dump_end(ms(10_000), ms(1));
    assert!(schedule.handle_counters(ms(10_250), opened()), "a dump of 1 ms has its pause");
    assert_eq!(schedule.next_due(Unfinished::Nothing), ms(10_500));
    assert!(schedule.handle_counters(ms(10_500), Some(Counters::zero())), "nothing opened");
    assert!(!schedule.handle_counters(ms(10_500), opened()));
    assert!(schedule.handle_counters(ms(10_500), None), "unknown: at the periodic dump");
}

#[test]
fn found_owner_requires_a_dump() {
    let mut schedule = dumped();
    schedule.require_dump();
    assert!(!schedule.handle_counters(ms(12_000), Some(Counters::zero())));
}

#[test]
fn info_is_a_second_old_at_most() {
    assert!(Schedule::wants_info(None, FEW + 1));
    assert!(!Schedule::wants_info(Some(ms(999)), FEW + 1));
    assert!(Schedule::wants_info(Some(ms(1_000)), FEW + 1));
    assert!(Schedule::wants_info(Some(ms(1)), FEW), "of few it costs little");
}

#[test]
fn first_event_ends_an_idle_wait() {
    let at = Duration::from_millis;
    let mut schedule = Schedule::default();
    schedule.handle_dump_end(at(1_000), Duration::ZERO);
    let idle = schedule.wait(at(1_000), Unfinished::Nothing);
    assert_eq!(idle.wake, Wake::Any, "an event of an idle port is read at once");
    schedule.handle_read(at(1_000), 0);
    let next = schedule.wait(at(1_001), Unfinished::Nothing);
    assert_eq!(next, Wait { until: at(1_250), wake: Wake::Many }, "further ones are read together");
    let searching = wanted(1_000);
    let wait = schedule.wait(at(1_001), searching);
    assert_eq!(wait, Wait { until: schedule.next_due(searching), wake: Wake::Many });
    assert_eq!(schedule.wait(at(1_250), Unfinished::Nothing).wake, Wake::Any);
    // Between sockets of different hosts more may gather.
    schedule.handle_watches(20);
    let next = schedule.wait(at(1_250), Unfinished::Nothing);
    assert_eq!(next, Wait { until: at(2_000), wake: Wake::Loopback });
    assert_eq!(schedule.wait(at(1_249), Unfinished::Nothing).wake, Wake::Many);
    assert_eq!(schedule.wait(at(2_000), Unfinished::Nothing).wake, Wake::Any);
}
