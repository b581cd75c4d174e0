//! The text of a `Set-Cookie`, made into one that `cookie_store` reads as RFC 6265bis, 5.6, does.
//!
//! Owns what its parser breaks: cookies without a name, dates in other forms than HTTP's, attributes
//! beyond 1 KiB, an empty `Max-Age`, and a `Domain` that is given twice.

/// Limit on the bytes of an attribute's value. An attribute with a longer one is ignored (5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// A `Set-Cookie` for the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SetCookie {
    pub(super) text: String,
    /// The name in the text is a stand-in.
    pub(super) is_nameless: bool,
}

impl SetCookie {
    pub(super) fn of(text: &str) -> Self {
        let mut parts = text.split(';');
        let pair = parts.next().unwrap_or_default().trim();
        let (is_nameless, mut text) = match pair.split_once('=') {
            None => (true, format!("x={pair}")),
            Some((name, value)) if name.trim().is_empty() => (true, format!("x={value}")),
            Some(_) => (false, pair.to_owned()),
        };
        let mut domain = "";
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if value.len() > MAX_ATTRIBUTE {
                continue;
            }
            match name.to_ascii_lowercase().as_str() {
                "domain" => domain = value,
                "expires" => {
                    if let Some(date) = cookie_date(value) {
                        text += &format!("; Expires={date}");
                    }
                }
                "max-age" if !is_number(value) => {}
                _ => text += &format!("; {name}={value}"),
            }
        }
        if !domain.is_empty() {
            text += &format!("; Domain={domain}");
        }
        Self { text, is_nameless }
    }
}

/// Returns true for digits, and for digits behind a minus sign.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a date as 5.1.1 asks, in any order and with any delimiters, and writes it in HTTP's form.
fn cookie_date(text: &str) -> Option<String> {
    let is_delimiter =
        |one: char| matches!(one, '\t' | ' '..='/' | ';'..='@' | '['..='`' | '{'..='~');
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(is_delimiter).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = time_of_day(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = leading_number(token, 1..=2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = leading_number(token, 2..=4)
        {
            year = Some(found);
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    let year = match year {
        70..=99 => year + 1900,
        0..=69 => year + 2000,
        _ => year,
    };
    let is_date =
        (1..=31).contains(&day) && year >= 1601 && hour < 24 && minute < 60 && second < 60;
    let month = MONTHS[month];
    // The parser ignores the day of the week.
    is_date.then(|| format!("Mon, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT"))
}

/// Returns the number at the start, if its count of digits is in `digits`.
fn leading_number(token: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let length = token.bytes().take_while(u8::is_ascii_digit).count();
    if digits.contains(&length) { token[..length].parse().ok() } else { None }
}

fn time_of_day(token: &str) -> Option<(u32, u32, u32)> {
    let mut fields = token.splitn(3, ':');
    let mut whole = || {
        let field = fields.next()?;
        leading_number(field, 1..=2).filter(|_| field.len() <= 2 && is_number(field))
    };
    let (hour, minute) = (whole()?, whole()?);
    Some((hour, minute, leading_number(fields.next()?, 1..=2)?))
}

fn month_of(token: &str) -> Option<usize> {
    let name = token.get(..3)?;
    MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_any_form() {
        let due = "Mon, 06 Nov 1994 08:49:37 GMT";
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "6 nov 1994 8:49:37",
            "1994 November 6 08:49:37.123 UTC",
            "08:49:37x 6th Nov 94 and more",
            "Nov/6/1994@08:49:37",
        ] {
            assert_eq!(cookie_date(text).as_deref(), Some(due), "{text}");
        }
        for text in [
            "",
            "soon",
            "06 Nov 1994",
            "06 Nov 08:49:37",
            "32 Nov 1994 08:49:37",
            "0 Nov 1994 08:49:37",
            "6 Nov 1600 08:49:37",
            "6 Nov 1994 24:49:37",
            "6 Nov 1994 08:60:37",
            "6 Nov 1994 08:49:60",
            "6 Nov 1994 08:49",
            "6 Nov 1994 008:49:37",
            "6 Nov 19940 08:49:37",
            "6 Növ 1994 08:49:37",
        ] {
            assert_eq!(cookie_date(text), None, "{text}");
        }
        assert_eq!(cookie_date("1 Jan 69 0:0:0").as_deref(), Some("Mon, 01 Jan 2069 00:00:00 GMT"));
        assert_eq!(cookie_date("1 Jan 70 0:0:0").as_deref(), Some("Mon, 01 Jan 1970 00:00:00 GMT"));
    }

    #[test]
    fn attributes_are_kept_by_the_rules() {
        let long = "y".repeat(MAX_ATTRIBUTE);
        for (text, due) in [
            (" a = b ;Secure; HttpOnly", "a = b; Secure=; HttpOnly="),
            ("a=b; Domain=one; Domain=two", "a=b; Domain=two"),
            ("a=b; Domain=one; domain", "a=b"),
            ("a=b; Max-Age=", "a=b"),
            ("a=b; Max-Age=-", "a=b"),
            ("a=b; Max-Age=1x", "a=b"),
            ("a=b; Max-Age=-1", "a=b; Max-Age=-1"),
            ("a=b; Expires=soon", "a=b"),
            (&format!("a=b; Path={long}"), &format!("a=b; Path={long}")),
            (&format!("a=b; Path={long}y"), "a=b"),
        ] {
            let due = SetCookie { text: due.to_owned(), is_nameless: false };
            assert_eq!(SetCookie::of(text), due, "{text}");
        }
        for text in ["b", "=b", " = b"] {
            let read = SetCookie::of(text);
            assert!(read.is_nameless && read.text.replace(' ', "") == "x=b", "{read:?}");
        }
    }
}
