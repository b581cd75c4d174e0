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

/// Writes a count and its noun, with an `s` unless there is exactly one.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
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
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(1_200, "request"), "1,200 requests");
        assert_eq!(counted(0, "request"), "0 requests");
    }
}
