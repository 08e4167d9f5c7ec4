//! Counts on a logarithmic grid: quantiles of any number of values in fixed memory, with a stated relative error.
//!
//! The grid is HdrHistogram's: `2^k` equal steps up to `2^k`, then half as many in each octave, with `k` the least that keeps the
//! significant figures asked for. A quantile is the highest value of the step that holds the rank `⌈p n⌉` (type 1): off by
//! less than `10^-figures` of itself. Merging adds counts: exactly associative, in any order.
//!
//! # Source
//! Tene, HdrHistogram 2.1 (`AbstractHistogram`).

use serde::{Deserialize, Serialize};

/// The steps of a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// log2 of the steps in an octave
    bits: u32,
}

impl Grid {
    /// Three significant figures: what every sketch of this workspace has.
    pub const THREE: Self = Self::figures(3);

    /// A grid that keeps `figures` significant figures, 1 to 5.
    pub const fn figures(figures: u32) -> Self {
        let figures = if figures == 0 {
            1
        } else if figures > 5 {
            5
        } else {
            figures
        };
        let needed = 2 * 10_u64.pow(figures);
        Self { bits: needed.next_power_of_two().trailing_zeros() - 1 }
    }

    /// Equal steps at the lower end: 256 for two figures, 2048 for three.
    pub const fn lowest_steps(self) -> u64 {
        1 << (self.bits + 1)
    }

    /// The step that holds a value.
    pub const fn step(self, value: u64) -> usize {
        if value < self.lowest_steps() {
            return value as usize;
        }
        let shift = value.ilog2() - self.bits;
        ((shift as usize) << self.bits) + (value >> shift) as usize
    }

    /// The least and the greatest value of a step.
    pub const fn bounds(self, step: usize) -> (u64, u64) {
        if (step as u64) < self.lowest_steps() {
            return (step as u64, step as u64);
        }
        let shift = (step >> self.bits) - 1;
        let low = ((step - (shift << self.bits)) as u64) << shift;
        (low, low + ((1 << shift) - 1))
    }
}

/// How many values lie in each step of a grid.
///
/// Written as its figures and the steps that hold something; read back it is the same to the last count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Hdr {
    grid: Grid,
    counts: Vec<u64>,
    total: u64,
}

/// A sketch in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// significant figures, 1 to 5
    figures: u32,
    /// step and count, steps rising, counts above 0
    steps: Vec<(u32, u64)>,
}

impl From<Hdr> for Written {
    fn from(hdr: Hdr) -> Self {
        let figures = (1..=5).find(|f| Grid::figures(*f) == hdr.grid).unwrap_or(3);
        let steps = (0..).zip(hdr.counts).filter(|(_, count)| 0 < *count).collect();
        Self { figures, steps }
    }
}

impl TryFrom<Written> for Hdr {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        if !(1..=5).contains(&written.figures) {
            return Err(format!("expected 1 to 5 significant figures, found {}", written.figures));
        }
        let mut hdr = Self::new(Grid::figures(written.figures));
        let last = hdr.grid.step(u64::MAX);
        for (step, count) in written.steps {
            let step = step as usize;
            if step < hdr.counts.len() || last < step || count == 0 {
                return Err(format!(
                    "expected steps up to {last} in rising order, none empty; found step {step}"
                ));
            }
            hdr.counts.resize(step + 1, 0);
            hdr.counts[step] = count;
            hdr.total =
                hdr.total.checked_add(count).ok_or("expected fewer values than a 64-bit number counts")?;
        }
        Ok(hdr)
    }
}

impl Hdr {
    /// Without values yet.
    pub fn new(grid: Grid) -> Self {
        Self { grid, counts: Vec::new(), total: 0 }
    }

    /// Adds a value. Allocates only when it is larger than any before.
    pub fn add(&mut self, value: u64) {
        let step = self.grid.step(value);
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
        self.total += 1;
    }

