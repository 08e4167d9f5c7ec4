//! Distribution functions and their inverses: normal, Student t, beta, binomial, chi-square, F.
//!
//! Our own, after Loader's deviances and Lentz's continued fractions: the library at hand (`statrs`) is right to eleven
//! digits only (its ln Γ and erf) and stops its beta fraction after 140 terms, where a binomial tail at n = 10⁶ needs
//! thousands. Inverses are bracketed Newton iterations on these functions, so that `cdf(quantile(p)) = p` to about 1e-14.

use std::f64::consts::PI;

/// Natural logarithm of the beta function B(a, b), a and b > 0.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (stirling_a, stirling_b, stirling_n) = (stirling_error(a), stirling_error(b), stirling_error(a + b));
    // ln Γ(z+1) = ½ ln 2πz + z ln z − z + δ(z) for each of the three: the large terms cancel before they round
    let n = a + b;
    let ln_choose_like = a * (a / n).ln() + b * (b / n).ln();
    stirling_a + stirling_b - stirling_n
        + 0.5 * (2.0 * PI * a * (b / n)).ln()
        + ln_choose_like
        + (n / (a * b)).ln()
}

/// Density of the standard normal.
pub fn norm_pdf(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// P(Z ≤ x) for a standard normal.
pub fn norm_cdf(x: f64) -> f64 {
    let (_, tail) = gamma_tails(0.5, 0.5 * x * x);
    if x < 0.0 { 0.5 * tail } else { 1.0 - 0.5 * tail }
}

/// P(Z > x) for a standard normal, exact in the far tail.
pub fn norm_sf(x: f64) -> f64 {
    norm_cdf(-x)
}

/// The p-quantile of the standard normal, p in (0, 1); ∓∞ at 0 and 1.
pub fn norm_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if 1.0 <= p {
        return f64::INFINITY;
    }
    if 0.5 < p {
        return -norm_quantile(1.0 - p);
    }
    // Abramowitz and Stegun 26.2.23 is right to 4.5e-4; each Newton step squares the error
    let t = (-2.0 * p.ln()).sqrt();
    let numerator = 2.515517 + t * (0.802853 + t * 0.010328);
    let mut x = numerator / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
    for _ in 0..6 {
        let step = (norm_cdf(x) - p) / norm_pdf(x);
        x -= step;
        if step.abs() <= f64::EPSILON * x.abs() {
            break;
        }
    }
    x
}

/// Both tails of the regularised incomplete gamma function: `(P(a, x), Q(a, x))`, a > 0, x ≥ 0.
///
/// Series below a + 1, continued fraction above; the prefactor by deviances, so that large a loses no digits.
pub fn gamma_tails(a: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if x.is_infinite() {
        return (1.0, 0.0);
    }
    // xᵃ e⁻ˣ / Γ(a + 1)
    let front = (-stirling_error(a) - deviance(a, x)).exp() / (2.0 * PI * a).sqrt();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0, 1.0);
        let mut k = a;
        while f64::EPSILON * 0.1 < term / sum {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        let lower = (front * sum).min(1.0);
        return (lower, 1.0 - lower);
    }
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..10_000_u32 {
        let i = f64::from(i);
        let step = -i * (i - a);
        b += 2.0;
        d = 1.0 / away_from_zero(step * d + b);
        c = away_from_zero(b + step / c);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    let upper = (front * a * h).min(1.0);
    (1.0 - upper, upper)
}

/// Stands for zero in the denominators of Lentz's method.
const TINY: f64 = 1e-300;

fn away_from_zero(v: f64) -> f64 {
    if v.abs() < TINY { TINY } else { v }
}

/// `ln Γ(z+1) − [½ ln(2πz) + z ln z − z]`: what Stirling's formula misses (Loader 2000).
fn stirling_error(z: f64) -> f64 {
    if z < 15.0 {
        // δ(z) − δ(z+1) = (z + ½) ln(1 + 1/z) − 1
        return stirling_error(z + 1.0) + ((z + 0.5) * z.recip().ln_1p() - 1.0);
    }
    let z2 = z * z;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / z2) / z2) / z2) / z2) / z
}

/// Deviance part `x ln(x/m) + m − x`, without cancellation near x = m (Loader 2000).
fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() < 0.1 * (x + m) {
        let v = (x - m) / (x + m);
        let mut s = (x - m) * v;
        let mut term = 2.0 * x * v;
        let v2 = v * v;
        for j in 1..1000_u32 {
            term *= v2;
            let next = s + term / f64::from(2 * j + 1);
            if next == s {
                return s;
            }
            s = next;
        }
    }
    x * (x / m).ln() + m - x
}

