//! A hostile tracefs: its texts and pages mutated together, from the layout of a page to the
//! records of sockets.

use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::mutate;

use super::captured_trace as captured;
use crate::kernel::trace::event::Layouts;
use crate::kernel::trace::ring_page::PageLayout;
use crate::kernel::trace::traced_sockets::TracedSockets;

/// Layout texts, each mutated in one of three cases: a fault further in is reached only through
/// texts that are whole.
struct HostileTexts {
    page: String,
    formats: [String; 3],
}

fn texts(dice: &mut Dice) -> HostileTexts {
    let mut often = |text: &str| match dice.roll(3) {
        0 => mutate::text(dice, text),
        _ => text.to_owned(),
    };
    HostileTexts {
        page: often(captured::HEADER_PAGE),
        formats: [captured::SET_STATE, captured::SEND_RESET, captured::RECEIVE_RESET].map(often),
    }
}

#[test]
fn no_hostile_trace_panics() {
    let mut dice = Dice::new(1);
    let (mut refused, mut malformed, mut events, mut ended) = (0, 0, 0, 0);
    for _ in 0..2_000 {
        let HostileTexts { page, formats: [state, sent, received] } = texts(&mut dice);
        let layout = PageLayout::parse(&page);
        let layouts = Layouts::parse(&state, &sent, &received);
        let (Some(layout), Some(layouts)) = (layout, layouts) else {
            refused += 1;
            continue;
        };
        let mut sockets = TracedSockets::default();
        for _ in 0..4 {
            let bytes = mutate::bytes(&mut dice, captured::PAGE);
            let mut records = 0;
            let missed = layout.each(&bytes, |at, record| {
                records += 1;
                if let Some(event) = layouts.decode(record) {
                    events += 1;
                    ended += u32::from(sockets.handle(at, &event).is_some());
                }
            });
            assert!(records <= bytes.len() / 4, "{records} records in {} bytes", bytes.len());
            malformed += u32::from(missed.malformed);
        }
    }
    let reached = [refused, malformed, events, ended];
    assert!(reached.iter().all(|count| *count > 100), "{reached:?}");
}
