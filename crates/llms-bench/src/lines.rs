//! Lines of plain reports: items of at most 80 columns, estimates with their intervals.

use llms_core::bench::{Estimate, Measured};

/// One item: a bullet for Markdown, else indented and broken at 80 columns.
pub(crate) fn item(text: &str, markdown: bool) -> String {
    if markdown { format!("- {text}\n") } else { wrapped(text) }
}

fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::from("  "), 2);
    for (i, word) in text.split(' ').enumerate() {
        let long = word.chars().count();
        if 0 < i && 80 < column + 1 + long {
            out.push_str("\n      ");
            column = 6;
        } else if 0 < i {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += long;
    }
    out.push('\n');
    out
}

/// With its unit, or why there is none.
pub(crate) fn measured(m: &Measured<Estimate>, unit: &str) -> String {
    match m {
        Measured::Value(e) if unit.is_empty() => estimate(e),
        Measured::Value(e) => format!("{} {unit}", estimate(e)),
        Measured::Absent { absent } => format!("– {absent}"),
    }
}

/// `151 [149, 154]`.
pub(crate) fn estimate(e: &Estimate) -> String {
    let value = e.value.value.map_or("∞".to_owned(), number);
    match (e.low.and_then(|b| b.value), e.high.and_then(|b| b.value)) {
        (Some(low), Some(high)) => format!("{value} [{}, {}]", number(low), number(high)),
        _ => format!("{value} (no interval: {})", e.note.as_deref().unwrap_or("unknown")),
    }
}

/// Four significant digits, without exponents.
pub(crate) fn number(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return format!("{x}");
    }
    let digits = (3 - x.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{x:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
