//! `@FILE` arguments: a file with arguments, in the place of its name.
//!
//! Owns the words of such a file, and where one may stand: as an argument of its own, and not as the
//! value of an option, so that `-d @FILE` stays what it is to curl.

use clap::CommandFactory;

use super::Arguments;
use crate::exit::{Exit, Failure};

/// The largest file of arguments, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Replaces each `@FILE` argument of a load by the words of its file. The first argument is the
/// program.
pub(crate) fn expand(typed: Vec<String>) -> Result<Vec<String>, Failure> {
    if typed.get(1).is_none_or(|command| command != "load") {
        return Ok(typed);
    }
    let mut words = Vec::with_capacity(typed.len());
    let mut is_value = false;
    let mut typed = typed.into_iter();
    while let Some(word) = typed.next() {
        if word == "--" {
            // The rest is another program's command line.
            words.push(word);
            words.extend(typed);
            return Ok(words);
        }
        match word.strip_prefix('@').filter(|file| !is_value && !file.is_empty()) {
            Some(file) => {
                let text = read(file)?.replace("\r\n", "\n");
                for word in split(&text).map_err(|why| unusable(file, &why))? {
                    let is_within = words.iter().any(|word| word == "--");
                    if word.starts_with('@') && !is_value && !is_within {
                        let why = format!("{word}: a file of arguments cannot name another one");
                        return Err(unusable(file, &why));
                    }
                    is_value = takes_value(&word);
                    words.push(word);
                }
                if words.iter().any(|word| word == "--") {
                    words.extend(typed);
                    return Ok(words);
                }
            }
            None => {
                is_value = takes_value(&word);
                words.push(word);
            }
        }
    }
    Ok(words)
}

fn unusable(file: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("cannot use @{file}: {why}"))
}

fn read(file: &str) -> Result<String, Failure> {
    let too_large = |length: u64| length > MAX_BYTES;
    if std::fs::metadata(file).is_ok_and(|there| too_large(there.len())) {
        return Err(unusable(file, "it is larger than 1 MiB"));
    }
    std::fs::read_to_string(file).map_err(|error| unusable(file, &error.to_string()))
}

/// Returns true for an option whose value is the next argument.
fn takes_value(word: &str) -> bool {
    let command = Arguments::command();
    let Some(load) = command.find_subcommand("load") else { return false };
    let takes = |argument: &clap::Arg| argument.get_action().takes_values();
    if let Some(long) = word.strip_prefix("--") {
        return load.get_arguments().any(|one| one.get_long() == Some(long) && takes(one));
    }
    let Some(letters) = word.strip_prefix('-') else { return false };
    // The first letter that takes a value has the rest of the word as its value, if there is one.
    let of = |letter| load.get_arguments().find(|one| one.get_short() == Some(letter));
    let taking = letters.char_indices().find(|(_, letter)| of(*letter).is_none_or(takes));
    taking.is_some_and(|(at, letter)| at + letter.len_utf8() == letters.len())
}

