//! Views of records for people.
//!
//! Owns layout, words and colours. Reads records, and nothing of the engine or the kernel. Prints
//! nothing: each view returns its text.

pub(crate) mod ab;
pub(crate) mod lab;
pub(crate) mod load;
pub(crate) mod numbers;
pub(crate) mod table;
pub(crate) mod watch;

use std::borrow::Cow;

/// Replaces the control characters of a text that came from outside: a terminal would obey them.
fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        text.replace(char::is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// Wraps a text in an SGR code, such as `1;31`, if colours are wanted.
fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
