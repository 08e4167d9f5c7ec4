//! The blocks of a run as a table: for each block what every target made of it. The unit of every resample.

use llms_core::bench::Slo;

use super::{METRIC_COST, Side};
use crate::population::Standing;
use crate::throughput::row_meets;

/// One target in one block: the last attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) failed: bool,
    /// `+∞` where it failed
    pub(super) e2e: f64,
    /// `+∞` where it failed, NaN where a success has none
    pub(super) ttft: f64,
    /// NaN where it has no price
    pub(super) cost: f64,
    /// met every SLO; succeeded where there is none
    pub(super) good: bool,
}

/// All blocks, target by target.
pub(super) struct Blocks {
    targets: usize,
    cells: Vec<Option<Cell>>,
}

impl Blocks {
    pub(super) fn of(sides: &[Side<'_>], slos: &[Slo]) -> Self {
        let mut blocks: Vec<u64> =
            sides.iter().flat_map(|s| s.population.rows.iter().map(|r| r.block)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let targets = sides.len();
        let mut cells = vec![None; blocks.len() * targets];
        for (target, side) in sides.iter().enumerate() {
            let population = side.population;
            // rows are in the order of their schedule: the last attempt of a block stays
            for row in population.rows.iter() {
                let Ok(block) = blocks.binary_search(&row.block) else { continue };
                let failed = match population.standing(&row) {
                    Standing::Ok => false,
                    Standing::Failed => true,
                    Standing::Unknown => continue,
                };
                let value = |metric| row.value(metric, population.headline).unwrap_or(f64::NAN);
                let latency = |metric| if failed { f64::INFINITY } else { value(metric) };
                cells[block * targets + target] = Some(Cell {
                    failed,
                    e2e: latency("e2e"),
                    ttft: latency("ttft"),
                    cost: if side.priced { value(METRIC_COST) } else { f64::NAN },
                    good: !failed && row_meets(&row, population.headline, slos),
                });
            }
        }
        Self { targets, cells }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len() / self.targets.max(1)
    }

    pub(super) fn targets(&self) -> usize {
        self.targets
    }

    /// What one target made of a block; `None` where it was not asked, or nobody knows.
    pub(super) fn cell(&self, block: usize, target: usize) -> Option<&Cell> {
        self.cells[block * self.targets + target].as_ref()
    }

    /// Whether any cell has this.
    pub(super) fn any(&self, target: usize, has: impl Fn(&Cell) -> bool) -> bool {
        (0..self.len()).any(|block| self.cell(block, target).is_some_and(&has))
    }
}
