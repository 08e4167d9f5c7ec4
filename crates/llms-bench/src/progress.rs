//! Where a run stands, on standard error: a bar on a terminal, a line now and then elsewhere, nothing when quiet.

use std::{
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use llms_core::bench::{Progress, ProgressUpdate, RunPhase};

/// Seconds between lines when there is no terminal.
const LINE_EVERY_S: f64 = 5.0;

/// The display of one run.
#[derive(Debug)]
pub struct Display {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Bar(ProgressBar),
    Lines(Mutex<f64>),
    Quiet,
}

impl Display {
    /// The display that fits standard error.
    ///
    /// # Panics
    /// Never: the template is a constant.
    pub fn new(quiet: bool) -> Self {
        let kind = if quiet {
            Kind::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(
                ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
                    .expect("a constant template")
                    .progress_chars("━╸─"),
            );
            bar.enable_steady_tick(Duration::from_millis(250));
            Kind::Bar(bar)
        } else {
            Kind::Lines(Mutex::new(0.0))
        };
        Self { kind }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

fn text(u: &ProgressUpdate) -> String {
    let phase = match u.phase {
        RunPhase::Warmup => "warm-up · ",
        RunPhase::RampUp => "ramp-up · ",
        RunPhase::Measured | RunPhase::Replayed => "",
    };
    let rate = if u.elapsed_s > 0.0 { u.done as f64 / u.elapsed_s } else { 0.0 };
    let failed = if u.failed > 0 { format!(" · {} failed", u.failed) } else { String::new() };
    format!("{phase}{:.0}/s · {} in flight{failed} · {:.0} s", rate, u.in_flight, u.elapsed_s)
}

impl Progress for Display {
    #[allow(clippy::print_stderr, reason = "progress belongs on standard error")]
    fn update(&self, update: &ProgressUpdate) {
        match &self.kind {
            Kind::Bar(bar) => {
                match (update.planned, update.planned_s) {
                    (Some(planned), _) => {
                        bar.set_length(planned);
                        bar.set_position(update.done);
                    }
                    (None, Some(seconds)) => {
                        bar.set_length(seconds.ceil() as u64);
                        bar.set_position(update.elapsed_s as u64);
                    }
                    (None, None) => {}
                }
                bar.set_message(text(update));
            }
            Kind::Lines(next) => {
                let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                if update.elapsed_s >= *next {
                    *next = update.elapsed_s + LINE_EVERY_S;
                    let planned = update.planned.map_or_else(String::new, |p| format!("/{p}"));
                    eprintln!("{}{planned} requests · {}", update.done, text(update));
                }
            }
            Kind::Quiet => {}
        }
    }
}
