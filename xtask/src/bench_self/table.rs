//! What was measured, judged against what is required: pure, rows in, table out.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::truth::quantile;

/// What a row must hold.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// The client's value is at most this.
    AtMost(f64),
    /// The client's value over that of whom it is set against is at most this.
    RatioAtMost(f64),
    /// The same, at least this.
    RatioAtLeast(f64),
    /// Nothing is required; shown only.
    Nothing,
}

/// One row: the client's value in each pair, and that of whom it is set against in the same pair.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Vec<f64>,
    /// In the order of `ours`; empty when there was nothing to set it against.
    pub(crate) other: Vec<f64>,
    pub(crate) required: Bound,
    pub(crate) aim: Bound,
    /// Whether the load of the machine leaves it as it is, as it does with memory.
    pub(crate) steady: bool,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As aimed at.
    Aim,
    /// As required.
    Pass,
    /// Not as required, on a machine quiet enough to say so.
    Miss,
    /// The machine was busy, or the value is missing.
    CannotTell,
    /// Nothing is required.
    Shown,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Aim => "PASS, aim met",
            Self::Pass => "PASS",
            Self::Miss => "MISS",
            Self::CannotTell => "CANNOT TELL",
            Self::Shown => "–",
        }
    }
}

impl Row {
    /// The ratio of each pair. Two zeros are equal.
    fn ratios(&self) -> Vec<f64> {
        let ratio = |(a, b): (&f64, &f64)| if a == b { 1.0 } else { a / b };
        self.ours.iter().zip(&self.other).map(ratio).collect()
    }

    /// Whether the median keeps the bound; `None` without a value.
    fn keeps(&self, bound: Bound) -> Option<bool> {
        match bound {
            Bound::AtMost(most) => quantile(&self.ours, 0.5).map(|v| v <= most),
            Bound::RatioAtMost(most) => quantile(&self.ratios(), 0.5).map(|v| v <= most),
            Bound::RatioAtLeast(least) => quantile(&self.ratios(), 0.5).map(|v| v >= least),
            Bound::Nothing => None,
        }
    }

    /// On a busy machine nothing is a miss, and a ratio is nothing: the two sides need not have suffered alike. What is
    /// small enough in spite of the load is small enough.
    pub(crate) fn verdict(&self, busy: bool) -> Verdict {
        let trusted = |bound| self.steady || !busy || matches!(bound, Bound::AtMost(_));
        match (self.required, self.keeps(self.required)) {
            (Bound::Nothing, _) => Verdict::Shown,
            (_, Some(true)) if self.keeps(self.aim) == Some(true) && trusted(self.aim) => Verdict::Aim,
            (required, Some(true)) if trusted(required) => Verdict::Pass,
            (_, Some(false)) if self.steady || !busy => Verdict::Miss,
            _ => Verdict::CannotTell,
        }
    }

    fn json(&self, busy: bool) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "client": self.ours, "against": self.other, "ratio": self.ratios(),
            "required": bound(self.required, self.unit), "aim": bound(self.aim, self.unit),
            "verdict": self.verdict(busy).words(),
        })
    }
}

