//! What is true of a profile by construction: the values that an interval from measurements should cover.
//!
//! All durations include [`time_scale`](Profile::time_scale) and leave out waiting for a slot, drift, faults and
//! stalls; those without a number of requests in their name also leave out batching.

use std::time::Duration;

use super::Profile;

impl Profile {
    /// Factor of the clock on milliseconds, to seconds.
    fn scale(&self) -> f64 {
        self.time_scale / 1e3
    }

    /// Prefill of a prompt in milliseconds, before scaling.
    pub(crate) fn prefill_ms(&self, input_tokens: u32, cached_tokens: u32) -> f64 {
        f64::from(input_tokens.saturating_sub(cached_tokens)) / 1e3 * self.prefill_ms_per_1k
    }

    /// Tokens of a prompt that need no prefill, `found` of them in the cache of prefixes: the last one always does.
    pub(crate) fn cached_tokens(&self, input_tokens: u32, found: u32) -> u32 {
        let share = (f64::from(input_tokens) * self.cached_share) as u32;
        share.max(found.min(input_tokens.saturating_sub(1)))
    }

    /// Growth of a gap for each other request in the batch.
    pub(crate) fn gap_growth(&self) -> f64 {
        self.batching.map_or(0.0, |b| b.slope / self.batch())
    }

    /// Growth of the prefill for each other request in the batch.
    pub(crate) fn prefill_growth(&self) -> f64 {
        self.batching.map_or(0.0, |b| b.prefill_slope / self.batch())
    }

    fn batch(&self) -> f64 {
        let batch = self.batching.and_then(|b| b.batch).or(self.capacity.slots);
        f64::from(batch.unwrap_or(1).max(1))
    }

    /// Factor on the gaps while `n` requests are served at once (at least 1): `1 + slope · (n − 1) / batch`, 1
    /// without [`batching`](Self::batching).
    pub fn true_gap_factor(&self, n: u32) -> f64 {
        1.0 + self.gap_growth() * f64::from(n.saturating_sub(1))
    }

    /// Mean time between two tokens while `n` requests are served at once.
    pub fn true_gap_mean_at(&self, n: u32) -> Duration {
        self.true_gap_mean().mul_f64(self.true_gap_factor(n))
    }

    /// Mean time to the first token, without prefill by length, of a request that is the `n`-th to be served at once.
    pub fn true_ttft_mean_at(&self, n: u32) -> Duration {
        let factor = 1.0 + self.prefill_growth() * f64::from(n.saturating_sub(1));
        self.true_ttft_mean().mul_f64(factor)
    }

    /// Mean time a slot is taken while `n` requests are served at once throughout.
    pub fn true_service_mean_at(&self, n: u32) -> Duration {
        self.true_ttft_mean_at(n) + self.true_gap_mean_at(n).mul_f64(self.true_gaps())
    }

    /// Requests per second that end while `n` are served at once throughout: `n / true_service_mean_at(n)`. Plotted
    /// over `n` it bends: the knee.
    pub fn true_throughput_at(&self, n: u32) -> f64 {
        f64::from(n) / self.true_service_mean_at(n).as_secs_f64()
    }

    /// Requests per second that it can serve: the throughput with all slots taken. `None` without a limit of slots.
    pub fn true_capacity(&self) -> Option<f64> {
        self.capacity.slots.map(|n| self.true_throughput_at(n))
    }

    /// Mean number of gaps in an answer.
    fn true_gaps(&self) -> f64 {
        let tokens =
            self.true_output_tokens_mean() + self.reasoning.as_ref().map_or(0.0, |r| r.tokens.mean());
        (tokens - 1.0 + f64::from(u8::from(self.end_gap))).max(0.0)
    }

    /// Quantile `p` (0–1) of the time to the first token for a prompt of `input_tokens`; hidden reasoning is left
    /// out.
    pub fn true_ttft_quantile(&self, p: f64, input_tokens: u32) -> Duration {
        let cached = (f64::from(input_tokens) * self.cached_share) as u32;
        let ms = self.ttft_ms.quantile(p) + self.prefill_ms(input_tokens, cached);
        Duration::from_secs_f64(ms * self.scale())
    }

    /// Median time to the first token, without prefill by length.
    pub fn true_ttft_median(&self) -> Duration {
        self.true_ttft_quantile(0.5, 0)
    }

    /// Mean time to the first token, without prefill by length.
    pub fn true_ttft_mean(&self) -> Duration {
        Duration::from_secs_f64(self.ttft_ms.mean() * self.scale())
    }

    /// Share of the answers whose first token comes within `limit` of the start of service.
    pub fn true_ttft_cdf(&self, limit: Duration) -> f64 {
        self.ttft_ms.cdf(limit.as_secs_f64() / self.scale())
    }

    /// Quantile of the time between two tokens; only of use while `pace` is constant.
    pub fn true_gap_quantile(&self, p: f64) -> Duration {
        Duration::from_secs_f64(self.gap_ms.quantile(p) * self.pace.median() * self.scale())
    }

    /// Mean time between two tokens: the expected TPOT when chunks hold one token each.
    pub fn true_gap_mean(&self) -> Duration {
        Duration::from_secs_f64(self.gap_ms.mean() * self.pace.mean() * self.scale())
    }

    /// Mean time to the last token, for answers of `tokens` visible tokens (at least 1).
    pub fn true_e2e_mean(&self, tokens: u32) -> Duration {
        self.true_ttft_mean() + self.true_gap_mean() * tokens.saturating_sub(1)
    }

    /// Mean length of an answer in tokens, before rounding and `max_tokens`; without hidden reasoning.
    pub fn true_output_tokens_mean(&self) -> f64 {
        (self.output_tokens.mean() * self.verbosity).max(1.0)
    }

    /// Mean time a slot is taken: first token and all gaps, the one before the end of the stream included. What
    /// a run's length can be planned from.
    pub fn true_service_mean(&self) -> Duration {
        self.true_ttft_mean() + self.true_gap_mean().mul_f64(self.true_gaps())
    }

    /// Share of the requests that fail by a rule with no other condition than its share.
    pub fn true_error_rate(&self) -> f64 {
        let shares = self
            .faults
            .iter()
            .filter(|r| r.kind.code().is_some())
            .filter(|r| r.is_by_share_alone())
            .map(|r| r.share);
        shares.sum::<f64>().min(1.0)
    }
}
