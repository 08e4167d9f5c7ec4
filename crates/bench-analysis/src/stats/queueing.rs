//! Queues whose answer is known: the oracle that a load generator and its statistics are held against.
//!
//! Two kinds. *Pathwise*: arrivals and service times known, so every single wait is exact ([`fifo_waits`]); measured less
//! oracle is pure tool error, without sampling noise. *Analytic*: laws of M/M/c, M/D/1, M/D/c, M/G/1, for runs in virtual
//! time. Rates are per unit of time, times in the same unit; nothing here draws random numbers.

use super::interval::StatsError;

fn positive(what: &'static str, got: f64) -> Result<(), StatsError> {
    if 0.0 < got && got.is_finite() {
        Ok(())
    } else {
        Err(StatsError::OutOfRange { what, range: "above 0 and finite", got })
    }
}

fn stable(load: f64) -> Result<(), StatsError> {
    if load < 1.0 {
        Ok(())
    } else {
        Err(StatsError::OutOfRange {
            what: "utilisation",
            range: "below 1: the queue grows for ever",
            got: load,
        })
    }
}

/// A span during which no service starts: what would start inside starts at its end; service under way goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    /// first instant of the freeze
    pub start: u64,
    /// first instant after it
    pub end: u64,
}

/// Exact waits of a first-in-first-out queue with `servers` servers, arrivals ascending, any whole unit (ns, µs).
///
/// `wait_i = max(0, earliest free server − arrival_i)`; with one server this is Lindley's
/// `W_i = max(0, W_{i−1} + S_{i−1} − (A_i − A_{i−1}))`.
///
/// # Errors
/// `Unpaired` for lists of different lengths, `OutOfRange` for no server or arrivals that go back.
pub fn fifo_waits(arrivals: &[u64], service: &[u64], servers: usize) -> Result<Vec<u64>, StatsError> {
    fifo_waits_frozen(arrivals, service, servers, None)
}

/// [`fifo_waits`] of a server that freezes once: the oracle of the coordinated-omission case.
///
/// # Errors
/// As [`fifo_waits`].
pub fn fifo_waits_frozen(
    arrivals: &[u64],
    service: &[u64],
    servers: usize,
    freeze: Option<Freeze>,
) -> Result<Vec<u64>, StatsError> {
    if arrivals.len() != service.len() {
        return Err(StatsError::Unpaired { left: arrivals.len(), right: service.len() });
    }
    if servers == 0 {
        return Err(StatsError::OutOfRange { what: "number of servers", range: "1 or more", got: 0.0 });
    }
    if let Some(i) = arrivals.windows(2).position(|w| w[1] < w[0]) {
        return Err(StatsError::OutOfRange {
            what: "arrivals",
            range: "in ascending order; this position goes back",
            got: (i + 1) as f64,
        });
    }
    // earliest free server first
    let mut free: std::collections::BinaryHeap<_> = vec![std::cmp::Reverse(0_u64); servers].into();
    let mut waits = Vec::with_capacity(arrivals.len());
    for (arrival, service) in arrivals.iter().zip(service) {
        let std::cmp::Reverse(at) = free.pop().expect("invariant: one server or more");
        let mut start = at.max(*arrival);
        if let Some(f) = freeze.filter(|f| f.start <= start && start < f.end) {
            start = f.end;
        }
        free.push(std::cmp::Reverse(start + service));
        waits.push(start - arrival);
    }
    Ok(waits)
}

/// M/M/c: Poisson arrivals at `lambda`, exponential service at `mu` on each of `servers` servers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mmc {
    /// arrivals per unit of time
    pub lambda: f64,
    /// services per unit of time of one server
    pub mu: f64,
    /// servers
    pub servers: u32,
    /// λ/(cμ), in (0, 1)
    pub utilisation: f64,
    /// Erlang C: share of arrivals that wait
    pub wait_share: f64,
}

