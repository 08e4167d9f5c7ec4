//! Which of several offers nobody beats: the Pareto front where less is better in every respect.

/// Whether `a` is at least as good as `b` in everything and better in something; less is better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(x, y)| x <= y) && a.iter().zip(b).any(|(x, y)| x < y)
}

/// Positions of the points that no other dominates, in their order; of equals all stay.
///
/// `points`: one row an offer, a number for each respect, less is better; `+∞` for "never". NaN dominates nothing.
pub fn front(points: &[Vec<f64>]) -> Vec<usize> {
    let beaten = |i: usize| points.iter().any(|other| dominates(other, &points[i]));
    (0..points.len()).filter(|&i| !beaten(i)).collect()
}
