//! Standard output and result files.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
};

use bench_analysis::{
    Analyzer,
    cost::{PriceTable, Prices},
};
use bench_report::{Document, Style, render_json, render_markdown, render_text};

use llms_core::config::process_env;

use crate::{
    cli::{Format, OutputArgs},
    exit::Failure,
};

/// Files written, as label and path.
pub(crate) type Files = Vec<(String, String)>;

/// The price file given, then the bundled prices.
pub(crate) fn prices(prices: Option<&Path>) -> Result<Prices, Failure> {
    let simulated = PriceTable::parse(&crate::simulated::prices().to_string())
        .map_err(|e| Failure::run(format!("simulated prices: {e}")))?;
    let bundled = Prices::default().with(simulated);
    let Some(path) = prices else { return Ok(bundled) };
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("--prices: cannot read {}: {e}", path.display())))?;
    let table =
        PriceTable::parse(&text).map_err(|e| Failure::usage(format!("--prices: {}: {e}", path.display())))?;
    Ok(bundled.with(table))
}

/// The analyzer with these prices.
pub(crate) fn analyzer(given: Option<&Path>) -> Result<Analyzer, Failure> {
    Ok(Analyzer::new().with_prices(prices(given)?))
}

/// Columns of the terminal, 80 elsewhere.
fn width() -> usize {
    if !io::stdout().is_terminal() {
        return 80;
    }
    rustix::termios::tcgetwinsize(io::stdout()).map_or(80, |size| usize::from(size.ws_col)).clamp(60, 120)
}

/// How text is laid out there.
pub(crate) fn style() -> Style {
    let color = io::stdout().is_terminal() && process_env("NO_COLOR").is_none();
    Style { width: width(), color }
}

/// Writes to standard output. A reader that closes early (`| head`) is no failure of ours.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::run(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints the report and writes the files asked for.
pub(crate) fn write(doc: &Document<'_>, out: &OutputArgs) -> Result<(), Failure> {
    let mut files = doc.files.to_vec();
    for (label, path) in [("JSON", &out.json), ("Markdown", &out.markdown)] {
        files.extend(path.as_ref().map(|p| (label.to_owned(), p.display().to_string())));
    }
    let doc = &Document { files: &files, ..*doc };
    let text = match out.format {
        Format::Text => render_text(doc, &style()),
        Format::Markdown => render_markdown(doc),
        Format::Json => render_json(doc),
    };
    // Printed before any file is written, so that a full disk costs the file and not the result.
    print(&text)?;
    if let Some(path) = &out.json {
        save(path, &render_json(doc))?;
    }
    if let Some(path) = &out.markdown {
        save(path, &render_markdown(doc))?;
    }
    Ok(())
}

/// Replaces a file in one step where its directory permits: readers see the old or the new one, never half.
fn save(path: &Path, text: &str) -> Result<(), Failure> {
    let part = path.with_added_extension("part");
    let special = path.exists() && !path.is_file();
    let written = if special {
        fs::write(path, text)
    } else {
        fs::write(&part, text).and_then(|()| fs::rename(&part, path))
    };
    written.map_err(|e| Failure::run(format!("cannot write {}: {e}", path.display())))
}
