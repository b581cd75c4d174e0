//! Durations as people type them. The tool and the fleet read their arguments by it.

use std::time::Duration;

/// The longest time that a run or a part of it takes.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Parses `250ms`, `10s`, `2m`, `1h`, and several in a row, `1m30s`. A bare number is seconds;
/// fractions are allowed.
///
/// # Errors
///
/// If the text is no duration; the message names the reason and the way to write one.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.parse::<f64>().is_ok_and(|number| number < 0.0) || rest.starts_with('-') {
        return Err("a duration is not negative: write 250ms, 10s or 1m30s".to_owned());
    }
    let (mut sum, mut parts) = (0.0, 0);
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        let unit_and_rest = digits.trim_start();
        rest = unit_and_rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let unit_seconds = match &unit_and_rest[..unit_and_rest.len() - rest.len()] {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "" if parts == 0 && rest.is_empty() => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => return Err(NO_DURATION.to_owned()),
            unit => {
                return Err(format!("unknown unit {unit:?}: use us, ms, s, m or h, as in 10s"));
            }
        };
        rest = rest.trim_start();
        sum += number.parse::<f64>().map_err(|_| NO_DURATION)? * unit_seconds;
        parts += 1;
    }
    if parts == 0 {
        return Err(NO_DURATION.to_owned());
    }
    Duration::try_from_secs_f64(sum).map_err(|error| error.to_string())
}

const NO_DURATION: &str = "not a duration: write 250ms, 10s or 1m30s";

/// Parses the length of a run or of a part of it, which takes some time, and a week at most.
///
/// # Errors
///
/// If the text is no duration, or one of zero or of more than a week.
pub fn parse_length(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Ok(length) if length > Duration::ZERO && length <= WEEK => Ok(length),
        Err(error) if !text.trim_start().starts_with(|c: char| c.is_ascii_digit()) => Err(error),
        Err(error) if error.contains("unit") || error == NO_DURATION => Err(error),
        _ => {
            Err("it is not between 1 nanosecond and one week: write 250ms, 10s or 1m30s".to_owned())
        }
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
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse(" 5 s "), Ok(Duration::from_secs(5)));
        for text in ["0s", "0", "9999999999999h", "8d", "-5s"] {
            assert!(parse_length(text).is_err(), "{text}");
        }
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn nonsense_is_rejected_with_a_hint() {
        for text in ["", "s", "10 5s", "1m30", "-1s", "1e999", "infs", "NaN", "10d", "ten"] {
            assert!(parse(text).is_err(), "{text}");
        }
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
