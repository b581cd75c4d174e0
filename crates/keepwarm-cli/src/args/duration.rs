//! Parses durations as people type them.

use std::time::Duration;

/// Parses `250ms`, `10s`, `2m`, `1h`. A bare number is seconds; fractions are allowed.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => {
            return Err(format!("unknown unit {unit:?}: use us, ms, s, m or h, as in 10s"));
        }
    };
    let number: f64 = digits.parse().map_err(|_| "not a duration: write 250ms, 10s or 2m")?;
    if !number.is_finite() || number < 0.0 {
        return Err("a duration is a number that is not negative".to_owned());
    }
    Duration::try_from_secs_f64(number * unit_seconds).map_err(|error| error.to_string())
}

/// Parses the length of a window, which must not be zero.
pub(crate) fn parse_window(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("a window is longer than that; --once takes one dump".to_owned()),
        window => Ok(window),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_parse() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("3", 3_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn nonsense_is_rejected_with_a_hint() {
        for text in ["", "s", "10 s", "-1s", "1e999", "infs", "NaN", "10d", "ten"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_window("0s").unwrap_err().contains("--once"));
        assert!(parse("10d").unwrap_err().contains("use us, ms, s, m or h"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_says_why(text in "\\PC{0,12}|[-+]?[0-9]{0,30}[.e]?[0-9]{0,4}(us|ms|s|m|h|)") {
            if let Err(why) = parse(&text) {
                prop_assert!(!why.is_empty());
            }
        }
    }
}