impl Mmc {
    /// A stable queue.
    ///
    /// Erlang B by `B ← aB/(k + aB)`, then `C = B/(1 − ρ + ρB)`.
    ///
    /// # Errors
    /// `OutOfRange` for rates ≤ 0, no server, or utilisation ≥ 1.
    pub fn new(lambda: f64, mu: f64, servers: u32) -> Result<Self, StatsError> {
        positive("arrival rate", lambda)?;
        positive("service rate", mu)?;
        positive("number of servers", f64::from(servers))?;
        let a = lambda / mu;
        let utilisation = a / f64::from(servers);
        stable(utilisation)?;
        let blocked = (1..=servers).fold(1.0, |b, k| a * b / (f64::from(k) + a * b));
        let wait_share = blocked / (1.0 - utilisation + utilisation * blocked);
        Ok(Self { lambda, mu, servers, utilisation, wait_share })
    }

    /// cμ − λ: rate at which a wait ends.
    fn drain(&self) -> f64 {
        f64::from(self.servers) * self.mu - self.lambda
    }

    /// Mean wait before service: `C/(cμ − λ)`.
    pub fn mean_wait(&self) -> f64 {
        self.wait_share / self.drain()
    }

    /// Mean time in the system: wait and service.
    pub fn mean_sojourn(&self) -> f64 {
        self.mean_wait() + 1.0 / self.mu
    }

    /// P(wait > t) = `C e^{−(cμ−λ)t}`.
    pub fn wait_sf(&self, t: f64) -> f64 {
        if t < 0.0 { 1.0 } else { self.wait_share * (-self.drain() * t).exp() }
    }

    /// P(time in the system > t); for one server `e^{−(μ−λ)t}`.
    pub fn sojourn_sf(&self, t: f64) -> f64 {
        if t < 0.0 {
            return 1.0;
        }
        let gap = self.drain() - self.mu;
        // ∫ of wait plus service, written so that cμ − λ = μ needs no case of its own
        let mixed = if gap.abs() * t < 1e-12 { t } else { -(-gap * t).exp_m1() / gap };
        (-self.mu * t).exp() * (1.0 + self.wait_share * self.mu * mixed)
    }

    /// The p-quantile of the time in the system, p in (0, 1).
    ///
    /// # Errors
    /// `OutOfRange` for p.
    pub fn sojourn_quantile(&self, p: f64) -> Result<f64, StatsError> {
        super::interval::check_unit("quantile level", p)?;
        let (mut low, mut high) = (0.0, 1.0 / self.mu);
        while 1.0 - p < self.sojourn_sf(high) {
            high *= 2.0;
        }
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if middle == low || middle == high {
                break;
            }
            if 1.0 - p < self.sojourn_sf(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high)
    }
}

/// P(wait ≤ t) in M/D/1: Poisson arrivals at `lambda`, every service takes `service`.
///
/// Erlang's sum alternates and loses all digits for long waits; Franx's form has positive terms only: with
/// `(k−1)D ≤ t < kD`, `P = e^{−λ(kD−t)} Σ_{j<k} Q_{k−1−j} (λ(kD−t))^j / j!`, Q the law of the queue length.
///
/// # Errors
/// `OutOfRange` for rates ≤ 0, utilisation ≥ 1 or t that is no number.
///
/// # Source
/// Erlang 1909; Franx 2001; queue length by Ramaswami's recursion.
pub fn md1_wait_cdf(lambda: f64, service: f64, t: f64) -> Result<f64, StatsError> {
    positive("arrival rate", lambda)?;
    positive("service time", service)?;
    let rho = lambda * service;
    stable(rho)?;
    if t.is_nan() {
        return Err(StatsError::OutOfRange { what: "time", range: "a number", got: t });
    }
    if t < 0.0 {
        return Ok(0.0);
    }
    let steps = (t / service).floor();
    if 20_000.0 < steps {
        // P(wait > t) has long been below what a double tells from 0 unless ρ is 1 up to rounding
        return Ok(1.0);
    }
    let k = steps as usize + 1;
    // cumulative queue length Q_n = P(at most n + 1 in the system), n < k
    let in_system = md1_queue_law(rho, k + 1);
    let mut cumulative = in_system[0];
    let waiting: Vec<f64> = in_system[1..=k]
        .iter()
        .map(|p| {
            cumulative += p;
            cumulative
        })
        .collect();
    let reach = lambda * (k as f64 * service - t);
    let (mut weight, mut sum) = ((-reach).exp(), 0.0);
    for j in 0..k {
        sum += waiting[k - 1 - j] * weight;
        weight *= reach / (j + 1) as f64;
    }
    Ok(sum.min(1.0))
}

