//! Work in parts on all processors, the same to the last bit for any number of them.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts that work is cut into: more than any machine has processors that matter here.
const PARTS: u64 = 64;

/// Does `work` on 0..n in parts; results in the order of the parts, whoever did them. The parts depend on `n` alone.
pub(crate) fn in_parts<T: Send>(n: u64, work: impl Fn(Range<u64>) -> T + Sync) -> Vec<T> {
    let parts = PARTS.min(n);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(parts.max(1) as usize);
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::new());
    let some = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let k = at as u64;
            if parts <= k {
                break;
            }
            let result = work(k * n / parts..(k + 1) * n / parts);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(some);
        }
        some();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_once_and_in_order() {
        for n in [0, 1, 5, 64, 1000] {
            let all: Vec<u64> = in_parts(n, Iterator::collect::<Vec<u64>>).into_iter().flatten().collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }
}
