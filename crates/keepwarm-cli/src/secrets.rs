//! Credentials that may not leave the command: in a record, on a page, in metrics.
//!
//! Owns which words are secret, and their replacement by `***`. Reads and writes nothing.

/// Stands in the place of a secret.
pub(crate) const HIDDEN: &str = "***";

/// Letters of options without a value, of this tool and of curl: those behind them in one word are
/// options too.
const FLAGS: &str = "kIsSvLiGfgNqOJRjZ#01465";

/// Returns true for a header field whose value is a credential.
pub(crate) fn is_secret_field(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let known = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
    let parts = ["token", "secret", "passw", "api-key", "apikey", "auth", "session", "credential"];
    known.contains(&name.as_str()) || parts.iter().any(|part| name.contains(part))
}

/// Hides the value of a header line with a credential.
pub(crate) fn field(line: &str) -> String {
    match line.split_once(':') {
        Some((name, _)) if is_secret_field(name) => format!("{name}: {HIDDEN}"),
        _ => line.to_owned(),
    }
}

/// Hides the value of `NAME=VALUE`, if the name is one of a credential.
fn pair(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if is_secret_field(name) => format!("{name}={HIDDEN}"),
        _ => text.to_owned(),
    }
}

/// Returns true for a parameter of a URL or of a form whose value is a credential. Stricter than
/// for fields: `author` and `session` are plain words there.
fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_', '.'], "");
    let parts = ["passw", "passphrase", "secret", "token", "apikey", "accesskey", "sessionid"];
    let known = ["auth", "authorization", "pwd", "pass", "sig", "signature", "credential"];
    known.contains(&name.as_str()) || parts.iter().any(|part| name.contains(part))
}

/// Hides the values of `NAME=VALUE` with `&` between them, where they are credentials.
fn parameters(text: &str) -> String {
    let pairs = text.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret_parameter(name) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Hides credentials in the query of a URL, a path, or a request line.
pub(crate) fn query(text: &str) -> String {
    let Some((before, rest)) = text.split_once('?') else { return text.to_owned() };
    let end = rest.find(['#', ' ']).unwrap_or(rest.len());
    format!("{before}?{}{}", parameters(&rest[..end]), &rest[end..])
}

/// Hides credentials in the content of a request, of which its head is known.
pub(crate) fn content(head: &[String], lines: Vec<String>) -> Vec<String> {
    let kind = head.iter().find_map(|line| {
        let (name, kind) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| kind.trim().to_ascii_lowercase())
    });
    let kind = kind.unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return lines.iter().map(|line| parameters(line)).collect();
    }
    if !kind.starts_with("multipart/form-data") {
        return lines;
    }
    let mut shown = Vec::with_capacity(lines.len());
    let (mut is_secret, mut is_head) = (false, false);
    for line in lines {
        if line.starts_with("------------------------") {
            (is_secret, is_head) = (false, true);
        } else if is_head {
            let name = line.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
            is_secret |= name.is_some_and(is_secret_parameter);
            is_head = !line.is_empty();
        } else if is_secret {
            shown.push(HIDDEN.to_owned());
            continue;
        }
        shown.push(line);
    }
    shown
}

/// Hides the password of a URL, whose scheme may be left out, and credentials in its query.
pub(crate) fn url(text: &str) -> String {
    let text = &query(text);
    let start = text.find("://").map_or(0, |at| at + 3);
    if start == 0 && text.contains(char::is_whitespace) {
        return text.to_owned();
    }
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let Some((user, host)) = text[start..end].rsplit_once('@') else { return text.to_owned() };
    let user = match user.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}"),
        None => user.to_owned(),
    };
    format!("{}{user}@{host}{}", &text[..start], &text[end..])
}

/// The kind of a value that an option takes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Secret,
    Field,
    Pair,
    /// `NAME=VALUE` with `&` between them, or another text.
    Content,
    Other,
}

fn kind_of_long(name: &str) -> Kind {
    match name {
        "user" | "proxy-user" | "oauth2-bearer" | "cookie" | "pass" | "proxy-pass"
        | "tlspassword" => Kind::Secret,
        "header" | "proxy-header" => Kind::Field,
        "form" | "form-string" => Kind::Pair,
        "body" | "data" | "data-ascii" | "data-binary" | "data-raw" | "data-urlencode"
        | "url-query" => Kind::Content,
        _ => Kind::Other,
    }
}

fn kind_of_short(letter: char) -> Kind {
    match letter {
        'u' | 'U' | 'b' => Kind::Secret,
        'H' => Kind::Field,
        'F' => Kind::Pair,
        'd' => Kind::Content,
        _ => Kind::Other,
    }
}

