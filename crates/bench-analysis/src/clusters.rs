//! Values that come in clusters, the gaps of one answer: exact up to [`EXACT`] of them, beyond that on a logarithmic grid.
//!
//! Both hold what a clustered estimate needs, so memory does not grow with the number of chunks. The interval of a quantile `q`
//! rests on `Σ (B − s n)²` over clusters, with `B` the values of a cluster up to `q`, `n` its size and `s` the share below `q`
//! (Woodruff 1952). On the grid it is had for every `q` from sums per step: when the values of a cluster are ranked, the k-th
//! adds `2k − 1` to `Σ B²` at its step and `n` to `Σ B n`. So one pass suffices, and only the steps are approximate: a value is
//! off by less than 0.1 % of itself.

use llms_core::bench::{Grid, Hdr, Measured, MetricDef, MetricSummary, QuantileEstimate};

use crate::estimate::{LEVELS, Setting, clustered_quantiles, interval_of_clusters, too_small};
use crate::stats::mean::{t_interval, t_interval_of};
use crate::stats::order_interval::smallest_n_two_sided;
use crate::stats::quantile::{QuantileType, Sample};
use crate::stats::summary::{mean, variance};

/// Values kept as they are, before the grid takes over: one mebibyte.
pub const EXACT: usize = 1 << 17;

/// What a grid of three figures is called beside a number.
const ON_GRID: &str = "HDR sketch of 3 significant figures (within 0.1 %), type 1";

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round().max(0.0) as u64
}

/// Clusters of values in seconds.
#[derive(Clone, Debug)]
pub struct Clusters {
    values: Vec<f64>,
    lengths: Vec<u32>,
    exact: usize,
    grid: Option<Box<OnGrid>>,
}

impl Default for Clusters {
    fn default() -> Self {
        Self::exact_up_to(EXACT)
    }
}

impl Clusters {
    /// Keeps so many values before the grid takes over.
    pub fn exact_up_to(exact: usize) -> Self {
        Self { values: Vec::new(), lengths: Vec::new(), exact, grid: None }
    }

    /// Adds a cluster: values with how often each occurs. Sorts them; an empty one is none.
    pub fn add(&mut self, cluster: &mut [(f64, u64)]) {
        let n = cluster.iter().fold(0_u64, |n, (_, times)| n.saturating_add(*times));
        if n == 0 {
            return;
        }
        if let Some(grid) = &mut self.grid {
            return grid.add(cluster);
        }
        if n <= (self.exact - self.values.len()) as u64 {
            for (value, times) in cluster.iter() {
                self.values.extend(std::iter::repeat_n(*value, *times as usize));
            }
            self.lengths.push(n as u32);
            return;
        }
        let mut grid = Box::<OnGrid>::default();
        for kept in clusters(&self.values, &self.lengths) {
            grid.add(&mut kept.iter().map(|v| (*v, 1)).collect::<Vec<_>>());
        }
        grid.add(cluster);
        (self.values, self.lengths) = (Vec::new(), Vec::new());
        self.grid = Some(grid);
    }