/// `Γ(n+1)/(Γ(x+1)Γ(n−x+1)) pˣ qⁿ⁻ˣ` for real 0 ≤ x ≤ n: the binomial mass where x and n are whole.
fn binomial_mass(x: f64, n: f64, p: f64, q: f64) -> f64 {
    if p <= 0.0 {
        return if x == 0.0 { 1.0 } else { 0.0 };
    }
    if q <= 0.0 {
        return if x == n { 1.0 } else { 0.0 };
    }
    if x == 0.0 {
        return (n * (-p).ln_1p()).exp();
    }
    if x == n {
        return (n * p.ln()).exp();
    }
    let log = stirling_error(n)
        - stirling_error(x)
        - stirling_error(n - x)
        - deviance(x, n * p)
        - deviance(n - x, n * q);
    (log - 0.5 * (2.0 * PI * x * ((n - x) / n)).ln()).exp()
}

/// Both tails of the regularised incomplete beta function: `(I_x(a,b), 1 − I_x(a,b))`, each to full precision.
///
/// `x + y = 1` are passed both so that neither side loses digits. Continued fraction (Lentz) on the smaller side.
pub fn beta_tails(a: f64, b: f64, x: f64, y: f64) -> (f64, f64) {
    debug_assert!(0.0 < a && 0.0 < b, "beta parameters are positive: {a} {b}");
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if y <= 0.0 {
        return (1.0, 0.0);
    }
    if (a + 1.0) / (a + b + 2.0) <= x {
        let (low, high) = beta_fraction(b, a, y, x);
        return (high, low);
    }
    beta_fraction(a, b, x, y)
}

fn beta_fraction(a: f64, b: f64, x: f64, y: f64) -> (f64, f64) {
    let front = a * (b / (a + b)) * binomial_mass(a, a + b, x, y);
    let limit = 300 + 20 * a.max(b).sqrt() as usize;
    let mut c = 1.0;
    let mut d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / away_from_zero(d);
    let mut h = d;
    for m in 1..limit {
        let m = m as f64;
        for step in [
            m * (b - m) * x / ((a - 1.0 + 2.0 * m) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 1.0 + 2.0 * m)),
        ] {
            d = 1.0 / away_from_zero(1.0 + step * d);
            c = away_from_zero(1.0 + step / c);
            h *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    let lower = (front * h / a).clamp(0.0, 1.0);
    (lower, 1.0 - lower)
}

/// CDF of the beta distribution: regularised incomplete beta `I_x(a, b)`, x in [0, 1].
pub fn beta_cdf(a: f64, b: f64, x: f64) -> f64 {
    beta_tails(a, b, x, 1.0 - x).0
}

/// The p-quantile of Beta(a, b).
pub fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if 1.0 <= p {
        return 1.0;
    }
    let ln_b = ln_beta(a, b);
    let guess = (a / (a + b)).clamp(1e-300, 1.0 - 1e-16);
    invert(0.0, 1.0, guess, |x| {
        let density = ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - ln_b).exp();
        (beta_cdf(a, b, x) - p, density)
    })
}

/// P(X ≤ k) for X ~ Binomial(n, p); 0 below k = 0.
pub fn binomial_cdf(k: i64, n: u64, p: f64) -> f64 {
    if k < 0 {
        return 0.0;
    }
    let k = k as u64;
    if n <= k {
        return 1.0;
    }
    beta_tails((n - k) as f64, k as f64 + 1.0, 1.0 - p, p).0
}

/// P(X > k) for X ~ Binomial(n, p), exact in the far tail.
pub fn binomial_sf(k: i64, n: u64, p: f64) -> f64 {
    if k < 0 {
        return 1.0;
    }
    let k = k as u64;
    if n <= k {
        return 0.0;
    }
    beta_tails((n - k) as f64, k as f64 + 1.0, 1.0 - p, p).1
}

/// Two-sided exact p-value of k successes in n fair coin tosses: `min(1, 2 P(X ≤ min(k, n−k)))`.
pub fn fair_coin_p(k: u64, n: u64) -> f64 {
    (2.0 * binomial_cdf(k.min(n - k) as i64, n, 0.5)).min(1.0)
}

/// P(|T| > |t|) for Student's t with `df` degrees of freedom.
pub fn t_two_sided_p(t: f64, df: f64) -> f64 {
    let t2 = t * t;
    if t2.is_infinite() {
        return 0.0;
    }
    beta_tails(0.5 * df, 0.5, df / (df + t2), t2 / (df + t2)).0
}

/// P(T ≤ t) for Student's t with `df` degrees of freedom.
pub fn t_cdf(t: f64, df: f64) -> f64 {
    let tail = 0.5 * t_two_sided_p(t, df);
    if t < 0.0 { tail } else { 1.0 - tail }
}

/// P(T > t) for Student's t, exact in the far tail.
pub fn t_sf(t: f64, df: f64) -> f64 {
    let tail = 0.5 * t_two_sided_p(t, df);
    if t < 0.0 { 1.0 - tail } else { tail }
}

/// The p-quantile of Student's t with `df` degrees of freedom.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 { -t_upper_quantile(p, df) } else { t_upper_quantile(1.0 - p, df) }
}

