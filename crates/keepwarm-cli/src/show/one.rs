//! The text of `load --one`: the outcome, the times by stage, the request as sent and the response as
//! read.

use keepwarm_record::load::{LoadRecord, OneRecord};

use super::numbers::{counted, millis};
use super::table::{Table, paragraph};
use super::{Columns, detail, paint, printable};

/// Lines of content that are shown; the record has them all.
const SHOWN: usize = 40;

pub(super) fn render(
    record: &LoadRecord,
    one: &OneRecord,
    assertions: &str,
    colour: bool,
    columns: Columns,
) -> String {
    let mut text = outcome(record, one, colour, columns.text);
    text.push_str(&detail::expectations(record, colour, columns.text));
    text.push_str(assertions);
    text.push_str(&story(one, columns.text));
    text.push_str(&stages(one, colour));
    text.push('\n');
    for line in &one.request_head {
        text.push_str(&format!("> {}\n", printable(line)));
    }
    text.push_str(">\n");
    text.push_str(&content(&one.request_content));
    for line in &one.response_head {
        text.push_str(&format!("< {}\n", printable(line)));
    }
    if !one.response_head.is_empty() {
        text.push_str("<\n");
    }
    text.push_str(&content(&one.response_content));
    if one.content_kept > 0 && one.response_content.is_empty() {
        text.push_str(&format!("({} that are no text)\n", counted(one.content_kept, "byte")));
    }
    if one.content_cut {
        let kept = counted(one.content_kept, "byte");
        text.push_str(&format!("(the content goes on; the first {kept} were kept)\n"));
    }
    text
}

/// The first line: the answer, and how long it took.
fn outcome(record: &LoadRecord, one: &OneRecord, colour: bool, columns: usize) -> String {
    let settings = &record.settings;
    let what = format!("{} {}", settings.method, printable(&settings.url));
    let said = match (record.statuses.keys().next(), record.errors.first()) {
        (Some(status), _) => {
            let shade = match status / 100 {
                2 => "1;32",
                3 => "1;33",
                _ => "1;31",
            };
            let total = one.stages.iter().map(|stage| stage.took_us).sum();
            let length = counted(record.bytes.content, "byte");
            let status = paint(&format!("answered {status}"), shade, colour);
            format!("{status} in {} ms, {length} of content", millis(total))
        }
        (None, Some(error)) => {
            let failed = paint(&format!("failed ({})", error.class), "1;31", colour);
            let hint = error.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{failed}: {}{}", printable(&error.example), printable(&hint))
        }
        (None, None) => "not sent".to_owned(),
    };
    format!("{}{}", paragraph("", &said, columns), paragraph("", &what, columns))
}

/// The story of the connection.
fn story(one: &OneRecord, columns: usize) -> String {
    let from = one.local.as_deref().map(|local| format!("from {local} ")).unwrap_or_default();
    let to = one.peer.as_deref().map(|peer| format!("to {peer}, ")).unwrap_or_default();
    let tls = one.tls.as_deref().map(|tls| format!("{tls}, ")).unwrap_or_default();
    paragraph("connection: ", &printable(&format!("{from}{to}{tls}{}", one.closed)), columns)
}

/// The times by stage.
fn stages(one: &OneRecord, colour: bool) -> String {
    if one.stages.is_empty() {
        return String::new();
    }
    let mut table = Table::default();
    table.row("stage", ["ms".to_owned()]);
    for stage in &one.stages {
        table.row(&printable(&stage.stage.replace('_', " ")), [millis(stage.took_us)]);
    }
    table.row("all", [millis(one.stages.iter().map(|stage| stage.took_us).sum())]);
    format!("\n{}", table.render(|head| paint(head, "1", colour)))
}

fn content(lines: &[String]) -> String {
    let mut text: String =
        lines.iter().take(SHOWN).map(|line| format!("{}\n", printable(line))).collect();
    if lines.len() > SHOWN {
        text.push_str(&format!("({} more)\n", counted((lines.len() - SHOWN) as u64, "line")));
    }
    text
}
