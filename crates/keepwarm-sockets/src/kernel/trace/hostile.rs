//! A hostile tracefs: its texts and pages garbled together, from the format of a page to lives.

use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::mutate;

use super::captured;
use super::event::Layouts;
use super::lives::TracedSockets;
use super::page::PageLayout;

/// One changed, or none: what is broken further in is reached only through what is whole.
struct Texts {
    page: String,
    formats: [String; 3],
}

fn texts(dice: &mut Dice) -> Texts {
    let mut often = |text: &str| match dice.roll(3) {
        0 => mutate::text(dice, text),
        _ => text.to_owned(),
    };
    Texts {
        page: often(captured::HEADER_PAGE),
        formats: [captured::SET_STATE, captured::SEND_RESET, captured::RECEIVE_RESET].map(often),
    }
}

#[test]
fn hostile_formats_and_pages_are_refused_or_read_without_harm() {
    let mut dice = Dice::new(1);
    let (mut refused, mut malformed, mut events, mut ended) = (0, 0, 0, 0);
    for _ in 0..2_000 {
        let Texts { page, formats: [state, sent, received] } = texts(&mut dice);
        let layout = PageLayout::parse(&page);
        let layouts = Layouts::parse(&state, &sent, &received);
        let (Some(layout), Some(layouts)) = (layout, layouts) else {
            refused += 1;
            continue;
        };
        let mut lives = TracedSockets::default();
        for _ in 0..4 {
            let bytes = mutate::bytes(&mut dice, captured::PAGE);
            let mut records = 0;
            let missed = layout.each(&bytes, |at, record| {
                records += 1;
                if let Some(event) = layouts.decode(record) {
                    events += 1;
                    ended += u32::from(lives.handle(at, &event).is_some());
                }
            });
            assert!(records <= bytes.len() / 4, "{records} records in {} bytes", bytes.len());
            malformed += u32::from(missed.malformed);
        }
    }
    let reached = [refused, malformed, events, ended];
    assert!(reached.iter().all(|count| *count > 100), "{reached:?}");
}
