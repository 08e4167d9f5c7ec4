//! A page of headings, tables and sentences, as text of a given width or as Markdown. What the judgements over saved runs are put
//! into ([`study`](crate::study()), [`aggregate`](crate::aggregate()), [`trend`](crate::trend()), [`checks`](crate::checks())); a run's own
//! report has its own pages.

use crate::{
    Style,
    table::{Table, escape, wrap},
};

enum Part {
    Title(String),
    Table(Table),
    Item(String),
}

/// See the module.
#[derive(Default)]
pub struct Sheet {
    parts: Vec<Part>,
}

impl std::fmt::Debug for Sheet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sheet").field("parts", &self.parts.len()).finish()
    }
}

impl Sheet {
    pub(crate) fn title(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Title(text.into()));
    }

    /// Columns without a value are left out; a table without rows is no part.
    pub(crate) fn table(&mut self, mut table: Table) {
        if !table.is_empty() {
            table.drop_absent();
            self.parts.push(Part::Table(table));
        }
    }

    pub(crate) fn item(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Item(text.into()));
    }

    /// Several pages, one after the other.
    pub fn joined(pages: impl IntoIterator<Item = Self>) -> Self {
        Self { parts: pages.into_iter().flat_map(|page| page.parts).collect() }
    }

    /// For a terminal.
    pub fn text(&self, style: &Style) -> String {
        let width = style.width.max(60);
        let mut out = String::new();
        for (i, part) in self.parts.iter().enumerate() {
            match part {
                Part::Title(text) => {
                    let text = wrap(text, width, "", "  ");
                    let text = text.trim_end();
                    let gap = if i == 0 { "" } else { "\n" };
                    if style.color {
                        out.push_str(&format!("{gap}\x1b[1m{text}\x1b[0m\n"));
                    } else {
                        out.push_str(&format!("{gap}{text}\n"));
                    }
                }
                Part::Table(table) => out.push_str(&table.text(width)),
                Part::Item(text) => out.push_str(&wrap(text, width, "  ", "    ")),
            }
        }
        out
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (i, part) in self.parts.iter().enumerate() {
            match part {
                Part::Title(text) if i == 0 => out.push_str(&format!("## {}\n\n", escape(text))),
                Part::Title(text) => out.push_str(&format!("\n### {}\n\n", escape(text))),
                Part::Table(table) => {
                    out.push_str(&table.markdown());
                    out.push('\n');
                }
                Part::Item(text) => out.push_str(&format!("- {}\n", escape(text))),
            }
        }
        out
    }
}
