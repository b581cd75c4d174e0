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

/// Wraps a text in an SGR code, such as `1;31`, if colours are wanted.
fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
