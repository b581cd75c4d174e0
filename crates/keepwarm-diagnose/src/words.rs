//! Numbers as the summaries write them.

/// Groups digits by three: `10000` is `10,000`.
pub(crate) fn thousands(number: u64) -> String {
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

/// Writes a share of 1 in percent: `0.8` is `80 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Writes a count with its noun: `1 connection`, `2 connections`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Returns `is` or `are`, as the count asks.
pub(crate) const fn is_or_are(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// Writes a count with its verb: `1 was`, `2 were`.
pub(crate) fn were(count: u64) -> String {
    format!("{} {}", thousands(count), if count == 1 { "was" } else { "were" })
}

/// Writes milliseconds, from a second on in seconds: `900 ms`, `6.0 s`.
pub(crate) fn millis(ms: u32) -> String {
    if ms >= 1000 { format!("{:.1} s", f64::from(ms) / 1000.0) } else { format!("{ms} ms") }
}

#[cfg(test)]
mod tests {
    use super::{counted, thousands};

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (28_232, "28,232"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), expected);
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "connection"), "1 connection");
        assert_eq!(counted(2_000, "connection"), "2,000 connections");
    }
}