fn value(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Secret => HIDDEN.to_owned(),
        Kind::Field => field(text),
        Kind::Pair => pair(text),
        Kind::Content => parameters(text),
        Kind::Other => url(text),
    }
}

/// Returns a command line with `***` in the place of its secrets.
pub(crate) fn command_line(words: &[String]) -> Vec<String> {
    let mut next = Kind::Other;
    let mut hidden = Vec::with_capacity(words.len());
    for word in words {
        let kind = std::mem::replace(&mut next, Kind::Other);
        if kind != Kind::Other {
            hidden.push(value(kind, word));
            continue;
        }
        if let Some(long) = word.strip_prefix("--") {
            hidden.push(match long.split_once('=') {
                Some((name, text)) => format!("--{name}={}", value(kind_of_long(name), text)),
                None => {
                    next = kind_of_long(long);
                    word.clone()
                }
            });
            continue;
        }
        let letters = word.strip_prefix('-').unwrap_or_default();
        let taking = letters.char_indices().find(|(_, letter)| !FLAGS.contains(*letter));
        hidden.push(
            match taking.map(|(at, letter)| (at + letter.len_utf8(), kind_of_short(letter))) {
                None | Some((_, Kind::Other)) => url(word),
                Some((at, kind)) if at == letters.len() => {
                    next = kind;
                    word.clone()
                }
                Some((at, kind)) => {
                    let (before, text) = word.split_at(at + 1);
                    let (sign, text) = match text.strip_prefix('=') {
                        Some(text) => ("=", text),
                        None => ("", text),
                    };
                    format!("{before}{sign}{}", value(kind, text.trim_start()))
                }
            },
        );
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_keep_their_passwords() {
        let lines = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let of = |kind: &str, text: &str| {
            content(&[format!("Content-Type: {kind}")], lines(text)).join("|")
        };
        let form = "application/x-www-form-urlencoded";
        assert_eq!(of(form, "user=me&Password=pw"), "user=me&Password=***");
        let typed = "------------------------1|Content-Disposition: form-data; name=\"api_key\"||p|w\
                     |------------------------1|Content-Disposition: form-data; name=\"a\"||b";
        let shown = typed.replace("p|w", "***|***");
        assert_eq!(of("multipart/form-data; boundary=1", typed), shown);
        assert_eq!(of("application/json", "token=pw"), "token=pw");
        assert_eq!(query("GET /a?token=pw HTTP/1.1"), "GET /a?token=*** HTTP/1.1");
    }

    fn hidden(line: &str) -> String {
        let words: Vec<String> = line.split('|').map(str::to_owned).collect();
        command_line(&words).join("|")
    }

    #[test]
    fn credentials_of_every_spelling_are_hidden() {
        for (typed, shown) in [
            ("-u|me:pw|x", "-u|***|x"),
            ("-ume:pw", "-u***"),
            ("-u=me:pw", "-u=***"),
            ("-ku|me:pw", "-ku|***"),
            ("-skume:pw", "-sku***"),
            ("--user|me:pw", "--user|***"),
            ("--user=me:pw", "--user=***"),
            ("-H|Authorization: Bearer pw", "-H|Authorization: ***"),
            ("-HCookie:pw", "-HCookie: ***"),
            ("--header=proxy-authorization: pw", "--header=proxy-authorization: ***"),
            ("-H|X-Api-Key: pw", "-H|X-Api-Key: ***"),
            ("-H|Accept: pw", "-H|Accept: pw"),
            ("http://me:pw@host/a@b", "http://me:***@host/a@b"),
            ("--url=http://me:pw@host", "--url=http://me:***@host"),
            ("--|curl|-b|a=pw", "--|curl|-b|***"),
            ("--|curl|me:pw@host/x?a@b", "--|curl|me:***@host/x?a@b"),
            ("-F|password=pw|-F|item=1", "-F|password=***|-F|item=1"),
            ("--form=api-key=pw", "--form=api-key=***"),
            ("-H|X-Auth-Key: pw", "-H|X-Auth-Key: ***"),
            ("-d|write to: me@host", "-d|write to: me@host"),
            ("-d|a=b&password=pw", "-d|a=b&password=***"),
            ("--data-urlencode=api_key=pw", "--data-urlencode=api_key=***"),
            ("--cookie|a=pw", "--cookie|***"),
            ("-n|10|-c|5|http://host/?q=1", "-n|10|-c|5|http://host/?q=1"),
            ("http://host/?a=b&access_token=pw#x", "http://host/?a=b&access_token=***#x"),
            ("-sju|me:pw|host?password=pw&author=me", "-sju|***|host?password=***&author=me"),
        ] {
            assert_eq!(hidden(typed), shown);
        }
    }
}
