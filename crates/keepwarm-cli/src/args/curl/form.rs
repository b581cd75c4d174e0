//! `-F` of a curl line: a body of `multipart/form-data` (RFC 7578), made once.
//!
//! Owns curl's syntax of a part, and the bytes of the body.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A part of the form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    name: String,
    file_name: Option<String>,
    kind: Option<String>,
    content: Vec<u8>,
}

/// Types that curl gives a file by the end of its name.
const TYPES: [(&str, &str); 10] = [
    (".gif", "image/gif"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".png", "image/png"),
    (".svg", "image/svg+xml"),
    (".txt", "text/plain"),
    (".htm", "text/html"),
    (".html", "text/html"),
    (".pdf", "application/pdf"),
    (".xml", "application/xml"),
];

/// Reads `NAME=CONTENT`, `NAME=@FILE` or `NAME=<FILE`, with `;type=` and `;filename=` behind it.
/// `read` returns the content of a file.
///
/// # Errors
///
/// If it has another form; the message says which one would do.
pub(super) fn part<E: From<String>>(
    text: &str,
    read: impl FnOnce(&str) -> Result<Vec<u8>, E>,
) -> Result<Part, E> {
    let shape = || E::from("write NAME=CONTENT, NAME=@FILE or NAME=<FILE".to_owned());
    let (name, value) = text.split_once('=').ok_or_else(shape)?;
    if name.is_empty() || value.starts_with('(') || name.starts_with(')') {
        return Err(shape());
    }
    let (sign, value) = match value.strip_prefix(['@', '<']) {
        Some(rest) => (value.as_bytes()[0], rest),
        None => (b'=', value),
    };
    let mut words = words(value).map_err(E::from)?.into_iter();
    let first = words.next().unwrap_or_default();
    let mut part = Part { name: name.to_owned(), file_name: None, kind: None, content: Vec::new() };
    for word in words {
        match word.trim_start().split_once('=') {
            Some(("type", kind)) => part.kind = Some(kind.trim().to_owned()),
            Some(("filename", file)) => part.file_name = Some(file.to_owned()),
            // `type=text/html; charset=utf-8` is one type.
            Some(("charset", _)) if part.kind.is_some() => {
                part.kind = part.kind.map(|kind| format!("{kind};{word}"));
            }
            _ => {
                let why = format!(
                    "{word:?} is not ;type=TYPE or ;filename=NAME; put a content with ; between \
                     double quotes, or give it by --form-string"
                );
                return Err(E::from(why));
            }
        }
    }
    if sign == b'=' {
        part.content = first.into_bytes();
        return Ok(part);
    }
    part.content = read(&first)?;
    let base = first.rsplit('/').next().unwrap_or_default().to_owned();
    let known = part.file_name.as_deref().and_then(type_of).or_else(|| type_of(&base));
    if sign == b'@' {
        part.kind.get_or_insert_with(|| known.unwrap_or("application/octet-stream").to_owned());
        part.file_name.get_or_insert(base);
    } else if let Some(known) = known.filter(|known| *known != "text/plain") {
        part.kind.get_or_insert_with(|| known.to_owned());
    }
    Ok(part)
}

/// Returns the type of a file by the end of its name.
fn type_of(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    TYPES.iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| *kind)
}

/// Reads `NAME=CONTENT` of `--form-string`, in whose content no sign has a meaning.
pub(super) fn string(text: &str) -> Result<Part, String> {
    let (name, content) = text.split_once('=').ok_or("write NAME=CONTENT")?;
    let content = content.as_bytes().to_vec();
    Ok(Part { name: name.to_owned(), file_name: None, kind: None, content })
}

/// Splits at `;`, except between double quotes, which are removed.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![String::new()];
    let mut word = 0;
    let mut letters = text.chars();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            ';' if !is_quoted => {
                words.push(String::new());
                word += 1;
            }
            '"' if is_quoted => is_quoted = false,
            // Only at the start of a value, as curl has it.
            '"' if words[word].is_empty() || (word > 0 && words[word].ends_with('=')) => {
                is_quoted = true;
            }
            '\\' if is_quoted => words[word].extend(letters.next()),
            letter => words[word].push(letter),
        }
    }
    if is_quoted { Err("a quote (\") has no end".to_owned()) } else { Ok(words) }
}

/// Returns the body, and the boundary of its parts, which is in none of them.
pub(super) fn body(parts: &[Part]) -> (Vec<u8>, String) {
    let mut hasher = DefaultHasher::new();
    parts.iter().for_each(|part| part.content.hash(&mut hasher));
    let contains = |content: &[u8], text: &str| {
        content.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let mut number = hasher.finish();
    let boundary = loop {
        let boundary = format!("------------------------{number:016x}");
        if !parts.iter().any(|part| contains(&part.content, &boundary)) {
            break boundary;
        }
        number = number.wrapping_add(1);
    };
    let mut body = Vec::new();
    for part in parts {
        let mut head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"",
            escaped(&part.name)
        );
        if let Some(file) = &part.file_name {
            head.push_str(&format!("; filename=\"{}\"", escaped(file)));
        }
        if let Some(kind) = &part.kind {
            head.push_str(&format!("\r\nContent-Type: {kind}"));
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (body, boundary)
}

/// Escapes a name as browsers do (HTML Standard, multipart form data).
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Part, String> {
        part(text, |file| Ok(format!("content of {file}").into_bytes()))
    }

    fn shown(text: &str) -> String {
        let (body, boundary) = body(&[read(text).expect(text)]);
        String::from_utf8(body).expect("UTF-8").replace(&boundary, "B").replace("\r\n", "|")
    }

    #[test]
    fn parts_are_written_as_by_curl() {
        for (typed, written) in [
            ("a=b", "name=\"a\"||b"),
            ("a=", "name=\"a\"||"),
            ("a=\"b;c\\\"\"", "name=\"a\"||b;c\""),
            ("a=b=\"c\"", "name=\"a\"||b=\"c\""),
            ("a=b;type=text/x; charset=y", "name=\"a\"|Content-Type: text/x; charset=y||b"),
            (
                "f=@x/y.PNG",
                "name=\"f\"; filename=\"y.PNG\"|Content-Type: image/png||content of x/y.PNG",
            ),
            (
                "f=@x;filename=\"a\\\"b\";type=t/u",
                "name=\"f\"; filename=\"a%22b\"|Content-Type: t/u||content of x",
            ),
            ("f=<x", "name=\"f\"||content of x"),
            ("f=<x.gif", "name=\"f\"|Content-Type: image/gif||content of x.gif"),
        ] {
            let whole = format!("--B|Content-Disposition: form-data; {written}|--B--|");
            assert_eq!(shown(typed), whole, "{typed}");
        }
        assert_eq!(string("a=@b;c").expect("a part").content, b"@b;c");
    }

    #[test]
    fn other_forms_are_refused() {
        for (typed, why) in [
            ("a", "NAME=CONTENT"),
            ("=b", "NAME=CONTENT"),
            ("a=b;c", "--form-string"),
            ("a=b;headers=\"X: y\"", "--form-string"),
            ("a=\"b", "no end"),
        ] {
            let error = read(typed).expect_err(typed);
            assert!(error.contains(why), "{typed}: {error}");
        }
    }

    #[test]
    fn boundary_is_in_no_part() {
        let first = body(&[string("a=b").expect("a part")]).1;
        let part = |content: &str| string(&format!("a={content}")).expect("a part");
        let (whole, boundary) = body(&[part(&first)]);
        let text = String::from_utf8(whole).expect("UTF-8");
        assert_eq!(text.matches(&boundary).count(), 2);
    }
}
