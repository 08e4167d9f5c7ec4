//! Simulations that hold the statistics of this crate to what they claim: coverage of intervals, false alarms, power.
//!
//! An [`Experiment`] draws a data set from a law that is known, asks the code that a report is made by, and scores the
//! answer; a [`Row`] is the mean score of one question over all data sets, with the band it must lie in. Seeds are fixed and
//! every data set has a stream of its own, so that the rows are the same on every machine and for any number of threads.
//! `llms-bench validate --statistics` prints them. Draws only; reads no clock and no file.

mod comparison;
mod dependence;
mod draw;
mod history;
mod intervals;
mod process;
mod work;

pub use comparison::interleaved;
pub use draw::Draw;
pub use process::Process;
pub use work::{Experiment, Options, Question, Row, Trial, run, yes};

/// Every experiment there is, in the order of their rows.
pub fn experiments() -> Vec<Experiment> {
    [dependence::experiments(), intervals::experiments(), comparison::experiments(), history::experiments()]
        .into_iter()
        .flatten()
        .collect()
}