    /// Values there are.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds all of another. `None`, and nothing changed, when it has another grid.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> Option<()> {
        if self.grid != other.grid {
            return None;
        }
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        Some(())
    }

    /// The quantile of level `p` in [0, 1]: the greatest value of the step that holds the rank `⌈p n⌉`. `None` without values.
    pub fn quantile(&self, p: f64) -> Option<u64> {
        self.at_rank(((p * self.total as f64).ceil() as u64).clamp(1, self.total.max(1)))
    }

    /// The greatest value of the step that holds the value of rank `rank` (1-based). `None` beyond the last.
    pub fn at_rank(&self, rank: u64) -> Option<u64> {
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += count;
            rank <= seen
        })?;
        Some(self.grid.bounds(step).1)
    }

    /// The mean of the middles of the steps. `None` without values.
    pub fn mean(&self) -> Option<f64> {
        let middle = |step: usize| {
            let (low, high) = self.grid.bounds(step);
            (low + (high - low).div_ceil(2)) as f64
        };
        let sum: f64 = self.counts.iter().enumerate().map(|(step, n)| middle(step) * *n as f64).sum();
        (0 < self.total).then(|| sum / self.total as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_step_holds_its_value_and_is_narrow(value in 0_u64..1 << 60) {
            for figures in 1..=5 {
                let grid = Grid::figures(figures);
                let step = grid.step(value);
                let (low, high) = grid.bounds(step);
                prop_assert!(low <= value && value <= high);
                prop_assert!((high - low) as f64 <= low as f64 / 10_f64.powi(figures as i32));
                prop_assert_eq!(grid.step(low), step);
                prop_assert_eq!(grid.step(high + 1), step + 1);
            }
        }

        #[test]
        fn quantiles_are_as_near_as_is_said_and_merging_is_adding(
            mut values in proptest::collection::vec(0_u64..1 << 40, 1..300), cut in 0_usize..300, p in 0.0..1.0
        ) {
            let sketch = |list: &[u64]| {
                let mut hdr = Hdr::new(Grid::THREE);
                for v in list {
                    hdr.add(*v);
                }
                hdr
            };
            let whole = sketch(&values);
            let (a, b) = values.split_at(cut.min(values.len()));
            let (mut ab, mut ba) = (sketch(a), sketch(b));
            ab.merge(&sketch(b)).unwrap();
            ba.merge(&sketch(a)).unwrap();
            prop_assert_eq!(ab.quantile(p), whole.quantile(p));
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(whole.len(), values.len() as u64);
            values.sort_unstable();
            let exact = values[((p * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1];
            let found = whole.quantile(p).unwrap();
            prop_assert!(exact <= found && (found - exact) as f64 <= exact as f64 * 1e-3);
        }
    }

    #[test]
    fn written_and_read_back_it_is_the_same() {
        let mut hdr = Hdr::new(Grid::THREE);
        for value in [0, 1, 1, 2047, 2048, 1_000_000, u64::from(u32::MAX)] {
            hdr.add(value);
        }
        let text = serde_json::to_string(&hdr).unwrap();
        assert_eq!(serde_json::from_str::<Hdr>(&text).unwrap(), hdr);
        for wrong in [
            r#"{"figures":9,"steps":[]}"#,
            r#"{"figures":3,"steps":[[5,1],[5,1]]}"#,
            r#"{"figures":3,"steps":[[5,0]]}"#,
            r#"{"figures":3,"steps":[[4000000000,1]]}"#,
            r#"{"figures":3,"steps":[[1,18446744073709551615],[2,1]]}"#,
        ] {
            assert!(serde_json::from_str::<Hdr>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_values_or_with_another_grid() {
        let mut hdr = Hdr::new(Grid::THREE);
        assert_eq!((hdr.quantile(0.5), hdr.mean(), hdr.is_empty()), (None, None, true));
        assert_eq!(hdr.merge(&Hdr::new(Grid::figures(2))), None);
    }
}
