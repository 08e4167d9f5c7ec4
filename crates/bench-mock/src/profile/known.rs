//! What is true of a profile by construction: the values that an interval from measurements should cover.
//!
//! All durations include [`time_scale`](Profile::time_scale) and leave out waiting for a slot, drift, faults and
//! stalls.

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
        let tokens =
            self.true_output_tokens_mean() + self.reasoning.as_ref().map_or(0.0, |r| r.tokens.mean());
        let gaps = tokens - 1.0 + f64::from(u8::from(self.end_gap));
        self.true_ttft_mean() + self.true_gap_mean().mul_f64(gaps.max(0.0))
    }

    /// Share of the requests that fail by a rule with no other condition than its share.
    pub fn true_error_rate(&self) -> f64 {
        let shares = self
            .faults
            .iter()
            .filter(|r| r.kind.code().is_some())
            .filter(|r| {
                r.every.is_none()
                    && r.from_call.is_none()
                    && r.until_call.is_none()
                    && r.after_s.is_none()
                    && r.until_s.is_none()
            })
            .map(|r| r.share);
        shares.sum::<f64>().min(1.0)
    }
}