/// Splits a text into words as a shell does: blanks separate, `'`, `"` and `$'` quote, a backslash
/// takes the next letter as it is, and `#` at the start of a word begins a comment.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' if word.is_none() => {
                letters.by_ref().find(|letter| *letter == '\n');
            }
            letter if letter.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or("a quote (') has no end")? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or("a quote (\") has no end")? {
                        '"' => break,
                        '\\' => match letters.next().ok_or("a backslash has no letter")? {
                            letter @ ('"' | '\\' | '$' | '`') => word.push(letter),
                            '\n' => {}
                            letter => word.extend(['\\', letter]),
                        },
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => match letters.next().ok_or("a backslash has no letter")? {
                '\n' => {}
                letter => word.get_or_insert_default().push(letter),
            },
            // Browsers write it around text with quotes or line ends.
            '$' if letters.as_str().starts_with('\'') => {
                letters.next();
                let (text, rest) = ansi_c(letters.as_str())?;
                word.get_or_insert_default().push_str(&text);
                letters = rest.chars();
            }
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads the rest of a `$'…'`, with the escapes of C, and returns its text and the rest behind it.
fn ansi_c(quoted: &str) -> Result<(String, &str), String> {
    let mut bytes = Vec::new();
    let mut rest = quoted;
    loop {
        let letter = rest.chars().next().ok_or("a quote ($') has no end")?;
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\'' => break,
            '\\' => rest = escape(rest, &mut bytes)?,
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "a text between $' and ' is not UTF-8")?;
    Ok((text, rest))
}

/// Reads what follows a backslash between `$'` and `'`.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let letter = text.chars().next().ok_or("a backslash has no letter")?;
    let rest = &text[letter.len_utf8()..];
    // The number of at most `most` digits that the text begins with.
    let number = |text: &'a str, radix: u32, most: usize| {
        let digits = text.chars().take(most).take_while(|letter| letter.is_digit(radix)).count();
        let value = u32::from_str_radix(&text[..digits], radix).ok();
        value.map(|value| (value, &text[digits..]))
    };
    let byte = match letter {
        'a' => 0x07,
        'b' => 0x08,
        'e' | 'E' => 0x1b,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '\'' | '"' | '?' => letter as u8,
        '0'..='7' => {
            let (value, rest) = number(text, 8, 3).ok_or("\\ has no number behind it")?;
            // Bash keeps the low eight bits.
            bytes.push((value & 0xff) as u8);
            return Ok(rest);
        }
        'x' | 'u' | 'U' => {
            let most = [('x', 2), ('u', 4), ('U', 8)].iter().find(|(sign, _)| *sign == letter);
            let found = number(rest, 16, most.map_or(2, |(_, most)| *most));
            let (value, rest) =
                found.ok_or_else(|| format!("\\{letter} has no hexadecimal number behind it"))?;
            if letter == 'x' {
                bytes.push((value & 0xff) as u8);
            } else {
                let letter = char::from_u32(value);
                let letter = letter.ok_or_else(|| format!("there is no letter \\u{value:04x}"))?;
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            return Ok(rest);
        }
        other => {
            bytes.push(b'\\');
            bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(rest);
        }
    };
    bytes.push(byte);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_split_as_by_a_shell() {
        let text = "-n 10 # a comment\n-H 'A: b c' \"d \\\"e\\\" $f\" g\\ h \\\n-k x#y ''\n";
        let words = ["-n", "10", "-H", "A: b c", "d \"e\" $f", "g h", "-k", "x#y", ""];
        assert_eq!(split(text).unwrap(), words);
        let text = "--data-raw $'{\\n\"a\":\\'it\\'s\\u0021\\x41\\101\\q}' $x a$'b'c $''";
        let words = ["--data-raw", "{\n\"a\":'it's!AA\\q}", "$x", "abc", ""];
        assert_eq!(split(text).unwrap(), words);
        assert_eq!(split("$'\\xc3\\xbc\\U1f600'").unwrap(), ["ü😀"]);
        for text in ["'a", "\"a", "a\\", "$'a", "$'\\xzz'", "$'\\xff'", "$'\\ud800'", "$'\\"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_no_files_of_arguments() {
        for word in ["-d", "--body", "-n", "-kd"] {
            assert!(takes_value(word), "{word}");
        }
        for word in ["-k", "--close", "-dx", "--body=x", "http://a/", "-"] {
            assert!(!takes_value(word), "{word}");
        }
        let typed = ["keepwarm", "load", "-d", "@body", "--", "curl", "@x"];
        let typed: Vec<String> = typed.map(str::to_owned).to_vec();
        assert_eq!(expand(typed.clone()).unwrap(), typed);
    }

    #[test]
    fn files_of_arguments_are_replaced() {
        let path = std::env::temp_dir().join(format!("keepwarm-args-{}", std::process::id()));
        let name = format!("@{}", path.display());
        let typed = || vec!["keepwarm".to_owned(), "load".to_owned(), name.clone()];
        std::fs::write(&path, "-n 5\nhttp://host/").unwrap();
        assert_eq!(expand(typed()).unwrap()[2..], ["-n", "5", "http://host/"]);
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            expand([&typed()[..], &["@body".to_owned()]].concat()).map(|words| words[2..].join(" "))
        };
        assert_eq!(
            of("-d @a.json \\\r\n -n 5\r\n-d").unwrap(),
            "-d @a.json -n 5 -d @body",
            "values"
        );
        assert_eq!(of("-- curl -d @a.json").unwrap(), "-- curl -d @a.json @body");
        std::fs::write(&path, "@other").unwrap();
        assert!(expand(typed()).unwrap_err().to_string().contains("cannot name another"));
        std::fs::remove_file(&path).unwrap();
        assert!(expand(typed()).unwrap_err().to_string().contains(&name));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = split(&text);
            let _ = split(&format!("$'{text}"));
        }
    }
}
