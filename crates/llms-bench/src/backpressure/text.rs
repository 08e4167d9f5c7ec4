//! What was found about slow readers, for the terminal.

use std::fmt::Write as _;

use bench_analysis::backpressure::SlowReaderClass;

use super::Found;

/// The class in words.
fn words(class: SlowReaderClass) -> &'static str {
    match class {
        SlowReaderClass::Pause => "PAUSE: it waits with the rest of the answer until the reader reads",
        SlowReaderClass::Buffer => "BUFFER: it goes on generating and keeps all of it for the reader",
        SlowReaderClass::Drop => "DROP: parts of the answer are missing",
        SlowReaderClass::Kill => "KILL: it ends the connection of a reader that does not read",
        SlowReaderClass::Inconclusive => "INCONCLUSIVE",
    }
}

pub(super) fn render(found: &Found<'_>) -> String {
    let mut text = format!("llms-bench backpressure · {}", found.target);
    if found.simulated {
        text.push_str(" (simulated)");
    }
    text.push('\n');
    let whole: Vec<_> = found.controls.iter().filter(|c| c.failed.is_none()).collect();
    if let Some(control) = whole.first() {
        let (chunks, kb) = (control.chunks, control.bytes / 1000);
        let _ = writeln!(text, "at full speed: {chunks} chunks, {kb} kB in {:.2} s", control.stream_s);
    }
    match found.class {
        Some(class) => _ = writeln!(text, "\n{}", words(class)),
        None => text.push_str("\nMIXED: the readers met different treatment\n"),
    }
    for (number, (reader, read)) in found.readers.iter().zip(found.slow).enumerate() {
        let paused = read.pause.map_or_else(String::new, |p| {
            format!(", did not read for {:.2} s after {} chunks", p.length_s, p.before)
        });
        let _ = writeln!(text, "  reader {}{paused}: {} — {}", number + 1, reader.class.as_str(), reader.why);
    }
    match (&found.neighbours, found.neighbours_suffer) {
        (Some(n), Some(suffer)) => {
            let _ = writeln!(
                text,
                "\nneighbours {}: time to first token × {:.2} [{:.2}, {:.2}], stream × {:.2} [{:.2}, {:.2}] beside slow readers ({} pairs)",
                if suffer { "SUFFER" } else { "do not suffer beyond doubt" },
                n.ttft,
                n.ttft_interval.0,
                n.ttft_interval.1,
                n.stream,
                n.stream_interval.0,
                n.stream_interval.1,
                n.pairs
            );
        }
        _ => text.push_str("\nneighbours: not judged\n"),
    }
    text
}
