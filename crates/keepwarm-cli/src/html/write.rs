//! Writes HTML. Every text goes through [`escape`].

use keepwarm_record::read::is_obeyed;

/// A part of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// A chart that the script draws.
pub(super) struct Chart<'a> {
    /// Name by which the script knows it.
    pub(super) name: &'a str,
    /// Numbers of the loads that it is of, in the order of the page.
    pub(super) of: &'a str,
    pub(super) title: &'a str,
    /// A sentence on the content.
    pub(super) says: &'a str,
    /// Further attributes, such as `data-hop="0"`; never a text of a record.
    pub(super) more: &'a str,
}

impl Html {
    pub(super) const fn new() -> Self {
        Self(String::new())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds HTML that is escaped already.
    pub(super) fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    pub(super) fn title(&mut self, text: &str) {
        self.0.push_str(&format!("<h1>{}</h1>\n", escape(text)));
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.0.push_str(&format!("<h2>{}</h2>\n", escape(text)));
    }

    pub(super) fn subheading(&mut self, text: &str) {
        self.0.push_str(&format!("<h3>{}</h3>\n", escape(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.push_str(&format!("<p>{}</p>\n", escape(text)));
    }

    /// A paragraph of a kind, such as `quiet`.
    pub(super) fn of_kind(&mut self, kind: &str, text: &str) {
        self.0.push_str(&format!("<p class=\"{kind}\">{}</p>\n", escape(text)));
    }

    /// A verdict: its word, and sentences. `shade` is `good`, `care` or `bad`.
    pub(super) fn verdict(&mut self, shade: &str, word: &str, sentences: &[String]) {
        self.0
            .push_str(&format!("<div class=\"verdict {shade}\"><p><span class=\"mark {shade}\">"));
        self.0.push_str(&format!("{}</span></p>\n", escape(word)));
        for sentence in sentences {
            self.paragraph(sentence);
        }
        self.0.push_str("</div>\n");
    }

    /// A table whose cells are HTML already. The first cell of a row is its heading.
    pub(super) fn table(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) {
        let caption = escape(caption);
        self.0.push_str(&format!(
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\
             <caption>{caption}</caption>\n"
        ));
        if !head.is_empty() {
            self.0.push_str("<thead><tr>");
            for cell in head {
                let cell = escape(cell);
                // An empty cell is no heading.
                let cell = if cell.is_empty() {
                    "<td></td>".to_owned()
                } else {
                    format!("<th scope=\"col\">{cell}</th>")
                };
                self.0.push_str(&cell);
            }
            self.0.push_str("</tr></thead>\n");
        }
        self.0.push_str("<tbody>\n");
        for row in rows {
            self.0.push_str("<tr>");
            for (at, cell) in row.iter().enumerate() {
                let cell = match at {
                    0 => format!("<th scope=\"row\">{cell}</th>"),
                    _ if cell.starts_with("<td") => cell.clone(),
                    _ => format!("<td>{cell}</td>"),
                };
                self.0.push_str(&cell);
            }
            self.0.push_str("</tr>\n");
        }
        self.0.push_str("</tbody></table></div>\n");
    }

    pub(super) fn chart(&mut self, chart: &Chart<'_>) {
        let Chart { name, of, title, says, more } = chart;
        let low = if ["loader", "age"].contains(name) { " low" } else { "" };
        let (title, says) = (escape(title), escape(says));
        self.0.push_str(&format!(
            "<figure data-chart=\"{name}\" data-of=\"{of}\" {more}><h3>{title}</h3>\n\
             <figcaption>{says}</figcaption>\n<div class=\"plot{low}\"></div>\n\
             <details><summary>{title}: the numbers</summary></details></figure>\n"
        ));
    }
}

/// A cell with a text rather than a number.
pub(super) fn text_cell(text: &str) -> String {
    format!("<td class=\"text\">{}</td>", escape(text))
}

/// A cell with a bar: a share of the greatest value.
pub(super) fn bar_cell(part: u64, greatest: u64) -> String {
    let width = if greatest == 0 { 0.0 } else { part as f64 / greatest as f64 * 100.0 };
    format!(
        "<td class=\"bar\"><svg aria-hidden=\"true\"><rect width=\"{width:.1}%\" height=\"100%\"/></svg></td>"
    )
}

/// Makes a text safe in an element and in an attribute with quotes. Characters that would turn the
/// direction of the text around are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push('\n'),
            letter if is_obeyed(letter) => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
