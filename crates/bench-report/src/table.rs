//! Tables: first column left, the rest right; the same rows as text or as Markdown.

use unicode_width::UnicodeWidthStr;

/// A table under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![head.into_iter().map(Into::into).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has no row below its head.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// Drops columns (other than the first) that say nothing in any row; returns their heads.
    pub(crate) fn drop_absent(&mut self) -> Vec<String> {
        let columns = self.rows[0].len();
        let silent: Vec<usize> = (1..columns)
            .filter(|&c| {
                self.rows[1..].iter().all(|r| r.get(c).is_none_or(|cell| cell == crate::number::ABSENT))
            })
            .collect();
        let heads = silent.iter().map(|&c| self.rows[0][c].clone()).collect();
        for row in &mut self.rows {
            let mut c = 0;
            row.retain(|_| {
                c += 1;
                !silent.contains(&(c - 1))
            });
        }
        heads
    }

    /// As text of at most `width` columns: names in the first column give way, in their middle.
    pub(crate) fn text(&self, width: usize) -> String {
        let columns = self.rows[0].len();
        let mut widths: Vec<usize> =
            (0..columns).map(|c| self.rows.iter().map(|r| r[c].width()).max().unwrap_or(0)).collect();
        let total = |w: &[usize]| w.iter().sum::<usize>() + 2 * (columns - 1);
        let excess = total(&widths).saturating_sub(width);
        widths[0] = widths[0].saturating_sub(excess).max(12.min(widths[0]));
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (c, cell) in row.iter().enumerate() {
                let cell = if c == 0 { shorten(cell, widths[0]) } else { cell.clone() };
                let pad = " ".repeat(widths[c].saturating_sub(cell.width()));
                if c == 0 {
                    line.push_str(&cell);
                    line.push_str(&pad);
                } else {
                    line.push_str("  ");
                    line.push_str(&pad);
                    line.push_str(&cell);
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// As a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|c| escape(c)).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
            if i == 0 {
                let rule: Vec<&str> = (0..row.len()).map(|c| if c == 0 { ":--" } else { "--:" }).collect();
                out.push_str(&format!("| {} |\n", rule.join(" | ")));
            }
        }
        out
    }
}

/// Text that means itself in Markdown.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '*' | '_' | '`' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}

/// At most `width` columns, the middle replaced by an ellipsis.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let keep = width.saturating_sub(1);
    let (head, tail) = (keep - keep / 2, keep / 2);
    let start: String = chars[..head.min(chars.len())].iter().collect();
    let end: String = chars[chars.len() - tail.min(chars.len())..].iter().collect();
    format!("{start}…{end}")
}

/// Breaks `text` into lines of at most `width` columns, the second and later ones indented.
pub(crate) fn wrap(text: &str, width: usize, first: &str, rest: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.width() + 1 + word.width() > width {
            out.push_str(line.trim_end());
            out.push('\n');
            rest.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_tables_shorten_names_only() {
        let mut t = Table::new(["target", "TTFT"]);
        t.row(["a-very-long-target-name-of-somebody".to_owned(), "151 ms".to_owned()]);
        for line in t.text(30).lines() {
            assert!(line.width() <= 30, "{line}");
        }
        assert!(t.text(30).contains("…") && t.text(30).contains("151 ms"));
        assert!(t.text(80).contains("a-very-long-target-name-of-somebody"));
    }

    #[test]
    fn silent_columns_are_dropped_and_named() {
        let mut t = Table::new(["target", "cost", "TTFT"]);
        t.row(["a".to_owned(), "–".to_owned(), "1 ms".to_owned()]);
        assert_eq!(t.drop_absent(), ["cost"]);
        assert_eq!(t.text(80), "target  TTFT\na       1 ms\n");
    }

    #[test]
    fn markdown_is_escaped() {
        let mut t = Table::new(["a|b"]);
        t.row(["x_y\nz".to_owned()]);
        assert_eq!(t.markdown(), "| a\\|b |\n| :-- |\n| x\\_y z |\n");
    }
}
