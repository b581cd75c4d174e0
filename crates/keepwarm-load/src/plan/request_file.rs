//! A file of requests. Owns its syntax. The plan owns the meaning of the requests, and the caller
//! reads the files that the file names.
//!
//! ```text
//! # A comment. Requests are separated by empty lines.
//! GET /items?page={n}
//! Accept: application/json
//!
//! POST /items
//! Content-Type: application/json
//! = {"id":"{uuid}"}
//!
//! PUT /items/1
//! @body.bin
//! ```
//!
//! The first line of a request is its method and its path, and perhaps `weight=3`, how often it is
//! sent, and `name=items` or `name="all items"`, the row under which it is counted. Header fields
//! follow. The last line may be its body: `=` and the text, or `@` and the name of a file.

use std::collections::HashMap;
use std::fmt;
use std::io;

use super::Body;
use crate::limits::MAX_FILE_REQUESTS;

/// The longest name of a request, in bytes.
const MAX_NAME: usize = 200;

/// A request of several that a plan sends in turn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequestSpec {
    /// The method.
    pub method: String,
    /// Path and query, as on the request line.
    pub path: String,
    /// Header fields, which are added to those of the plan.
    pub headers: Vec<(String, String)>,
    /// The body, shared by every request that is made of it.
    pub body: Body,
    /// The name under which it is counted; empty for method and path.
    pub name: String,
    /// How often it is sent, relative to the others; 0 counts as 1.
    pub weight: u32,
}

/// The reason why a file of requests cannot be read, and the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFileError {
    line: usize,
    reason: String,
}

impl RequestFileError {
    /// Returns the number of the line, beginning with 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for RequestFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for RequestFileError {}

impl RequestSpec {
    /// Reads the requests of a file: method and path, with `weight=N` and `name=TEXT` behind them if
    /// they are wanted, then header fields, then `= TEXT` or `@FILE`
    /// as the body. An empty line ends a request, `#` begins a comment. `read` returns the body of
    /// a file that is named; each file is read, or opened, once. The requests themselves stay in
    /// memory, because they are sent in turn again and again.
    ///
    /// ```
    /// use keepwarm_load::{Body, RequestSpec};
    /// let text = "GET /a\n\nPOST /b\nContent-Type: text/plain\n= hello\n";
    /// let requests = RequestSpec::parse_all(text, |name| Body::open(name.as_ref()))?;
    /// assert_eq!(requests.len(), 2);
    /// assert_eq!(requests[1].body.bytes(), Some(&b"hello"[..]));
    /// # Ok::<(), keepwarm_load::RequestFileError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first line that cannot be read, with the reason; a file without a request; more requests
    /// than [`MAX_FILE_REQUESTS`].
    pub fn parse_all(
        text: &str,
        mut read: impl FnMut(&str) -> io::Result<Body>,
    ) -> Result<Vec<Self>, RequestFileError> {
        let mut requests = Vec::new();
        let mut current: Option<Self> = None;
        let mut complete = false;
        let mut files: HashMap<&str, Body> = HashMap::new();
        // Editors of Windows begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let wrong = |reason: String| RequestFileError { line: index + 1, reason };
            if line.starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                requests.extend(current.take());
                complete = false;
                continue;
            }
            let Some(request) = &mut current else {
                if requests.len() == MAX_FILE_REQUESTS {
                    return Err(wrong("there are more than 100000 requests".to_owned()));
                }
                current = Some(first_line(line).map_err(wrong)?);
                continue;
            };
            if complete {
                let reason = "nothing may follow the body but an empty line";
                return Err(wrong(reason.to_owned()));
            }
            if let Some(body) = line.strip_prefix('=') {
                request.body = body.strip_prefix(' ').unwrap_or(body).into();
                complete = true;
            } else if let Some(name) = line.strip_prefix('@') {
                let name = name.trim();
                let cannot = |error| wrong(format!("cannot read {name}: {error}"));
                request.body = match files.get(name) {
                    Some(body) => body.clone(),
                    None => {
                        let body = read(name).map_err(cannot)?;
                        files.entry(name).or_insert(body).clone()
                    }
                };
                complete = true;
            } else {
                request.headers.push(header(line).map_err(wrong)?);
            }
        }
        requests.extend(current);
        if requests.is_empty() {
            let reason = "there is no request: write METHOD /PATH".to_owned();
            return Err(RequestFileError { line: text.lines().count().max(1), reason });
        }
        Ok(requests)
    }
}