/// P(n in the system) for n < `len` of M/D/1 at utilisation ρ, all terms positive.
fn md1_queue_law(rho: f64, len: usize) -> Vec<f64> {
    // tails P(arrivals in one service ≥ i) of Poisson(ρ)
    let mut mass = vec![(-rho).exp()];
    for i in 1..60 {
        mass.push(mass[i - 1] * rho / i as f64);
    }
    let mut tail = vec![0.0; mass.len() + 1];
    for i in (0..mass.len()).rev() {
        tail[i] = tail[i + 1] + mass[i];
    }
    let at_least = |i: usize| tail.get(i).copied().unwrap_or(0.0);
    let mut law = vec![1.0 - rho];
    for n in 1..len {
        let first = n.saturating_sub(60).max(1);
        let inner: f64 = (first..n).map(|k| law[k] * at_least(n + 1 - k)).sum();
        law.push((law[0] * at_least(n) + inner) / mass[0]);
    }
    law
}

/// Mean wait in M/D/c: Poisson arrivals, `servers` servers, every service takes `service`.
///
/// `z_k`: the c − 1 roots inside the unit circle, other than 1, of `z^c = e^{a(z−1)}`;
/// `L = (c − (c−a)²)/(2(c−a)) + Σ 1/(1 − z_k)`, `Wq = (L − a)/λ`.
///
/// # Errors
/// `OutOfRange` for rates ≤ 0, no server or utilisation ≥ 1.
///
/// # Source
/// Crommelin 1932.
pub fn mdc_mean_wait(lambda: f64, service: f64, servers: u32) -> Result<f64, StatsError> {
    positive("arrival rate", lambda)?;
    positive("service time", service)?;
    positive("number of servers", f64::from(servers))?;
    let (a, c) = (lambda * service, f64::from(servers));
    stable(a / c)?;
    let mut length = (c - (c - a) * (c - a)) / (2.0 * (c - a));
    for k in 1..servers {
        // roots come in conjugate pairs, so the sum of real parts is the sum
        let (re, im) = crommelin_root(a / c, std::f64::consts::TAU * f64::from(k) / c);
        let (dr, di) = (1.0 - re, -im);
        length += dr / (dr * dr + di * di);
    }
    Ok((length - a) / lambda)
}

/// Newton on `z = e^{iφ} e^{ρ(z−1)}` from a few steps of its contraction.
fn crommelin_root(rho: f64, phase: f64) -> (f64, f64) {
    let map = |(re, im): (f64, f64)| {
        let size = (rho * (re - 1.0)).exp();
        let angle = phase + rho * im;
        (size * angle.cos(), size * angle.sin())
    };
    let mut z = (0.0, 0.0);
    for _ in 0..20 {
        z = map(z);
    }
    for _ in 0..60 {
        let g = map(z);
        let (fr, fi) = (z.0 - g.0, z.1 - g.1);
        let (dr, di) = (1.0 - rho * g.0, -rho * g.1);
        let norm = dr * dr + di * di;
        let step = ((fr * dr + fi * di) / norm, (fi * dr - fr * di) / norm);
        z = (z.0 - step.0, z.1 - step.1);
        if step.0.abs() + step.1.abs() < 1e-15 {
            break;
        }
    }
    z
}