/// All rows as a table that is Markdown too.
pub(crate) fn text(rows: &[Row], busy: bool) -> String {
    let head = ["", "client", "against", "ratio", "required", "aim", "verdict"].map(str::to_owned);
    let mut cells = vec![head];
    for row in rows {
        cells.push([
            format!("{}, {}", row.what, row.unit),
            spread(&row.ours),
            spread(&row.other),
            spread(&row.ratios()),
            bound(row.required, row.unit),
            bound(row.aim, row.unit),
            row.verdict(busy).words().to_owned(),
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|i| cells.iter().map(|c| c[i].chars().count()).max().unwrap_or(0).max(3)).collect();
    let mut out = String::new();
    for (n, line) in cells.iter().enumerate() {
        for (cell, &width) in line.iter().zip(&widths) {
            write!(out, "| {cell:width$} ").expect("invariant: a string takes what is written");
        }
        out.push_str("|\n");
        if n == 0 {
            for &width in &widths {
                write!(out, "| {:-<width$} ", "").expect("invariant: a string takes what is written");
            }
            out.push_str("|\n");
        }
    }
    out
}

/// All rows for programs.
pub(crate) fn json(rows: &[Row], busy: bool) -> Vec<Value> {
    rows.iter().map(|r| r.json(busy)).collect()
}

/// `median [least, greatest]`; the value alone when there is one; a dash when there is none.
fn spread(values: &[f64]) -> String {
    match (quantile(values, 0.0), quantile(values, 0.5), quantile(values, 1.0)) {
        (Some(low), Some(median), Some(high)) if values.len() > 1 => {
            format!("{} [{}, {}]", short(median), short(low), short(high))
        }
        (_, Some(only), _) => short(only),
        _ => "–".to_owned(),
    }
}

/// Three figures, as people read them.
fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

fn bound(bound: Bound, unit: &str) -> String {
    match bound {
        // A unit that is a question needs no repeating.
        Bound::AtMost(most) if unit.starts_with("0 ") => format!("≤ {most}"),
        Bound::AtMost(most) => format!("≤ {most} {unit}"),
        Bound::RatioAtMost(most) => format!("≤ {most}×"),
        Bound::RatioAtLeast(least) => format!("≥ {least}×"),
        Bound::Nothing => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        ours: &[f64],
        other: &[f64],
        required: Bound,
        aim: Bound,
        steady: bool,
        quiet: Verdict,
        busy: Verdict,
    ) {
        let (ours, other) = (ours.to_vec(), other.to_vec());
        let row = Row { what: "x".to_owned(), unit: "ms", ours, other, required, aim, steady };
        assert_eq!((row.verdict(false), row.verdict(true)), (quiet, busy));
    }

    #[test]
    fn verdicts() {
        use Bound::{AtMost, Nothing, RatioAtLeast, RatioAtMost};
        use Verdict::{Aim, CannotTell, Miss, Pass, Shown};
        check(&[1.0, 2.0, 9.0], &[], AtMost(2.0), AtMost(1.0), false, Pass, Pass);
        check(&[1.0], &[], AtMost(2.0), AtMost(1.0), false, Aim, Aim);
        check(&[3.0], &[], AtMost(2.0), AtMost(1.0), false, Miss, CannotTell);
        check(&[3.0], &[], AtMost(2.0), AtMost(1.0), true, Miss, Miss);
        check(&[], &[], AtMost(2.0), AtMost(1.0), true, CannotTell, CannotTell);
        check(&[3.0, 3.0], &[2.0, 2.0], RatioAtMost(1.5), RatioAtMost(1.2), false, Pass, CannotTell);
        check(&[0.0], &[0.0], RatioAtMost(1.5), RatioAtMost(1.0), false, Aim, CannotTell);
        check(&[1.0], &[0.0], RatioAtMost(1.5), RatioAtMost(1.0), false, Miss, CannotTell);
        check(&[1.0], &[2.0], RatioAtLeast(0.9), RatioAtLeast(1.1), false, Miss, CannotTell);
        // An absolute requirement that is met, an aim that only a quiet machine could show.
        check(&[1.0], &[2.0], AtMost(2.0), RatioAtMost(1.0), false, Aim, Pass);
        check(&[1.0], &[2.0], Nothing, Nothing, false, Shown, Shown);
    }

    #[test]
    fn a_table() {
        let row = |ours: &[f64]| Row {
            what: "lag".to_owned(),
            unit: "ms",
            ours: ours.to_vec(),
            other: vec![2.0; ours.len()],
            required: Bound::AtMost(1.0),
            aim: Bound::RatioAtMost(1.5),
            steady: false,
        };
        let text = text(&[row(&[1.0, 3.0, 2.0]), row(&[])], false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| lag, ms | 2.00 [1.00, 3.00] | 2.00 [2.00, 2.00] | 1.00 [0.500, 1.50] | ≤ 1 ms   | ≤ 1.5× | MISS        |"
        );
        assert_eq!(lines[3].matches('–').count(), 3, "{}", lines[3]);
    }
}
