//! Numbers as people read them.

/// Writes `10000` as `10,000`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes a number with one decimal: `5000.04` as `5,000.0`.
#[must_use]
pub fn tenths(number: f64) -> String {
    let text = format!("{number:.1}");
    let Some((whole, decimal)) = text.split_once('.') else { return text };
    whole.parse().map_or_else(|_| text.clone(), |whole| thousands(whole) + "." + decimal)
}

/// Writes microseconds as milliseconds with two decimals.
#[must_use]
pub fn millis(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1000.0)
}

/// Writes a fraction of 1 as a whole percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Writes a part of a whole as a percentage. Near 0 and 100 it has a decimal, so that a few never
/// read as none, nor most as all.
#[must_use]
pub fn share_of(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 };
    match percent {
        _ if part == 0 => "0 %".to_owned(),
        _ if part >= whole => "100 %".to_owned(),
        few if few < 0.1 => "under 0.1 %".to_owned(),
        most if most > 99.9 => "over 99.9 %".to_owned(),
        edge if !(1.0..99.0).contains(&edge) || (edge > 98.5) => format!("{edge:.1} %"),
        middle => format!("{middle:.0} %"),
    }
}

/// Writes a count and its noun, with an `s` unless there is exactly one.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Writes a sentence with a capital.
#[must_use]
pub fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (28_232, "28,232"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), expected);
        }
        for (number, expected) in
            [(0.04, "0.0"), (1.0, "1.0"), (5_000.04, "5,000.0"), (999.96, "1,000.0")]
        {
            assert_eq!(tenths(number), expected);
        }
        assert_eq!(tenths(f64::NAN), "NaN");
    }

    #[test]
    fn few_are_not_none_and_most_not_all() {
        for (part, whole, expected) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (7, 7, "100 %"),
            (1, 100_000, "under 0.1 %"),
            (99_999, 100_000, "over 99.9 %"),
            (5, 1_000, "0.5 %"),
            (995, 1_000, "99.5 %"),
            (90, 100, "90 %"),
        ] {
            assert_eq!(share_of(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(1_200, "request"), "1,200 requests");
        assert_eq!(counted(0, "request"), "0 requests");
    }
}