/// The t above which a tail of at most one half lies.
fn t_upper_quantile(tail: f64, df: f64) -> f64 {
    let ln_norm = -0.5 * df.ln() - ln_beta(0.5, 0.5 * df);
    let guess = -norm_quantile(tail);
    let mut high = guess.max(1.0);
    while tail < t_sf(high, df) {
        high *= 2.0;
    }
    invert(0.0, high, guess.max(1e-12), |t| {
        let density = (ln_norm - 0.5 * (df + 1.0) * (t * t / df).ln_1p()).exp();
        (tail - t_sf(t, df), density)
    })
}

/// P(X > x) for chi-square with `df` degrees of freedom.
pub fn chi2_sf(x: f64, df: f64) -> f64 {
    gamma_tails(0.5 * df, 0.5 * x).1
}

/// The p-quantile of chi-square with `df` degrees of freedom.
pub fn chi2_quantile(p: f64, df: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    // Wilson and Hilferty's start, then Newton on the exact CDF
    let a = 2.0 / (9.0 * df);
    let guess = df * (1.0 - a + norm_quantile(p) * a.sqrt()).powi(3);
    let mut high = guess.max(df).max(1.0) * 2.0;
    while 1.0 - p < chi2_sf(high, df) {
        high *= 2.0;
    }
    let half = 0.5 * df;
    invert(0.0, high, guess.clamp(high * 1e-12, high), |x| {
        let (lower, upper) = gamma_tails(half, 0.5 * x);
        let error = if p < 0.5 { lower - p } else { (1.0 - p) - upper };
        // density: ½ (x/2)^(k/2−1) e^(−x/2) / Γ(k/2)
        let front = (-stirling_error(half) - deviance(half, 0.5 * x)).exp() / (2.0 * PI * half).sqrt();
        (error, front * half / x)
    })
}

/// P(F > f) for Fisher's F with `d1` and `d2` degrees of freedom.
pub fn f_sf(f: f64, d1: f64, d2: f64) -> f64 {
    if f <= 0.0 {
        return 1.0;
    }
    let n = d1 * f + d2;
    beta_tails(0.5 * d2, 0.5 * d1, d2 / n, d1 * f / n).0
}

/// Root of an increasing function on `(low, high)` by Newton steps that may not leave the bracket.
///
/// `f` returns the error at x and its slope. Ends when the bracket or the step is down to rounding.
fn invert(mut low: f64, mut high: f64, guess: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    let mut x = guess;
    for _ in 0..400 {
        let (error, slope) = f(x);
        if error == 0.0 {
            return x;
        }
        if error < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x - error / slope;
        let next = if low < newton && newton < high { newton } else { 0.5 * (low + high) };
        if (next - x).abs() <= f64::EPSILON * next.abs() {
            return next;
        }
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(got: f64, expected: f64) {
        let error = (got - expected).abs() / expected.abs().max(1e-300);
        assert!(error < 1e-12, "got {got}, expected {expected}, relative error {error:e}");
    }

    /// Values from scipy.stats (norm, t, beta, binom, chi2, f).
    #[test]
    fn known_values() {
        check(norm_quantile(0.975), 1.959963984540054);
        check(norm_quantile(0.01), -2.3263478740408408);
        check(norm_sf(10.0), 7.61985302416052e-24);
        check(t_quantile(0.975, 9.0), 2.2621571627982);
        check(t_quantile(0.975, 1.0), 12.706204736174694);
        check(t_quantile(0.025, 400.0), -1.9659123432294715);
        check(beta_quantile(97.0, 4.0, 0.025), 0.91482394702572);
        check(chi2_quantile(0.025, 24.0), 12.401150217444435);
        check(binomial_cdf(45, 100, 0.5), 0.18410080866334788);
        check(fair_coin_p(4, 18), 0.0308837890625);
    }

    /// `cdf(quantile(p)) = p` over sizes at which a library fraction has long stopped converging.
    #[test]
    fn inverses_are_inverse() {
        for p in [1e-6, 0.001, 0.025, 0.3, 0.5, 0.8, 0.975, 0.999_999] {
            for df in [1.0, 2.5, 30.0, 1e4] {
                check(t_cdf(t_quantile(p, df), df), p);
            }
            for (a, b) in [(1.0, 1.0), (0.5, 0.5), (3.0, 900.0), (5e5, 5e3)] {
                let x = beta_quantile(a, b, p);
                let tails = beta_tails(a, b, x, 1.0 - x);
                assert!((tails.0 - p).abs() < 1e-9 * p, "beta {a} {b} at {p}: {tails:?}");
            }
        }
    }

    /// A binomial CDF at n = 10⁶ against the sum of its own mass from the other side.
    #[test]
    fn binomial_tails_agree_at_a_million() {
        let (n, p) = (1_000_000_u64, 0.99);
        let k = 990_100_i64;
        let direct: f64 =
            (0..=k).rev().take(2_000).map(|i| binomial_mass(i as f64, n as f64, p, 1.0 - p)).sum();
        assert!((binomial_cdf(k, n, p) - direct).abs() < 1e-9);
        assert!((binomial_cdf(k, n, p) + binomial_sf(k, n, p) - 1.0).abs() < 1e-12);
    }
}
