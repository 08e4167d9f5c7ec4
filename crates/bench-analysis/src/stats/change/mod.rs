//! When did a series of runs change: change points of a history, found offline and online.
//!
//! One value a run, in order of time. [`rank_scan`] is the test that decides, [`segments`] applies it again and again and
//! says by how much the level moved, [`prewhiten`] takes out the memory of a drifting environment, [`trend_break`] looks for bends
//! in one, [`history`] is the whole recipe. [`edivisive`],
//! [`pelt`], [`control`] (CUSUM, EWMA) and [`bocpd`] are second opinions that vote and never alarm alone. [`online`] watches
//! run by run. [`score`] marks any of them against points that people marked.
//!
//! A change point is the 0-based index of the first value of the new segment. What is random takes its seed as an argument.

pub mod bocpd;
pub mod control;
pub mod edivisive;
pub mod history;
pub mod online;
pub mod pelt;
pub mod prewhiten;
pub mod rank_scan;
pub mod score;
pub mod segments;
pub mod trend_break;
