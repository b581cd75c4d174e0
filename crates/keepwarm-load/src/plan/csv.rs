//! Tables of `{csv:FILE.column}`. Owns the syntax of the files (RFC 4180), their columns, and the
//! form in which a value stands in a path, in a field or in a body; the template owns the turn.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{PlanError, read_file};
use crate::limits::MAX_CSV_ROWS;

/// The values of a column, in the order of the rows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Column {
    bytes: Vec<u8>,
    /// End of each value in the bytes.
    ends: Vec<usize>,
}

impl Column {
    /// Returns the value of request `number`: the rows in turn, again and again.
    #[inline]
    pub(crate) fn value(&self, number: u64) -> &[u8] {
        let row = usize::try_from(number % self.ends.len() as u64).unwrap_or(0);
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

/// A file that was read: the names of its columns, and its rows.
#[derive(Debug)]
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The tables of a plan, each read once.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Folder to look in first.
    pub(crate) folder: Option<PathBuf>,
    read: Mutex<HashMap<String, Arc<Table>>>,
}

impl Clone for Tables {
    /// Clones the settings; files are read again.
    fn clone(&self) -> Self {
        Self { folder: self.folder.clone(), ..Self::default() }
    }
}

impl Tables {
    /// Returns a column whose values are percent-encoded where a path needs it.
    pub(crate) fn in_path(&self, name: &str) -> Result<Arc<Column>, PlanError> {
        self.column(name, |value| Ok(encoded(value)))
    }

    /// Returns a column whose values may stand in a header field.
    pub(crate) fn in_field(&self, name: &str) -> Result<Arc<Column>, PlanError> {
        self.column(name, |value| {
            let is_bad = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
            match value.bytes().any(is_bad) {
                true => Err("a value has a control character, which a header field may not have"),
                false => Ok(value.to_owned()),
            }
        })
    }

    /// Returns a column as it is in the file.
    pub(crate) fn in_body(&self, name: &str) -> Result<Arc<Column>, PlanError> {
        self.column(name, |value| Ok(value.to_owned()))
    }

    fn column(
        &self,
        name: &str,
        form: impl Fn(&str) -> Result<String, &'static str>,
    ) -> Result<Arc<Column>, PlanError> {
        let wrong = |reason: String, way_out| {
            PlanError::new("templates", format!("{{csv:{name}}}"), reason, way_out)
        };
        let Some((file, column)) = name.rsplit_once('.') else {
            let reason = "it names no column".to_owned();
            return Err(wrong(reason, "write {csv:FILE.column}, such as {csv:users.csv.id}"));
        };
        let table = self.table(file).map_err(|why| {
            wrong(format!("{file}: {why}"), "name a file whose first line has the columns")
        })?;
        let Some(at) = table.names.iter().position(|name| name == column) else {
            let reason = format!("{file} has no column {column:?}, but {}", table.names.join(", "));
            return Err(wrong(reason, "name a column of its first line"));
        };
        let mut made = Column { bytes: Vec::new(), ends: Vec::with_capacity(table.rows.len()) };
        for (row, values) in table.rows.iter().enumerate() {
            let value = form(&values[at]).map_err(|why| {
                wrong(format!("{file}, row {}: {why}", row + 1), "change the value")
            })?;
            made.bytes.extend_from_slice(value.as_bytes());
            made.ends.push(made.bytes.len());
        }
        Ok(Arc::new(made))
    }

