//! When a prompt cache pays: write at `w` times the input price, read at `r` times.

/// Reads from which a cached prefix is no dearer than an uncached one: `(w − 1)/(1 − r)`. `None` unless r < 1.
///
/// A prefix written once and then read k times costs `w + k r`, against `k + 1` uncached.
pub fn break_even_reads(write: f64, read: f64) -> Option<f64> {
    (read < 1.0 && write.is_finite() && read.is_finite()).then(|| ((write - 1.0) / (1.0 - read)).max(0.0))
}

/// Fewest whole reads with a saving.
pub fn least_reads(write: f64, read: f64) -> Option<u64> {
    let even = break_even_reads(write, read)?;
    Some((even.floor() as u64 + 1).max(1))
}

/// Share of the prefix's cost that k reads save: `1 − (w + k r)/(k + 1)`; below 0 when writing costs more than reading saves.
pub fn saving_share(write: f64, read: f64, reads: u64) -> f64 {
    let k = reads as f64;
    1.0 - (write + k * read) / (k + 1.0)
}
