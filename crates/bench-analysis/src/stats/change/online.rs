//! The rank scan run by run: thresholds that a stable history passes once in so many runs, whatever its law.
//!
//! After each run the best split of what was seen is held against a limit that depends on the number of runs and on the wanted
//! average run length to a false alarm (ARL0) only. With `m` series watched at once, ask for `m` times the ARL0.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rank_scan::{self, Split};
use crate::stats::interval::StatsError;

/// Runs before the first look.
pub const FIRST: usize = 12;
/// Runs looked at at once: older ones leave.
pub const LAST: usize = 100;
/// Fewest runs on either side of a split.
pub const SEGMENT_MIN: usize = 2;
/// ARL0 of the table's rows; between them the limit is linear in the logarithm.
pub const ARL0: [f64; 6] = [200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];
/// Standard error of the table's entries up to ARL0 1000; at 10000 it is 0.02.
pub const TABLE_SE: f64 = 0.005;

const SIZES: [usize; 20] = [12, 13, 14, 15, 16, 18, 20, 22, 25, 28, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100];

/// [`simulated`] on 1,000,000 series a row, averaged over neighbouring sizes from 18 on. The first entries of a row are the
/// largest |z| there is at that size: no alarm is possible yet.
#[rustfmt::skip]
const TABLE: [[f64; 20]; 6] = [
    [2.8421, 2.8572, 2.8403, 2.8724, 2.8889, 2.862, 2.875, 2.873, 2.880, 2.891, 2.896, 2.901, 2.907, 2.909, 2.911, 2.916, 2.919, 2.920, 2.920, 2.920],
    [2.8824, 3.0001, 3.0028, 3.0620, 3.0371, 3.053, 3.080, 3.098, 3.115, 3.137, 3.145, 3.159, 3.168, 3.175, 3.179, 3.188, 3.196, 3.199, 3.201, 3.203],
    [2.8824, 3.0001, 3.0985, 3.1247, 3.1456, 3.206, 3.247, 3.261, 3.278, 3.299, 3.311, 3.333, 3.346, 3.357, 3.364, 3.376, 3.386, 3.394, 3.395, 3.397],
    [2.8824, 3.0001, 3.1306, 3.2405, 3.2558, 3.320, 3.353, 3.377, 3.419, 3.450, 3.469, 3.491, 3.517, 3.531, 3.539, 3.549, 3.568, 3.579, 3.580, 3.582],
    [2.8824, 3.0001, 3.1306, 3.2405, 3.3344, 3.450, 3.482, 3.542, 3.590, 3.620, 3.643, 3.678, 3.712, 3.742, 3.751, 3.768, 3.791, 3.811, 3.812, 3.815],
    [2.8824, 3.0001, 3.1306, 3.2405, 3.3608, 3.523, 3.592, 3.645, 3.702, 3.741, 3.773, 3.813, 3.849, 3.880, 3.898, 3.920, 3.945, 3.970, 3.976, 3.980],
];

/// The |z| above which `n` runs alarm. Above [`LAST`] runs it is that at [`LAST`].
///
/// # Errors
/// `OutOfRange` for an ARL0 outside 200 to 10000; `TooFew` below [`FIRST`] runs.
pub fn threshold(n: usize, arl0: f64) -> Result<f64, StatsError> {
    if !(ARL0[0]..=ARL0[5]).contains(&arl0) {
        return Err(StatsError::OutOfRange {
            what: "average run length to a false alarm",
            range: "between 200 and 10000",
            got: arl0,
        });
    }
    if n < FIRST {
        return Err(StatsError::TooFew { what: "a sequential scan", needed: FIRST as u64, have: n as u64 });
    }
    let upper = ARL0.partition_point(|a| *a < arl0).max(1);
    let share = (arl0 / ARL0[upper - 1]).ln() / (ARL0[upper] / ARL0[upper - 1]).ln();
    let n = n.min(LAST);
    let right = SIZES.partition_point(|s| *s < n).max(1);
    let at = (n - SIZES[right - 1]) as f64 / (SIZES[right] - SIZES[right - 1]) as f64;
    let row = |i: usize| TABLE[i][right - 1] + at * (TABLE[i][right] - TABLE[i][right - 1]);
    Ok(row(upper - 1) + share * (row(upper) - row(upper - 1)))
}

/// An alarm of the sequential scan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    /// 0-based number of the run that raised it
    pub run: usize,
    /// 0-based number of the first run of the new level
    pub at: usize,
    /// the split's standardised rank sum: negative where the values rise
    pub z: f64,
    /// the limit that |z| passed
    pub threshold: f64,
}

/// Watches one series. After an alarm it goes on with the runs of the new level.
#[derive(Debug, Clone)]
pub struct OnlineScan {
    arl0: f64,
    values: Vec<f64>,
    first: usize,
}

impl OnlineScan {
    /// A watch with one false alarm in `arl0` runs of a stable series.
    ///
    /// # Errors
    /// `OutOfRange` as [`threshold`].
    pub fn new(arl0: f64) -> Result<Self, StatsError> {
        threshold(FIRST, arl0)?;
        Ok(Self { arl0, values: Vec::with_capacity(LAST), first: 0 })
    }

