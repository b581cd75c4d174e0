//! Requests in the form of HTTP/2, made from their form of HTTP/1.1. Owns the pseudo-fields (RFC
//! 9113, section 8.3.1); the bytes are `keepwarm-http2`'s.

use keepwarm_http2::{Block, Dictionary};

/// Encodes the head at the start of `message` into `block`. Returns its length: the body follows.
///
/// `message` is a request as a plan prepares it, so its head is well-formed: a request line, fields
/// of the form `Name: value`, an empty line, each behind CR LF.
pub(crate) fn encode(message: &[u8], scheme: &str, block: &mut Block) -> usize {
    block.clear();
    list(message, scheme, |name, value| block.push(name, value))
}

/// Same as [`encode`] for a head that does not change, whose fields the server is to keep.
pub(crate) fn encode_kept(
    message: &[u8],
    scheme: &str,
    dictionary: &mut Dictionary,
) -> (Block, usize) {
    let mut block = Block::new();
    let length = list(message, scheme, |name, value| block.push_kept(name, value, dictionary));
    (block, length)
}

/// Passes the fields of the head at the start of `message` to `push`, and returns its length.
fn list(message: &[u8], scheme: &str, mut push: impl FnMut(&[u8], &[u8])) -> usize {
    let line = position(message, b"\r\n");
    let request = &message[..line];
    let method = request.iter().position(|byte| *byte == b' ').unwrap_or(0);
    let path = &request[(method + 1).min(line)..];
    let path = path.strip_suffix(b" HTTP/1.1").unwrap_or(path);
    push(b":method", &request[..method]);
    push(b":scheme", scheme.as_bytes());
    let authority = fields(message, line).find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
    if let Some((_, value)) = authority {
        push(b":authority", value);
    }
    push(b":path", path);
    let mut length = line + 2;
    for (name, value) in fields(message, line) {
        length += name.len() + 2 + value.len() + 2;
        if !name.eq_ignore_ascii_case(b"host") {
            // The whitespace is HTTP/1.1's alone (RFC 9113, 8.2.1).
            push(name, value.trim_ascii());
        }
    }
    length + 2
}

/// Lists the fields behind the request line, which ends at `line`.
fn fields(message: &[u8], line: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = &message[(line + 2).min(message.len())..];
    std::iter::from_fn(move || {
        let end = position(rest, b"\r\n");
        let field = &rest[..end];
        rest = &rest[(end + 2).min(rest.len())..];
        let colon = position(field, b": ");
        (!field.is_empty()).then(|| (&field[..colon], &field[(colon + 2).min(field.len())..]))
    })
}

/// Returns the place of two bytes, or the end.
fn position(text: &[u8], two: &[u8; 2]) -> usize {
    text.windows(2).position(|window| window == two).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use keepwarm_http2::Fields;

    use super::*;

    fn decoded(block: &Block) -> Vec<(String, String)> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Fields::of(block.bytes())
            .map(|field| {
                let field = field.unwrap();
                let (mut name, mut value) = (Vec::new(), Vec::new());
                field.decode_name(100, &mut name).unwrap();
                field.decode_value(100, &mut value).unwrap();
                (text(name), text(value))
            })
            .collect()
    }

    #[test]
    fn pseudo_fields_come_first() {
        let message =
            b"POST /a?b HTTP/1.1\r\nUser-Agent: x\r\nHOST: h:1\r\nContent-Length: 4\r\n\r\nbody";
        let mut block = Block::new();
        assert_eq!(encode(message, "https", &mut block), message.len() - 4);
        let expected = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "h:1"),
            (":path", "/a?b"),
            ("user-agent", "x"),
            ("content-length", "4"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(decoded(&block), expected);
    }

    #[test]
    fn empty_values_and_no_body_are_kept_apart() {
        let message = b"GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n";
        let mut block = Block::new();
        assert_eq!(encode(message, "http", &mut block), message.len());
        assert_eq!(decoded(&block)[4], ("x".to_owned(), String::new()));
    }
}