    /// Values there are.
    pub fn len(&self) -> u64 {
        self.grid.as_ref().map_or(self.values.len() as u64, |g| g.n)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The median over all values. `None` without values.
    pub fn median(&self) -> Option<f64> {
        match &self.grid {
            Some(grid) => Some(grid.at(grid.n.div_ceil(2)).1),
            None => Sample::new(&self.values[..]).ok().map(|s| s.median()),
        }
    }

    /// Pooled quantiles, and the mean with clusters as the unit. `None` without values.
    pub fn summary(&self, def: &MetricDef, setting: &Setting) -> Option<MetricSummary> {
        let summary = |n, mean, sd, min, max, quantiles| MetricSummary {
            metric: def.name.to_owned(),
            unit: def.unit.to_owned(),
            n,
            n_failed: 0,
            mean: Measured::Value(mean),
            sd,
            min,
            max,
            quantiles,
        };
        if let Some(grid) = &self.grid {
            let quantiles = LEVELS
                .iter()
                .map(|&p| {
                    let one = grid.quantile(p, setting);
                    QuantileEstimate { p, all: one.clone(), success: one }
                })
                .collect();
            let (min, max) = (Some(grid.min), Some(grid.max));
            return Some(summary(grid.n, grid.mean(setting), grid.sd(), min, max, quantiles));
        }
        let pooled = &self.values[..];
        if pooled.is_empty() {
            return None;
        }
        let n = pooled.len() as u64;
        let centre = mean(pooled);
        // ratio estimator of the pooled mean: residual sums of the requests, linearised
        let per_request = n as f64 / self.lengths.len() as f64;
        let linear: Vec<f64> = clusters(pooled, &self.lengths)
            .map(|c| centre + c.iter().map(|v| v - centre).sum::<f64>() / per_request)
            .collect();
        let estimate = match t_interval(&linear, setting.confidence) {
            Ok(t) => {
                let interval = t.interval.map(|v| v + (centre - t.mean));
                let units = (n, self.lengths.len() as u64);
                setting.mean((centre, interval), units, 0.0, "t, requests as clusters")
            }
            Err(e) => setting.point(centre, n, "mean", e.to_string()),
        };
        Some(summary(
            n,
            estimate,
            variance(pooled).map(f64::sqrt),
            pooled.iter().copied().reduce(f64::min),
            pooled.iter().copied().reduce(f64::max),
            clustered_quantiles(pooled, &self.lengths, setting),
        ))
    }
}

/// The clusters of pooled values.
pub(crate) fn clusters<'a>(pooled: &'a [f64], lengths: &'a [u32]) -> impl Iterator<Item = &'a [f64]> {
    let mut rest = pooled;
    lengths.iter().map(move |n| {
        let (cluster, behind) = rest.split_at(*n as usize);
        rest = behind;
        cluster
    })
}

/// One step of the grid.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// values in it
    count: u64,
    /// what they add to `Σ B²`
    squares: f64,
    /// what they add to `Σ B n`
    products: f64,
}

/// Any number of clusters. Sums are of distances from the mean of the first cluster, so that little cancels.
#[derive(Clone, Debug)]
struct OnGrid {
    steps: Vec<Step>,
    n: u64,
    clusters: u64,
    origin: f64,
    sum: f64,
    squares: f64,
    /// Over clusters, with S the sum of distances of one and n its size: Σ S², Σ S n, Σ n².
    cluster_squares: f64,
    cluster_products: f64,
    sizes: f64,
    min: f64,
    max: f64,
}