    fn table(&self, file: &str) -> Result<Arc<Table>, String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = read.get(file) {
            return Ok(Arc::clone(table));
        }
        let beside = self.folder.as_ref().map(|folder| folder.join(file));
        let path = beside.filter(|path| path.exists()).unwrap_or_else(|| Path::new(file).into());
        let bytes = read_file(&path).map_err(|error| format!("it cannot be read: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let table = Arc::new(parse(&text)?);
        read.insert(file.to_owned(), Arc::clone(&table));
        Ok(table)
    }
}

/// Parses a file: the first line has the names of the columns.
fn parse(text: &str) -> Result<Table, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut records = Vec::new();
    let (mut record, mut value) = (Vec::new(), String::new());
    let (mut quoted, mut any) = (false, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                value.push('"');
            }
            '"' if quoted => quoted = false,
            letter if quoted => value.push(letter),
            '"' if value.is_empty() => (quoted, any) = (true, true),
            ',' => {
                record.push(std::mem::take(&mut value));
                any = true;
            }
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => {
                if any || !value.is_empty() {
                    record.push(std::mem::take(&mut value));
                    records.push(std::mem::take(&mut record));
                    // Beside the names of the columns. A file that is too long is not kept whole.
                    if records.len() > MAX_CSV_ROWS + 1 {
                        return Err(format!("it has more than {MAX_CSV_ROWS} rows"));
                    }
                }
                any = false;
            }
            letter => value.push(letter),
        }
    }
    if quoted {
        return Err("a quoted value has no end".to_owned());
    }
    if any || !value.is_empty() {
        record.push(value);
        records.push(record);
    }
    let mut records = records.into_iter();
    let names = records.next().ok_or("it is empty")?;
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = records.collect();
    if rows.is_empty() {
        return Err("it has no row beside the names of its columns".to_owned());
    }
    if rows.len() > MAX_CSV_ROWS {
        return Err(format!("it has more than {MAX_CSV_ROWS} rows"));
    }
    if let Some(row) = rows.iter().position(|row| row.len() != names.len()) {
        let (has, wants) = (rows[row].len(), names.len());
        return Err(format!("row {} has {has} values, and there are {wants} columns", row + 1));
    }
    Ok(Table { names, rows })
}

/// Returns the number of columns and of rows, of a file that can be used.
#[cfg(fuzzing)]
pub(crate) fn shape(text: &str) -> Option<(usize, usize)> {
    let table = parse(text).ok()?;
    assert!(table.rows.iter().all(|row| row.len() == table.names.len()));
    Some((table.names.len(), table.rows.len()))
}

/// Encodes what may not stand in a path or a query (RFC 3986, section 3.3).
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_are_read() {
        let table = parse("\u{feff}id,name\r\n1,\"a,\"\"b\"\"\nc\"\r\n\r\n2,\n").unwrap();
        assert_eq!(table.names, ["id", "name"]);
        assert_eq!(table.rows, [["1", "a,\"b\"\nc"], ["2", ""]]);
    }

    #[test]
    fn unusable_tables_say_why() {
        for (text, why) in [
            ("", "empty"),
            ("a,b\n", "no row"),
            ("a,b\n1\n", "row 1 has 1 values"),
            ("a\n\"x", "no end"),
            (&"1\n".repeat(MAX_CSV_ROWS + 2), "more than 1000000 rows"),
        ] {
            assert!(parse(text).unwrap_err().contains(why), "{why}");
        }
    }

    #[test]
    fn values_fit_into_their_place() {
        let folder = std::env::temp_dir().join(format!("keepwarm-csv-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.csv"), "x,y\na b/ü,1\nc,\"l\nm\"\n").unwrap();
        let tables = Tables { folder: Some(folder.clone()), ..Tables::default() };
        let column = tables.in_path("a.csv.x").unwrap();
        assert_eq!(column.value(0), b"a%20b%2F%C3%BC");
        assert_eq!((column.value(1), column.value(3)), (&b"c"[..], &b"c"[..]));
        assert_eq!(tables.in_body("a.csv.y").unwrap().value(1), b"l\nm");
        let error = tables.in_field("a.csv.y").unwrap_err();
        assert!(error.reason().contains("row 2"), "{error}");
        let error = tables.in_body("a.csv.z").unwrap_err();
        assert!(error.reason().contains("but x, y"), "{error}");
        assert!(tables.in_body("none.csv.z").unwrap_err().reason().contains("cannot be read"));
        assert!(tables.in_body("x").unwrap_err().reason().contains("no column"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
