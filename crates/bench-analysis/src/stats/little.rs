//! Little's law as a check of the books: requests in flight = rate × time in the system.
//!
//! It holds for any steady window whatever the laws of arrival and service. A gap says that the window is not steady (in
//! flight at its ends differs), that it is short against a request, or that requests are missing from the records.

use super::interval::StatsError;

/// Gap up to which a window counts as balanced.
pub const ALLOWED: f64 = 0.02;

/// Both sides of the law over one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Little {
    /// time-averaged requests in flight
    pub in_flight: f64,
    /// requests sent in the window, per unit of time
    pub rate: f64,
    /// mean time of those to their end
    pub sojourn: f64,
    /// `|L − λW| / L`
    pub gap: f64,
}

/// Checks requests `(sent, end)` against the window `from..to`, all in one unit of time. Requests sent before the window count
/// in flight as long as they reach into it.
///
/// # Errors
/// `Empty` when nothing was sent in the window or nothing was in flight; `OutOfRange` for a window without length.
///
/// # Source
/// Little 1961.
pub fn little(requests: &[(f64, f64)], from: f64, to: f64) -> Result<Little, StatsError> {
    let length = to - from;
    if length.is_nan() || length <= 0.0 {
        return Err(StatsError::OutOfRange { what: "length of the window", range: "above 0", got: length });
    }
    let inside: Vec<f64> =
        requests.iter().filter(|(s, _)| from <= *s && *s < to).map(|(s, e)| e - s).collect();
    let overlap: f64 = requests.iter().map(|(s, e)| (e.min(to) - s.max(from)).max(0.0)).sum();
    if inside.is_empty() || overlap == 0.0 {
        return Err(StatsError::Empty);
    }
    let (in_flight, rate) = (overlap / length, inside.len() as f64 / length);
    let sojourn = inside.iter().sum::<f64>() / inside.len() as f64;
    Ok(Little { in_flight, rate, sojourn, gap: (in_flight - rate * sojourn).abs() / in_flight })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Draw;

    /// M/M/1 at load .5 from stationarity on.
    fn queue(n: usize) -> Vec<(f64, f64)> {
        let mut draw = Draw::new(1, 0);
        let (mut at, mut free) = (0.0_f64, 0.0_f64);
        (0..n)
            .map(|_| {
                at += draw.exponential() / 0.5;
                free = free.max(at) + draw.exponential();
                (at, free)
            })
            .collect()
    }

    #[test]
    fn holds_in_a_steady_window_and_not_where_requests_are_missing() {
        let all = queue(20_000);
        let check = |r: &[(f64, f64)]| little(r, 500.0, 35_000.0).unwrap();
        let found = check(&all);
        assert!(found.gap < ALLOWED && (found.sojourn - 2.0).abs() < 0.2, "{found:?}");
        // one in ten hangs half a minute longer
        let hanging: Vec<(f64, f64)> = all
            .iter()
            .enumerate()
            .map(|(i, (s, e))| (*s, if i % 10 == 0 { *e + 30.0 } else { *e }))
            .collect();
        let honest = check(&hanging);
        assert!(honest.gap < ALLOWED, "longer, but still in the books: {honest:?}");
        // a window in which the queue only grows
        let growing: Vec<_> =
            (0..1000).map(|i| (f64::from(i), f64::from(i) + 1.0 + f64::from(i) * 0.5)).collect();
        assert!(ALLOWED < little(&growing, 100.0, 900.0).unwrap().gap);
        assert_eq!(
            little(&all, 5.0, 5.0).unwrap_err().to_string(),
            "expected length of the window above 0, got 0"
        );
        assert!(little(&[], 0.0, 1.0).is_err());
    }
}
