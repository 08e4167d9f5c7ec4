//! How well found change points agree with those that people marked: F1 and covering of TCPDBench.

/// Agreement of one prediction with several annotators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// harmonic mean of precision and recall
    pub f1: f64,
    /// share of the predictions that some annotator marked
    pub precision: f64,
    /// share of an annotator's marks that were found, averaged over annotators
    pub recall: f64,
    /// covering: overlap of the best predicted segment with each marked one, averaged over annotators
    pub cover: f64,
}

/// TCPDBench's tolerance, values.
pub const MARGIN: usize = 5;

/// Scores `predicted` against one list of marks per annotator, on a series of `n` values.
///
/// Index 0 is added to every set, so that "no change" scores too. A mark is found when an unused prediction lies within
/// `margin`, the nearest first, marks in ascending order; precision is against the union of all marks. Marks and predictions
/// of `n` or more are left out.
///
/// # Source
/// van den Burg and Williams 2020.
pub fn score(predicted: &[usize], annotations: &[Vec<usize>], n: usize, margin: usize) -> Score {
    let set = |points: &[usize]| {
        let mut all: Vec<usize> = points.iter().copied().filter(|p| *p < n).chain([0]).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let predictions = set(predicted);
    let marks: Vec<Vec<usize>> = annotations.iter().map(|a| set(a)).collect();
    let union = set(&marks.concat());
    let average =
        |f: &dyn Fn(&[usize]) -> f64| marks.iter().map(|m| f(m)).sum::<f64>() / marks.len().max(1) as f64;
    let precision = found(&union, &predictions, margin) / predictions.len() as f64;
    let recall = average(&|m| found(m, &predictions, margin) / m.len() as f64);
    let f1 = if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    Score { f1, precision, recall, cover: average(&|m| covering(m, &predictions, n)) }
}

fn found(marks: &[usize], predictions: &[usize], margin: usize) -> f64 {
    let mut left = predictions.to_vec();
    let mut hits = 0;
    for mark in marks {
        let nearest = left
            .iter()
            .enumerate()
            .min_by_key(|(_, p)| p.abs_diff(*mark))
            .map(|(i, p)| (i, p.abs_diff(*mark)));
        if let Some((i, distance)) = nearest
            && distance <= margin
        {
            left.remove(i);
            hits += 1;
        }
    }
    f64::from(hits)
}

fn covering(marks: &[usize], predictions: &[usize], n: usize) -> f64 {
    let parts = |starts: &[usize]| -> Vec<(usize, usize)> {
        starts.iter().copied().zip(starts[1..].iter().copied().chain([n])).collect()
    };
    let predicted = parts(predictions);
    parts(marks)
        .iter()
        .map(|(a, b)| {
            let best = predicted
                .iter()
                .map(|(c, d)| {
                    let shared = b.min(d).saturating_sub(*a.max(c)) as f64;
                    shared / ((b.max(d) - a.min(c)) as f64)
                })
                .fold(0.0, f64::max);
            (b - a) as f64 * best
        })
        .sum::<f64>()
        / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_scores_where_people_saw_nothing() {
        let quiet = score(&[], &[vec![], vec![]], 50, MARGIN);
        assert_eq!((quiet.f1, quiet.cover), (1.0, 1.0));
        let talkative = score(&[20, 30], &[vec![], vec![]], 50, MARGIN);
        assert!((talkative.precision - 1.0 / 3.0).abs() < 1e-12 && talkative.recall == 1.0);
    }

    #[test]
    fn one_prediction_finds_one_mark() {
        let s = score(&[22], &[vec![20, 24]], 50, MARGIN);
        assert!((s.recall - 2.0 / 3.0).abs() < 1e-12 && s.precision == 1.0, "{s:?}");
    }
}