impl Default for OnGrid {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            n: 0,
            clusters: 0,
            origin: 0.0,
            sum: 0.0,
            squares: 0.0,
            cluster_squares: 0.0,
            cluster_products: 0.0,
            sizes: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl OnGrid {
    fn add(&mut self, cluster: &mut [(f64, u64)]) {
        cluster.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let size = cluster.iter().map(|(_, times)| *times as f64).sum::<f64>();
        if self.clusters == 0 {
            self.origin = cluster.iter().map(|(v, times)| v * *times as f64).sum::<f64>() / size;
        }
        let (mut below, mut sum) = (0.0, 0.0);
        for &(value, times) in cluster.iter().filter(|(_, times)| 0 < *times) {
            let step = Grid::THREE.step(nanos(value));
            if self.steps.len() <= step {
                self.steps.resize(step + 1, Step::default());
            }
            let times_f = times as f64;
            let step = &mut self.steps[step];
            step.count += times;
            step.squares += times_f * (2.0 * below + times_f);
            step.products += times_f * size;
            below += times_f;
            let distance = value - self.origin;
            sum += distance * times_f;
            self.squares += distance * distance * times_f;
            self.n += times;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.clusters += 1;
        self.sum += sum;
        self.cluster_squares += sum * sum;
        self.cluster_products += sum * size;
        self.sizes += size * size;
    }

    /// The step that holds a rank, with the counts and sums up to its end.
    fn up_to(&self, rank: u64) -> (usize, Step) {
        let mut so_far = Step::default();
        for (i, step) in self.steps.iter().enumerate() {
            so_far.count += step.count;
            so_far.squares += step.squares;
            so_far.products += step.products;
            if rank <= so_far.count {
                return (i, so_far);
            }
        }
        (self.steps.len().saturating_sub(1), so_far)
    }

    /// Bounds of the value of a rank, seconds.
    fn at(&self, rank: u64) -> (f64, f64) {
        let (low, high) = Grid::THREE.bounds(self.up_to(rank).0);
        let within = |ns: u64| (ns as f64 / 1e9).clamp(self.min, self.max);
        (within(low), within(high))
    }

    fn quantile(&self, p: f64, setting: &Setting) -> Measured<llms_core::bench::Estimate> {
        let n = self.n;
        if n < smallest_n_two_sided(p, setting.confidence).unwrap_or(u64::MAX) {
            return Measured::absent(too_small(p, setting.confidence, n as usize));
        }
        let n_f = n as f64;
        let rank = ((p * n_f).ceil() as u64).clamp(1, n);
        let value = self.at(rank).1;
        let (_, below) = self.up_to(rank);
        let share = below.count as f64 / n_f;
        let residuals = below.squares - 2.0 * share * below.products + share * share * self.sizes;
        let bounds = |low: f64, high: f64| {
            let rank = |r: f64| (r as u64).clamp(1, n);
            (self.at(rank(low)).0, self.at(rank(high)).1)
        };
        interval_of_clusters(
            value,
            (p, share, n_f),
            (self.clusters as usize, residuals),
            ON_GRID,
            setting,
            bounds,
        )
    }

    /// The pooled mean; its interval from the residual sums of the clusters, as for exact values.
    fn mean(&self, setting: &Setting) -> llms_core::bench::Estimate {
        let n = self.n as f64;
        let shift = self.sum / n;
        let centre = self.origin + shift;
        let k = self.clusters as f64;
        let residuals =
            self.cluster_squares - 2.0 * shift * self.cluster_products + shift * shift * self.sizes;
        let per_request = n / k;
        let spread = (residuals.max(0.0) / (k - 1.0)).sqrt() / per_request;
        match t_interval_of(centre, spread, self.clusters, setting.confidence) {
            Ok(t) => {
                setting.mean((centre, t.interval), (self.n, self.clusters), 0.0, "t, requests as clusters")
            }
            Err(e) => setting.point(centre, self.n, "mean", e.to_string()),
        }
    }

    fn sd(&self) -> Option<f64> {
        let n = self.n as f64;
        (1 < self.n).then(|| ((self.squares - self.sum * self.sum / n).max(0.0) / (n - 1.0)).sqrt())
    }
}

/// Values without clusters: exact up to [`EXACT`], then on the grid.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    values: Vec<f64>,
    grid: Option<Hdr>,
}

impl Pool {
    /// Adds a value, in seconds.
    pub fn add(&mut self, value: f64) {
        match &mut self.grid {
            Some(grid) => grid.add(nanos(value)),
            None if self.values.len() < EXACT => self.values.push(value),
            None => {
                let mut grid = Hdr::new(Grid::THREE);
                std::mem::take(&mut self.values).into_iter().chain([value]).for_each(|v| grid.add(nanos(v)));
                self.grid = Some(grid);
            }
        }
    }

    /// Values there are.
    pub fn len(&self) -> u64 {
        self.grid.as_ref().map_or(self.values.len() as u64, Hdr::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The quantile of type 1, seconds. `None` without values.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        match &self.grid {
            Some(grid) => grid.quantile(p).map(|ns| ns as f64 / 1e9),
            None => Sample::new(&self.values[..]).ok()?.quantile(p, QuantileType::Type1).ok(),
        }
    }
}
