//! Messages of DNS for one kind of question: the name of an address (RFC 1035, PTR; RFC 3596).
//!
//! Owns the bytes. Pure but for the number of a question. An answer comes from the network: every length
//! is checked, and compression pointers go backwards, at most so many.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

/// Bytes of a name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
/// Compression pointers that are followed in one name.
const MAX_POINTERS: usize = 16;
/// Records of an answer that are looked at.
const MAX_RECORDS: u16 = 32;
const PTR: u16 = 12;
const INTERNET: u16 = 1;
const HEADER: usize = 12;

/// Returns a number that others cannot guess.
pub(super) fn random_id() -> u16 {
    let seed = std::collections::hash_map::RandomState::new();
    let [high, low, ..] = seed.build_hasher().finish().to_ne_bytes();
    u16::from_ne_bytes([high, low])
}

/// Returns the name under which the name of an address is filed.
pub(super) fn name_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits = v6.octets().into_iter().rev();
            let digits: String =
                digits.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4)).collect();
            format!("{digits}ip6.arpa")
        }
    }
}

/// Writes a question.
pub(super) fn encode(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // A standard question, recursion desired; one question and nothing else.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(PTR.to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    message
}

/// Reads the answer to a question: its name, or that there is none. `None`: it is no answer to it.
pub(super) fn decode(message: &[u8], id: u16, question: &str) -> Option<Option<String>> {
    let is_response = *message.get(2)? & 0x80 != 0;
    if number(message, 0)? != id || !is_response || number(message, 4)? != 1 {
        return None;
    }
    let (asked, after) = name(message, HEADER)?;
    if !asked.eq_ignore_ascii_case(question) {
        return None;
    }
    // After the name come its type and class.
    Some(first_name(message, after + 4, number(message, 6)?))
}

/// Returns the first name among the records from `at` on.
fn first_name(message: &[u8], mut at: usize, records: u16) -> Option<String> {
    for _ in 0..records.min(MAX_RECORDS) {
        let (_, fixed) = name(message, at)?;
        let data = fixed + 10;
        let length = usize::from(number(message, fixed + 8)?);
        if number(message, fixed)? == PTR && number(message, fixed + 2)? == INTERNET {
            let (found, end) = name(message, data)?;
            let is_whole = end == data + length;
            return Some(found).filter(|found| is_whole && !found.is_empty());
        }
        at = data + length;
    }
    None
}

/// Reads a name, and where it ends.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut text, mut end, mut pointers) = (String::new(), None, 0);
    loop {
        let length = *message.get(at)?;
        if length & 0xc0 == 0xc0 {
            let to = usize::from(number(message, at)? & 0x3fff);
            end = end.or(Some(at + 2));
            pointers += 1;
            // Forwards it could go in a circle.
            if pointers > MAX_POINTERS || to >= at {
                return None;
            }
            at = to;
            continue;
        }
        if length & 0xc0 != 0 {
            return None;
        }
        if length == 0 {
            return Some((text, end.unwrap_or(at + 1)));
        }
        let label = message.get(at + 1..at + 1 + usize::from(length))?;
        if !text.is_empty() {
            text.push('.');
        }
        // A byte that is no letter of a host's name shows as such.
        text.extend(label.iter().map(|byte| match byte {
            b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(*byte),
            _ => '?',
        }));
        if text.len() > MAX_NAME {
            return None;
        }
        at += 1 + usize::from(length);
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;

    use super::*;

    const ID: u16 = 0x1234;

    fn question() -> String {
        name_of("10.0.0.5".parse().unwrap())
    }

    /// The answer of a server: an alias first (RFC 2317), then the name, both with compression.
    fn answer() -> Vec<u8> {
        let mut message = encode(ID, &question());
        message[2] |= 0x80;
        message[7] = 2;
        let alias = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12];
        message.extend(alias);
        message.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0, 13]);
        message.extend([2, b'd', b'b', 8]);
        message.extend(b"internal");
        message.push(0);
        message
    }

    #[test]
    fn addresses_have_names_of_their_own() {
        assert_eq!(question(), "5.0.0.10.in-addr.arpa");
        assert_eq!(name_of("::ffff:10.0.0.5".parse().unwrap()), question());
        let v6 = name_of("2001:db8::1".parse().unwrap());
        assert!(v6.starts_with("1.0.0.0.") && v6.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{v6}");
    }

    #[test]
    fn only_the_answer_to_our_question_counts() {
        let whole = answer();
        assert_eq!(decode(&whole, ID, &question()), Some(Some("db.internal".to_owned())));
        assert_eq!(decode(&whole, ID + 1, &question()), None, "another number");
        assert_eq!(decode(&whole, ID, "6.0.0.10.in-addr.arpa"), None, "another address");
        assert_eq!(decode(&encode(ID, &question()), ID, &question()), None, "a question");
        let mut without = whole.clone();
        (without[3], without[7]) = (3, 0);
        assert_eq!(decode(&without, ID, &question()), Some(None), "there is no name");
    }

    #[test]
    fn hostile_answers_end() {
        let whole = answer();
        for end in 0..whole.len() {
            let _ = decode(&whole[..end], ID, &question());
        }
        let mut circle = whole.clone();
        let at = whole.len() - 13;
        (circle[at], circle[at + 1]) = (0xc0, u8::try_from(at).unwrap());
        assert_eq!(decode(&circle, ID, &question()), Some(None), "a pointer to itself");
        let mut dice = Dice::new(1);
        for _ in 0..50_000 {
            let mut garbled = whole.clone();
            for _ in 0..3 {
                let place = dice.roll(garbled.len() as u64) as usize;
                garbled[place] = dice.roll(256) as u8;
            }
            if let Some(Some(name)) = decode(&garbled, ID, &question()) {
                assert!(name.len() <= MAX_NAME && name.is_ascii(), "{name}");
            }
        }
    }
}
