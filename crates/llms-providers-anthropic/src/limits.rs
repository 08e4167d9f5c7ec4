//! How long to wait when a rate limit is hit and the answer has no `retry-after`: until the limits that are used up are
//! full again, by the answer's own clock (its `date` header). No clock is read here.

use std::time::Duration;

use http::{HeaderMap, header};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

/// Longest wait believed; more is a server's mistake.
const MAX_WAIT: Duration = Duration::from_hours(24 * 7);

/// Headers of one limit begin so, and end in `-remaining` and `-reset`.
const LIMITS: [&str; 8] = [
    "anthropic-ratelimit-requests",
    "anthropic-ratelimit-tokens",
    "anthropic-ratelimit-input-tokens",
    "anthropic-ratelimit-output-tokens",
    "anthropic-priority-input-tokens",
    "anthropic-priority-output-tokens",
    "anthropic-fast-input-tokens",
    "anthropic-fast-output-tokens",
];

/// When the limit of a subscription is lifted, in seconds since 1970.
const UNIFIED: &str = "anthropic-ratelimit-unified-reset";

/// Until the last of the limits with nothing remaining is full again; where none says so (what remains is rounded to
/// thousands), until the last of all of them. `None` without such headers or without a `date`; at most a week.
pub(crate) fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let now = OffsetDateTime::parse(text(header::DATE.as_str())?, &Rfc2822).ok()?;
    let wait = |at: OffsetDateTime| Duration::try_from(at - now).unwrap_or(Duration::ZERO);
    let unified = text(UNIFIED)
        .and_then(|s| s.parse().ok())
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
        .map(wait);
    let (mut used_up, mut any) = (unified, None);
    for limit in LIMITS {
        let reset = text(&format!("{limit}-reset")).and_then(|t| OffsetDateTime::parse(t, &Rfc3339).ok());
        let Some(reset) = reset.map(wait) else { continue };
        any = any.max(Some(reset));
        if text(&format!("{limit}-remaining")).and_then(|t| t.parse::<f64>().ok()).is_some_and(|n| n <= 0.0) {
            used_up = used_up.max(Some(reset));
        }
    }
    used_up.or(any).filter(|w| *w <= MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const DATE: (&str, &str) = ("date", "Tue, 29 Jul 2025 15:56:00 GMT");

    #[track_caller]
    fn check(pairs: &[(&'static str, &'static str)], seconds: Option<u64>) {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        assert_eq!(until_reset(&headers), seconds.map(Duration::from_secs), "{pairs:?}");
    }

    #[test]
    fn the_limit_that_is_used_up_decides() {
        let requests = ("anthropic-ratelimit-requests-reset", "2025-07-29T15:56:02Z");
        let tokens = ("anthropic-ratelimit-input-tokens-reset", "2025-07-29T15:56:38Z");
        check(&[], None);
        check(&[DATE], None);
        check(&[requests, tokens], None);
        check(&[DATE, requests, tokens], Some(38));
        check(&[DATE, requests, tokens, ("anthropic-ratelimit-requests-remaining", "0")], Some(2));
        let both = ("anthropic-ratelimit-input-tokens-remaining", "0");
        check(&[DATE, requests, tokens, both, ("anthropic-ratelimit-requests-remaining", "0")], Some(38));
        check(&[DATE, ("anthropic-ratelimit-tokens-reset", "2025-07-29T15:55:00Z")], Some(0));
        check(&[DATE, ("anthropic-ratelimit-tokens-reset", "soon")], None);
        check(&[DATE, ("anthropic-ratelimit-tokens-reset", "2035-07-29T15:55:00Z")], None);
        check(&[DATE, requests, (UNIFIED, "1753804800")], Some(240));
    }
}
