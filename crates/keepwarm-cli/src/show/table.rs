//! Aligned columns, and paragraphs with a hanging indent.

/// Rows of text: a label to the left, cells to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    pub(crate) fn row(&mut self, label: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push((label.to_owned(), cells.into_iter().collect()));
    }

    /// Removes `dispensable` columns, named by their cell in the first row, until the table is at
    /// most `columns` wide: first the empty ones, then the others in the given order. Returns the
    /// removed columns that were not empty.
    pub(crate) fn narrow<'a>(&mut self, columns: usize, dispensable: &[&'a str]) -> Vec<&'a str> {
        for name in dispensable {
            if self.width() > columns && self.is_empty(name) {
                self.take_out(name);
            }
        }
        let mut taken = Vec::new();
        for name in dispensable {
            if self.width() > columns && self.place(name).is_some() {
                self.take_out(name);
                taken.push(*name);
            }
        }
        taken
    }

    fn place(&self, name: &str) -> Option<usize> {
        let (_, names) = self.rows.first()?;
        names.iter().position(|other| other == name)
    }

    fn is_empty(&self, name: &str) -> bool {
        let nothing = |cell: Option<&String>| cell.is_none_or(|cell| cell == "-");
        let rows = || self.rows.iter().skip(1);
        self.place(name).is_some_and(|place| rows().all(|(_, cells)| nothing(cells.get(place))))
    }

    fn take_out(&mut self, name: &str) {
        let Some(place) = self.place(name) else { return };
        for (_, cells) in self.rows.iter_mut().filter(|(_, cells)| cells.len() > place) {
            cells.remove(place);
        }
    }

    fn width(&self) -> usize {
        self.render(str::to_owned).lines().map(width).max().unwrap_or(0)
    }

    /// Writes the table in blocks of as many columns as `width` has room for, each with the labels.
    pub(crate) fn render_within(&self, limit: usize, head: impl Fn(&str) -> String) -> String {
        let columns = self.rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let block = |from: usize, to: usize| {
            let part = |cells: &[String]| -> Vec<String> {
                cells.iter().skip(from).take(to - from).cloned().collect()
            };
            Self { rows: self.rows.iter().map(|(label, all)| (label.clone(), part(all))).collect() }
        };
        let (mut blocks, mut from) = (Vec::new(), 0);
        while from < columns {
            let fits = |to: &usize| block(from, *to).width() <= limit;
            let to = (from + 2..=columns).take_while(fits).last().unwrap_or(from + 1);
            blocks.push(block(from, to).render(&head));
            from = to;
        }
        blocks.join("\n")
    }

    /// Removes the column that has this cell in the first row.
    pub(crate) fn remove_column(&mut self, name: &str) {
        self.take_out(name);
    }

    /// Removes the rows with this label.
    pub(crate) fn remove_rows(&mut self, label: &str) {
        self.rows.retain(|(other, _)| other != label);
    }

    /// Returns the width of the longest line.
    pub(crate) fn columns(&self) -> usize {
        self.width()
    }

    /// Writes each row as a line, columns aligned. `head` may emphasise the first line.
    pub(crate) fn render(&self, head: impl Fn(&str) -> String) -> String {
        let columns = self.rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let label_width = self.rows.iter().map(|(label, _)| width(label)).max().unwrap_or(0);
        let cell_width = |column: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(cell_width).collect();
        let mut text = String::new();
        for (index, (label, cells)) in self.rows.iter().enumerate() {
            let mut line = format!("{label:<label_width$}");
            for (cell, width) in cells.iter().zip(&widths) {
                line.push_str(&format!("  {cell:>width$}"));
            }
            let line = line.trim_end();
            text.push_str(&if index == 0 { head(line) } else { line.to_owned() });
            text.push('\n');
        }
        text
    }
}

/// Wraps words at `columns`. The first line starts with `label`, the others with as much space.
pub(crate) fn paragraph(label: &str, text: &str, columns: usize) -> String {
    let indent = width(label);
    let mut result = String::new();
    let mut line = label.to_owned();
    let mut empty = true;
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        // A number stays with its unit.
        let unit = words
            .next_if(|next| word.ends_with(|last: char| last.is_ascii_digit()) && is_unit(next));
        let word = &unit.map_or_else(|| word.to_owned(), |unit| format!("{word} {unit}"));
        if !empty && width(&line) + 1 + width(word) > columns {
            result.push_str(line.trim_end());
            result.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    result.push_str(line.trim_end());
    result.push('\n');
    result
}

/// Returns true for the rest of a number, such as `%` or `ms,`.
fn is_unit(word: &str) -> bool {
    ["%", "ms", "s"].contains(&word.trim_end_matches([',', '.', ';', ':', ')']))
}

/// Characters of a text. Colours take no room.
fn width(text: &str) -> usize {
    let (mut width, mut escaped) = (0, false);
    for letter in text.chars() {
        escaped |= letter == '\x1b';
        width += usize::from(!escaped);
        escaped &= letter != 'm';
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_align_left_and_cells_right() {
        let mut table = Table::default();
        table.row("", ["a".to_owned(), "bbbb".to_owned()]);
        table.row("p99 ms", ["12.5".to_owned(), "1".to_owned()]);
        assert_eq!(table.render(str::to_owned), "           a  bbbb\np99 ms  12.5     1\n");
    }

    #[test]
    fn wide_tables_lose_empty_columns_first() {
        let wide = || {
            let mut table = Table::default();
            table.row("to", ["open", "failed", "life", "owner"].map(str::to_owned));
            table.row("a", ["1", "-", "5 ms", "go"].map(str::to_owned));
            table.row("b", ["2", "-", "-", "go"].map(str::to_owned));
            table
        };
        let order = ["life", "failed"];
        let mut table = wide();
        assert_eq!((table.width(), table.narrow(29, &order)), (29, vec![]), "it fits");
        assert_eq!(table.width(), 29);
        assert_eq!(table.narrow(28, &order), Vec::<&str>::new(), "nothing was said of failures");
        assert_eq!(table.width(), 21);
        assert_eq!(wide().narrow(20, &order), ["life"]);
        let mut table = wide();
        table.narrow(1, &order);
        assert_eq!(
            table.render(str::to_owned),
            "to  open  owner\na      1     go\nb      2     go\n"
        );
    }

    #[test]
    fn narrow_terminals_get_blocks_of_columns() {
        let mut table = Table::default();
        table.row("", ["a", "bb", "ccc"].map(str::to_owned));
        table.row("row", ["1", "2", "3"].map(str::to_owned));
        let same = str::to_owned;
        assert_eq!(table.render_within(15, same), "     a  bb  ccc\nrow  1   2    3\n");
        assert_eq!(table.render_within(14, same), "     a  bb\nrow  1   2\n\n     ccc\nrow    3\n");
        assert_eq!(table.render_within(1, same).lines().count(), 8, "a column at least");
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(paragraph("", "\x1b[1;31mone two\x1b[0m", 7), "\x1b[1;31mone two\x1b[0m\n");
    }

    #[test]
    fn paragraphs_hang_under_their_label() {
        assert_eq!(paragraph("x: ", "one two three", 10), "x: one two\n   three\n");
        assert_eq!(paragraph("x: ", "", 10), "x:\n");
        assert_eq!(paragraph("", "over 99 %, yes", 9), "over\n99 %, yes\n");
    }
}