/// Mean wait in M/G/1, service of `mean` and squared coefficient of variation `cv2`: `λ E[S²]/(2(1−ρ))`.
///
/// # Errors
/// `OutOfRange` for rates ≤ 0, cv2 < 0 or utilisation ≥ 1.
///
/// # Source
/// Pollaczek 1930; Khinchine 1932.
pub fn mg1_mean_wait(lambda: f64, mean: f64, cv2: f64) -> Result<f64, StatsError> {
    positive("arrival rate", lambda)?;
    positive("mean service time", mean)?;
    if cv2.is_nan() || cv2 < 0.0 {
        return Err(StatsError::OutOfRange { what: "squared variation", range: "0 or more", got: cv2 });
    }
    stable(lambda * mean)?;
    Ok(lambda * mean * mean * (1.0 + cv2) / (2.0 * (1.0 - lambda * mean)))
}

/// Mean time in a processor-sharing server (all jobs at once, each at its share of the speed): `E[S]/(1−ρ)`,
/// whatever the law of service.
///
/// # Errors
/// `OutOfRange` for rates ≤ 0 or utilisation ≥ 1.
pub fn processor_sharing_sojourn(lambda: f64, mean: f64) -> Result<f64, StatsError> {
    positive("arrival rate", lambda)?;
    positive("mean service time", mean)?;
    stable(lambda * mean)?;
    Ok(mean / (1.0 - lambda * mean))
}

/// Requests needed to know the mean wait of M/M/1 at utilisation ρ to ± `relative`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueSampleSize {
    /// variance of the mean times n, in units of 1/μ²: ρ(2 + 5ρ − 4ρ² + ρ³)/(1−ρ)⁴
    pub asymptotic_variance: f64,
    /// requests, waits dependent as they are
    pub requests: u64,
}

/// `n = (z/ε)² s²/Wq²`, `Wq = ρ/(1−ρ)` at μ = 1: ± 5 % takes 44,561 waits at ρ .5, 189,769 at .8.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1) or `relative ≤ 0`.
///
/// # Source
/// Whitt 1989.
pub fn mm1_sample_size(rho: f64, relative: f64, confidence: f64) -> Result<QueueSampleSize, StatsError> {
    super::interval::check_unit("utilisation", rho)?;
    super::interval::check_unit("confidence", confidence)?;
    positive("relative precision", relative)?;
    let s2 = rho * (2.0 + rho * (5.0 + rho * (rho - 4.0))) / (1.0 - rho).powi(4);
    let z = super::distribution::norm_quantile(0.5 + 0.5 * confidence);
    let wait = rho / (1.0 - rho);
    let requests = ((z / relative).powi(2) * s2 / (wait * wait)).ceil() as u64;
    Ok(QueueSampleSize { asymptotic_variance: s2, requests })
}

/// How far the run is from Little's law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Little {
    /// throughput × mean time in the system
    pub expected: f64,
    /// |mean in flight − expected| over mean in flight
    pub relative_error: f64,
    /// below 2 %: records, stamps and counts tell one story
    pub holds: bool,
}

/// Largest relative error at which Little's law is said to hold in a steady window.
pub const LITTLE_TOLERANCE: f64 = 0.02;