    /// One more run; `+∞` (no success) ranks like any value.
    ///
    /// # Errors
    /// `NotANumber`.
    pub fn observe(&mut self, x: f64) -> Result<Option<Alarm>, StatsError> {
        if x.is_nan() {
            return Err(StatsError::NotANumber { position: self.first + self.values.len() });
        }
        if self.values.len() == LAST {
            self.values.remove(0);
            self.first += 1;
        }
        self.values.push(x);
        let n = self.values.len();
        if n < FIRST {
            return Ok(None);
        }
        let limit = threshold(n, self.arl0)?;
        let Split { at, z } = rank_scan::scan(&self.values, SEGMENT_MIN)?;
        if z.abs() <= limit {
            return Ok(None);
        }
        let alarm = Alarm { run: self.first + n - 1, at: self.first + at, z, threshold: limit };
        self.values.drain(..at);
        self.first += at;
        Ok(Some(alarm))
    }
}

/// The limits at sizes [`FIRST`]..=[`LAST`], by simulation: at each size the (1 − 1/ARL0) quantile of the largest |z| among
/// the stable series that have not alarmed before. How the table was made.
pub fn simulated(arl0: f64, series: usize, seed: u64) -> Vec<f64> {
    let looks = LAST + 1 - FIRST;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut paths = vec![0.0_f32; series * looks];
    for path in paths.chunks_mut(looks) {
        path_of_largest(&mut rng, path);
    }
    let mut quiet: Vec<usize> = (0..series).collect();
    (0..looks)
        .map(|look| {
            let mut z: Vec<f32> = quiet.iter().map(|i| paths[i * looks + look]).collect();
            z.sort_unstable_by(f32::total_cmp);
            let rank = (z.len() as f64 * (1.0 - 1.0 / arl0)).ceil() as usize;
            let limit = z[rank.clamp(1, z.len()) - 1];
            quiet.retain(|i| paths[i * looks + look] <= limit + 1e-5);
            f64::from(limit)
        })
        .collect()
}

/// The largest |z| after each run of one stable series, ranks kept up to date run by run.
fn path_of_largest(rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let (mut values, mut ranks) = ([0.0_f32; LAST], [0.0_f32; LAST]);
    for n in 1..=LAST {
        let x: f32 = rng.random();
        let mut rank = 1.0;
        for (v, r) in values.iter().zip(&mut ranks).take(n - 1) {
            if x < *v {
                *r += 1.0;
            } else {
                rank += 1.0;
            }
        }
        values[n - 1] = x;
        ranks[n - 1] = rank;
        if FIRST <= n {
            let centre = 0.5 * (n as f32 + 1.0);
            let (mut sum, mut largest) = (0.0_f32, 0.0_f32);
            for (i, r) in ranks.iter().enumerate().take(n - SEGMENT_MIN) {
                sum += r - centre;
                let k = i + 1;
                if SEGMENT_MIN <= k {
                    largest = largest.max(sum * sum / (k as f32 * (n - k) as f32));
                }
            }
            out[n - FIRST] = (largest * 12.0 / (n as f32 + 1.0)).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_the_simulation_gives() {
        let limits = simulated(200.0, 20_000, 11);
        for (n, limit) in (FIRST..=LAST).zip(&limits) {
            let table = threshold(n, 200.0).unwrap();
            assert!((limit - table).abs() < 0.09, "n {n}: {limit}, table {table}");
        }
    }

    #[test]
    fn limits_rise_with_the_wanted_run_length() {
        for n in [12, 17, 33, 100, 400] {
            let row: Vec<f64> =
                [200.0, 350.0, 500.0, 2500.0, 10000.0].map(|a| threshold(n, a).unwrap()).to_vec();
            assert!(row.is_sorted(), "n {n}: {row:?}");
        }
        assert!(
            threshold(11, 500.0).is_err() && threshold(50, 100.0).is_err() && threshold(50, 2e4).is_err()
        );
    }

    #[test]
    fn a_step_alarms_soon_and_the_watch_goes_on_from_there() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut watch = OnlineScan::new(500.0).unwrap();
        let mut alarms = Vec::new();
        for run in 0..180 {
            let level = if run < 70 {
                0.0
            } else if run < 130 {
                2.0
            } else {
                0.0
            };
            let noise: f64 = rng.random();
            alarms.extend(watch.observe(level + noise).unwrap());
        }
        // the place is an estimate: a first one that is too early alarms again once more runs are there
        assert!((2..=4).contains(&alarms.len()), "{alarms:?}");
        assert!((70..78).contains(&alarms[0].run) && alarms[0].z < 0.0, "{alarms:?}");
        let last = alarms.last().unwrap();
        assert!((130..138).contains(&last.run) && last.at.abs_diff(130) <= 3 && 0.0 < last.z, "{alarms:?}");
        assert!(watch.observe(f64::NAN).is_err());
    }
}
