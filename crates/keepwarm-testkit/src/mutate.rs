//! Captured inputs made hostile: cut, garbled, repeated, with numbers that do not fit. Equal dice
//! make equal inputs.

use crate::dice::Dice;

/// Numbers that parsers get wrong.
const NUMBERS: [&str; 14] = [
    "",
    "0",
    "-1",
    "+1",
    "0x10",
    "1.5",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "1e999",
];
/// Characters that parsers, or the terminals behind them, get wrong.
const CHARACTERS: [char; 16] = [
    '\0', '\t', '\n', '\r', '\u{1b}', ' ', '"', '\\', ':', ';', '[', ']', '{', '-', 'é', '\u{202e}',
];
/// Bytes at the limits of a field's range.
const BYTES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// Returns `captured` with up to eight changes.
pub fn bytes(dice: &mut Dice, captured: &[u8]) -> Vec<u8> {
    let mut bytes = captured.to_vec();
    for _ in 0..=dice.roll(8) {
        let at = below(dice, bytes.len() + 1);
        let end = (at + below(dice, 9)).min(bytes.len());
        match dice.roll(7) {
            0 => bytes.truncate(at),
            1 => bytes.drain(at..end).for_each(drop),
            2 => bytes.insert(at, edge(dice)),
            3 => bytes.extend_from_within(at..end),
            // A whole field of equal bytes: the smallest and the largest numbers.
            4 => {
                let byte = edge(dice);
                bytes[at..end].fill(byte);
            }
            _ if at < bytes.len() => bytes[at] = dice.roll(256).to_le_bytes()[0],
            _ => {}
        }
    }
    bytes
}

/// Returns `captured` with up to four changes.
pub fn text(dice: &mut Dice, captured: &str) -> String {
    let mut text = captured.to_owned();
    for _ in 0..=dice.roll(4) {
        text = match dice.roll(6) {
            0 => text.chars().take(below(dice, text.len() + 1)).collect(),
            1 => with_another_number(dice, &text),
            2 => with_other_lines(dice, &text),
            3 => text.replacen(' ', "", below(dice, 3)),
            _ => with_another_character(dice, &text),
        };
    }
    text
}

fn with_another_number(dice: &mut Dice, text: &str) -> String {
    let is_start = |at: usize| {
        text.as_bytes()[at].is_ascii_digit()
            && (at == 0 || !text.as_bytes()[at - 1].is_ascii_digit())
    };
    let starts: Vec<usize> = (0..text.len()).filter(|at| is_start(*at)).collect();
    let Some(&start) = starts.get(below(dice, starts.len())) else { return text.to_owned() };
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    let number = NUMBERS[below(dice, NUMBERS.len())];
    format!("{}{number}{}", &text[..start], &text[start + digits..])
}

/// Removes a line, or repeats one.
fn with_other_lines(dice: &mut Dice, text: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if !lines.is_empty() {
        let at = below(dice, lines.len());
        match dice.roll(2) {
            0 => drop(lines.remove(at)),
            _ => lines.insert(at, lines[at]),
        }
    }
    lines.concat()
}

fn with_another_character(dice: &mut Dice, text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = below(dice, characters.len() + 1);
    let other = CHARACTERS[below(dice, CHARACTERS.len())];
    match dice.roll(2) {
        0 => characters.insert(at, other),
        _ => characters.iter_mut().skip(at).take(1).for_each(|character| *character = other),
    }
    characters.into_iter().collect()
}

fn edge(dice: &mut Dice) -> u8 {
    BYTES[below(dice, BYTES.len())]
}

fn below(dice: &mut Dice, limit: usize) -> usize {
    usize::try_from(dice.roll(limit.max(1) as u64)).expect("below a usize")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn most_mutations_differ() {
        let captured = "Tcp: ActiveOpens 11\nTcp: 12 [::1]:80\n";
        let mut dice = Dice::new(1);
        let texts: HashSet<String> = (0..1000).map(|_| text(&mut dice, captured)).collect();
        assert!(texts.len() > 700, "{}", texts.len());
        assert!(NUMBERS[1..].iter().all(|number| texts.iter().any(|text| text.contains(number))));
        let captured = captured.as_bytes();
        let inputs: HashSet<Vec<u8>> = (0..1000).map(|_| bytes(&mut dice, captured)).collect();
        assert!(inputs.len() > 700, "{}", inputs.len());
        assert!(inputs.iter().any(|input| input.len() > captured.len()));
        assert!(inputs.iter().any(|input| input.len() < captured.len() / 2));
        assert!(text(&mut dice, "").len() < 20 && bytes(&mut dice, b"").len() < 20);
    }
}