/// Little's law `L = λW`: mean requests in flight, completions per second, mean seconds from start to end.
///
/// # Errors
/// `OutOfRange` unless `in_flight` is above 0 and all are finite.
pub fn little(in_flight: f64, throughput: f64, sojourn: f64) -> Result<Little, StatsError> {
    positive("mean in flight", in_flight)?;
    for (what, got) in [("throughput", throughput), ("mean time in the system", sojourn)] {
        if !(0.0 <= got && got.is_finite()) {
            return Err(StatsError::OutOfRange { what, range: "0 or more and finite", got });
        }
    }
    let expected = throughput * sojourn;
    let relative_error = (in_flight - expected).abs() / in_flight;
    Ok(Little { expected, relative_error, holds: relative_error < LITTLE_TOLERANCE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formulas_agree_where_they_meet() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{a} {b}");
        near(Mmc::new(0.8, 1.0, 1).unwrap().mean_wait(), mg1_mean_wait(0.8, 1.0, 1.0).unwrap());
        near(mdc_mean_wait(0.8, 1.0, 1).unwrap(), mg1_mean_wait(0.8, 1.0, 0.0).unwrap());
        // cμ − λ = μ: the two exponentials of the sojourn are one
        let twin = Mmc::new(1.0, 1.0, 2).unwrap();
        near(twin.sojourn_sf(1.5), (-1.5_f64).exp() * (1.0 + twin.wait_share * 1.5));
        near(little(4.0, 0.8, 5.0).unwrap().relative_error, 0.0);
        assert!(!little(4.0, 0.8, 4.8).unwrap().holds);
        assert!(Mmc::new(2.0, 1.0, 2).is_err() && md1_wait_cdf(1.0, 1.0, 0.0).is_err());
    }

    /// Far into the tail, where Erlang's alternating sum has no digit left, the decay has its known rate.
    #[test]
    fn md1_tail_decays_geometrically() {
        let tail = |t: f64| 1.0 - md1_wait_cdf(0.9, 1.0, t).unwrap();
        let rate = (tail(60.0) / tail(61.0)).ln();
        // η solves λ(e^{ηD} − 1) = η
        assert!((0.9 * (rate.exp() - 1.0) - rate).abs() < 1e-6, "{rate}");
        assert_eq!(md1_wait_cdf(0.5, 1.0, 1e9).unwrap(), 1.0);
    }

    #[test]
    fn a_freeze_delays_what_would_start_in_it() {
        let freeze = Freeze { start: 10, end: 30 };
        let waits = fifo_waits_frozen(&[8, 12, 40], &[5, 5, 5], 1, Some(freeze)).unwrap();
        assert_eq!(waits, [0, 18, 0]);
    }

    proptest! {
        #[test]
        fn one_server_is_lindley(steps in prop::collection::vec((0_u64..50, 0_u64..50), 1..200)) {
            let mut at = 0;
            let arrivals: Vec<u64> = steps.iter().map(|(gap, _)| { at += gap; at }).collect();
            let service: Vec<u64> = steps.iter().map(|(_, s)| *s).collect();
            let waits = fifo_waits(&arrivals, &service, 1).unwrap();
            for i in 1..waits.len() {
                let lindley = (waits[i - 1] + service[i - 1]).saturating_sub(arrivals[i] - arrivals[i - 1]);
                prop_assert_eq!(waits[i], lindley);
            }
        }

        #[test]
        fn a_server_more_never_hurts(steps in prop::collection::vec((0_u64..20, 1_u64..60), 1..100), c in 1_usize..5) {
            let mut at = 0;
            let arrivals: Vec<u64> = steps.iter().map(|(gap, _)| { at += gap; at }).collect();
            let service: Vec<u64> = steps.iter().map(|(_, s)| *s).collect();
            let few = fifo_waits(&arrivals, &service, c).unwrap();
            let more = fifo_waits(&arrivals, &service, c + 1).unwrap();
            prop_assert!(few.iter().zip(&more).all(|(a, b)| b <= a));
        }

        #[test]
        fn md1_is_a_law(rho in 0.05..0.97_f64, t in 0.0..40.0_f64, dt in 0.0..3.0_f64) {
            let (a, b) = (md1_wait_cdf(rho, 1.0, t).unwrap(), md1_wait_cdf(rho, 1.0, t + dt).unwrap());
            prop_assert!(1.0 - rho - 1e-12 <= a && a <= b + 1e-12 && b <= 1.0);
        }
    }
}
