//! Adjusting p-values for how many questions were asked.
//!
//! The family is every metric × pair that is printed. Holm for decisions (no false one in 95 of 100 families), Benjamini
//! and Hochberg for exploratory tables (at most 5 % false among those flagged).

/// Holm's step-down adjustment, in input order: `max_{j≤i} min(1, (N−j+1) p₍ⱼ₎)`.
///
/// # Source
/// Holm 1979.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let n = p.len();
    let mut adjusted = vec![0.0; n];
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(((n - rank) as f64 * p[i]).min(1.0));
        adjusted[i] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment, in input order: `min_{j≥i} min(1, N p₍ⱼ₎/j)`.
///
/// # Source
/// Benjamini and Hochberg 1995.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let n = p.len();
    let mut adjusted = vec![0.0; n];
    let mut smallest = 1.0_f64;
    for (rank, &i) in order.iter().enumerate().rev() {
        smallest = smallest.min(n as f64 * p[i] / (rank + 1) as f64);
        adjusted[i] = smallest;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_one_stay_as_they_are() {
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
        assert_eq!(holm(&[0.03]), vec![0.03]);
        assert_eq!(benjamini_hochberg(&[0.03]), vec![0.03]);
    }

    #[test]
    fn holm_is_never_below_benjamini_hochberg() {
        let p = [0.001, 0.2, 0.01, 0.04, 0.04, 0.9];
        for (h, b) in holm(&p).iter().zip(benjamini_hochberg(&p)) {
            assert!(b <= *h);
        }
    }
}