fn first_line(line: &str) -> Result<RequestSpec, String> {
    let shape = || format!("{line:?} is not a method and a path, such as GET /items");
    let (method, rest) = line.trim().split_once([' ', '\t']).ok_or_else(shape)?;
    let rest = rest.trim_start();
    let (path, options) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err(format!(
            "the path {path:?} does not begin with a slash; host and port are those of the URL"
        ));
    }
    if let Some(at) = path.find(|c: char| c.is_ascii_control() || !c.is_ascii()) {
        return Err(format!("the character at byte {at} of the path may not stand in a URL"));
    }
    let mut request = RequestSpec {
        method: method.to_owned(),
        path: path.to_owned(),
        weight: 1,
        ..RequestSpec::default()
    };
    let mut options = options.trim();
    while !options.is_empty() {
        let (option, rest) = one_option(options)?;
        match option {
            Given::Weight(weight) => request.weight = weight,
            Given::Name(name) => request.name = name,
        }
        options = rest;
    }
    Ok(request)
}

/// A word behind method and path.
enum Given {
    Weight(u32),
    Name(String),
}

/// Reads the first word of the options of a request, and returns the rest.
fn one_option(options: &str) -> Result<(Given, &str), String> {
    let word = || options.split([' ', '\t']).next().unwrap_or_default();
    if let Some(rest) = options.strip_prefix("name=\"") {
        let (name, rest) = rest.split_once('"').ok_or("the name has no closing quote")?;
        return Ok((Given::Name(name_of(name)?), rest.trim_start()));
    }
    let rest = options[word().len()..].trim_start();
    match word().split_once('=') {
        Some(("name", name)) => Ok((Given::Name(name_of(name)?), rest)),
        Some(("weight", weight)) => match weight.parse() {
            Ok(weight @ 1..=1_000_000) => Ok((Given::Weight(weight), rest)),
            _ => Err(format!("weight={weight}: it is not a whole number from 1 to 1000000")),
        },
        _ => Err(format!("{:?} is not weight=N or name=TEXT, which may follow the path", word())),
    }
}

fn name_of(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(format!(
            "name={name:?}: a name has 1 to {MAX_NAME} bytes, no control character"
        ));
    }
    Ok(name.to_owned())
}

fn header(line: &str) -> Result<(String, String), String> {
    match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => {
            Err(format!("{line:?} is not a header field, a body (= TEXT, @FILE) or an empty line"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<RequestSpec>, RequestFileError> {
        RequestSpec::parse_all(text, |name| match name {
            "there" => Ok(b"content".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn requests_are_read_in_order() {
        let text =
            "# first\nGET /a?b=c\n\n\nPOST /b\nA: b\n# within\nC:d:e\n=  two\n\nPUT /c\n@ there";
        let requests = parse(text).unwrap();
        let shown: Vec<_> = requests
            .iter()
            .map(|r| (r.method.as_str(), r.path.as_str(), r.headers.len(), r.body.bytes().unwrap()))
            .collect();
        let expected: [(_, _, _, &[u8]); 3] =
            [("GET", "/a?b=c", 0, b""), ("POST", "/b", 2, b" two"), ("PUT", "/c", 0, b"content")];
        assert_eq!(shown, expected);
        assert_eq!(requests[1].headers[1], ("C".into(), "d:e".into()));
    }

    #[test]
    fn files_of_windows_are_read() {
        let requests = parse("\u{feff}GET /a\r\nA: b\r\n\r\nPOST /b\r\n= c\r\n").unwrap();
        assert_eq!((requests[0].method.as_str(), requests[0].headers[0].1.as_str()), ("GET", "b"));
        assert_eq!(requests[1].body.bytes(), Some(&b"c"[..]));
    }

    #[test]
    fn weights_and_names_follow_the_path() {
        let text = "GET /a weight=3 name=\"all of it\"\n\nGET /b name=b weight=7\n\nGET /c\n";
        let requests = parse(text).unwrap();
        let shown: Vec<_> = requests.iter().map(|r| (r.name.as_str(), r.weight)).collect();
        assert_eq!(shown, [("all of it", 3), ("b", 7), ("", 1)]);
    }

    #[test]
    fn error_names_the_bad_line() {
        let table = [
            ("", 1, "no request"),
            ("# only\n\n", 2, "no request"),
            ("GET", 1, "method and a path"),
            ("GET /a b", 1, "weight=N or name=TEXT"),
            ("GET /a weight=0", 1, "whole number from 1"),
            ("GET /a weight=x", 1, "whole number from 1"),
            ("GET /a weight=99999999999", 1, "from 1 to 1000000"),
            ("GET /a name=", 1, "1 to 200 bytes"),
            ("GET /a name=\"b", 1, "closing quote"),
            ("\n\nGET a", 3, "slash"),
            ("GET http://a/", 1, "slash"),
            ("GET /ä", 1, "may not stand"),
            ("GET /a\nwhat", 2, "not a header field"),
            ("GET /a\n: b", 2, "not a header field"),
            ("GET /a\n= b\nC: d", 3, "nothing may follow"),
            ("GET /a\n@missing", 2, "cannot read missing"),
        ];
        for (text, line, reason) in table {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line(), line, "{text:?}: {error}");
            assert!(error.to_string().contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([GET /a:=@#\\n]|\\PC){0,60}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.line() >= 1 && error.line() <= text.lines().count().max(1));
            }
        }
    }
}
