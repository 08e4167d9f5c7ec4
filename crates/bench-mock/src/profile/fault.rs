//! What goes wrong, and when.

use std::{fmt, str::FromStr};

use llms_core::{ErrorCode, config::ConfigErrors};
use serde::{Deserialize, Serialize};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Refused: slow down (429 with Retry-After).
    RateLimit,
    /// Refused: out of credit.
    Quota,
    /// Refused: unknown key (401; Bedrock 403).
    Auth,
    /// Refused: the key may not do this (403).
    Forbidden,
    /// Refused: the request makes no sense (400).
    BadRequest,
    /// Refused: no such model (404).
    NotFound,
    /// Refused: the prompt was filtered (400).
    ContentFilter,
    /// Refused: the server failed (500).
    Server,
    /// Refused: the server is full (503; Anthropic 529).
    Overloaded,
    /// No answer for `pause_ms`, then a gateway gives up (504).
    Timeout,
    /// The connection is reset before a byte of the answer.
    Network,
    /// The protocol's error object in mid-stream.
    StreamError,
    /// A polite end of the body in mid-stream, without the protocol's terminal marker.
    Truncate,
    /// The connection is reset (RST) in mid-stream.
    Reset,
    /// The connection is closed (FIN) in mid-stream, without the end of the body.
    Close,
    /// A pause of `pause_ms` in mid-stream; the answer goes on after it.
    Stall,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 16] = [
        Self::RateLimit,
        Self::Quota,
        Self::Auth,
        Self::Forbidden,
        Self::BadRequest,
        Self::NotFound,
        Self::ContentFilter,
        Self::Server,
        Self::Overloaded,
        Self::Timeout,
        Self::Network,
        Self::StreamError,
        Self::Truncate,
        Self::Reset,
        Self::Close,
        Self::Stall,
    ];

    /// The name, as in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Auth => "auth",
            Self::Forbidden => "forbidden",
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::ContentFilter => "content_filter",
            Self::Server => "server",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::StreamError => "stream_error",
            Self::Truncate => "truncate",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Stall => "stall",
        }
    }

    /// Whether the request is refused on arrival, without service.
    pub fn is_refusal(self) -> bool {
        self <= Self::Overloaded
    }

    /// The fault that makes a call fail with `code`; `None` when the mock cannot bring it about.
    pub fn of_code(code: ErrorCode) -> Option<Self> {
        Some(match code {
            ErrorCode::RateLimit => Self::RateLimit,
            ErrorCode::QuotaExceeded => Self::Quota,
            ErrorCode::Authentication => Self::Auth,
            ErrorCode::Authorization => Self::Forbidden,
            ErrorCode::InvalidRequest => Self::BadRequest,
            ErrorCode::ModelNotAvailable | ErrorCode::NotFound => Self::NotFound,
            ErrorCode::ContentFiltered => Self::ContentFilter,
            ErrorCode::Internal => Self::Server,
            ErrorCode::Overloaded => Self::Overloaded,
            ErrorCode::Timeout => Self::Timeout,
            ErrorCode::NetworkError => Self::Network,
            ErrorCode::Stream => Self::StreamError,
            ErrorCode::StreamTruncated => Self::Truncate,
            ErrorCode::StreamClosed => Self::Reset,
            _ => return None,
        })
    }

    /// The code that a call fails with; `None` for a stall, which is not a failure.
    pub fn code(self) -> Option<ErrorCode> {
        Some(match self {
            Self::RateLimit => ErrorCode::RateLimit,
            Self::Quota => ErrorCode::QuotaExceeded,
            Self::Auth => ErrorCode::Authentication,
            Self::Forbidden => ErrorCode::Authorization,
            Self::BadRequest => ErrorCode::InvalidRequest,
            Self::NotFound => ErrorCode::ModelNotAvailable,
            Self::ContentFilter => ErrorCode::ContentFiltered,
            Self::Server => ErrorCode::Internal,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Timeout => ErrorCode::Timeout,
            Self::Network => ErrorCode::NetworkError,
            Self::StreamError => ErrorCode::Stream,
            Self::Truncate => ErrorCode::StreamTruncated,
            Self::Reset | Self::Close => ErrorCode::StreamClosed,
            Self::Stall => return None,
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FaultKind {
    type Err = ConfigErrors;

    /// Also the contract's names: `network_error`, `auth_error`, `quota_exceeded`, and those of [`ErrorCode`].
    fn from_str(text: &str) -> Result<Self, ConfigErrors> {
        let own = Self::ALL.into_iter().find(|k| k.as_str() == text);
        let code = || ErrorCode::ALL.iter().find(|c| c.as_str() == text).and_then(|c| Self::of_code(*c));
        let alias = || (text == "auth_error").then_some(Self::Auth);
        own.or_else(code).or_else(alias).ok_or_else(|| {
            let mut errors = ConfigErrors::default();
            let names: Vec<_> = Self::ALL.iter().map(|k| k.as_str()).collect();
            errors.push("fault", format!("expected one of {}", names.join(", ")), text);
            errors
        })
    }
}

/// One way to fail and the requests it strikes: those for which every condition that is given holds.
///
/// Rules are tried in order. One draw a request decides all shares: rules with shares 0.02 and 0.01 strike 2 %
/// and 1 % of the requests, never the same one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Share of the requests, 0–1.
    #[serde(default = "whole")]
    pub share: f64,
    /// Only every n-th request, by number from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// With `every`: so many in a row, the n-th being the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// With `every`: counting begins so many requests earlier; `every = 2, offset = 1` strikes the first, third, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Only these requests, by number from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<u64>,
    /// Only from this request on, by number from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_call: Option<u64>,
    /// Only before this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_call: Option<u64>,
    /// Only from so many seconds after the first request on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_s: Option<f64>,
    /// Only before so many seconds after the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<f64>,
    /// With `for_s`: an outage every so many seconds, the first at `after_s` (0 when absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<f64>,
    /// With `every_s`: how long each outage lasts, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
    /// Seconds that a refusal asks to wait; `rate_limit` says 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
    /// Tokens sent before a fault in mid-stream; drawn evenly over the answer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_tokens: Option<u32>,
    /// Length of a stall (2 s when absent) or of the wait for a timeout (10 s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<f64>,
    /// With `stream_error`: what the error object says (`rate_limit`, `overloaded`, `timeout`, `server`,
    /// `bad_request`); the vendor's usual when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<FaultKind>,
}

fn whole() -> f64 {
    1.0
}

impl FaultRule {
    /// Strikes every request.
    pub fn always(kind: FaultKind) -> Self {
        Self {
            kind,
            share: 1.0,
            every: None,
            burst: None,
            offset: None,
            calls: Vec::new(),
            from_call: None,
            until_call: None,
            after_s: None,
            until_s: None,
            every_s: None,
            for_s: None,
            retry_after_s: None,
            after_tokens: None,
            pause_ms: None,
            says: None,
        }
    }

    /// Strikes a share (0–1) of the requests.
    pub fn share(kind: FaultKind, share: f64) -> Self {
        Self { share, ..Self::always(kind) }
    }

    /// Strikes a share of the requests, evenly with one of `kinds`.
    pub fn split(share: f64, kinds: &[FaultKind]) -> Vec<Self> {
        if share <= 0.0 {
            return Vec::new();
        }
        kinds.iter().map(|kind| Self::share(*kind, share / kinds.len() as f64)).collect()
    }

    /// Strikes every n-th request.
    pub fn every(kind: FaultKind, n: u64) -> Self {
        Self { every: Some(n), ..Self::always(kind) }
    }

    /// Strikes exactly these requests, by number from 1.
    pub fn calls(kind: FaultKind, numbers: impl Into<Vec<u64>>) -> Self {
        Self { calls: numbers.into(), ..Self::always(kind) }
    }

    /// Strikes every request from so many seconds after the first on: a server that fails after a time.
    pub fn from_seconds(kind: FaultKind, seconds: f64) -> Self {
        Self::always(kind).after_seconds(seconds)
    }

    /// Strikes every request for `for_s` seconds out of each `every_s`: outages that come and go.
    pub fn outages(kind: FaultKind, every_s: f64, for_s: f64) -> Self {
        Self { every_s: Some(every_s), for_s: Some(for_s), ..Self::always(kind) }
    }

    /// The same rule, in mid-stream after so many tokens.
    pub fn after_tokens(mut self, tokens: u32) -> Self {
        self.after_tokens = Some(tokens);
        self
    }

    /// The same rule, asking to wait.
    pub fn retry_after(mut self, seconds: f64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same rule, from so many seconds after the first request on.
    pub fn after_seconds(mut self, seconds: f64) -> Self {
        self.after_s = Some(seconds);
        self
    }

    /// The same rule with another pause.
    pub fn pause_ms(mut self, ms: f64) -> Self {
        self.pause_ms = Some(ms);
        self
    }

    /// Whether everything but the share holds for request `number` (from 1), `elapsed` seconds after the first.
    pub(crate) fn applies(&self, number: u64, elapsed: f64) -> bool {
        let counted = (number - 1).wrapping_add(self.offset.unwrap_or(0));
        let since = elapsed - self.after_s.unwrap_or(0.0);
        self.every.is_none_or(|n| counted % n >= n - self.burst.unwrap_or(1).min(n))
            && (self.calls.is_empty() || self.calls.contains(&number))
            && self.from_call.is_none_or(|n| number >= n)
            && self.until_call.is_none_or(|n| number < n)
            && self.after_s.is_none_or(|s| elapsed >= s)
            && self.until_s.is_none_or(|s| elapsed < s)
            && self.every_s.is_none_or(|s| since >= 0.0 && since % s < self.for_s.unwrap_or(s))
    }

    /// Whether its share is the only condition.
    pub(crate) fn is_by_share_alone(&self) -> bool {
        let times = [self.after_s, self.until_s, self.every_s];
        self.every.is_none()
            && self.calls.is_empty()
            && self.from_call.is_none()
            && self.until_call.is_none()
            && times.iter().all(Option::is_none)
    }

    /// The rule that strikes, if any: `draw` in [0, 1) is spent on the shares in order.
    pub(crate) fn strike(rules: &[Self], number: u64, elapsed: f64, mut draw: f64) -> Option<&Self> {
        rules.iter().filter(|rule| rule.applies(number, elapsed)).find(|rule| {
            let hit = draw < rule.share;
            draw -= rule.share;
            hit
        })
    }

    pub(crate) fn validate(&self, e: &mut ConfigErrors, at: &str) {
        let mut check = |ok: bool, field: &str, message: &str, found: String| {
            e.check(ok, &format!("{at}.{field}"), message, found);
        };
        check(
            (0.0..=1.0).contains(&self.share),
            "share",
            "expected a share from 0 to 1",
            self.share.to_string(),
        );
        if let Some(n) = self.every {
            check(n > 0, "every", "expected a number ≥ 1", n.to_string());
        }
        if let Some(n) = self.burst {
            let fits = n > 0 && self.every.is_some_and(|every| n <= every);
            check(fits, "burst", "expected a number from 1 to `every`", n.to_string());
        }
        if let Some(s) = self.every_s {
            check(s > 0.0 && s.is_finite(), "every_s", "expected a number above 0", s.to_string());
        }
        let paired = self.every_s.is_some() == self.for_s.is_some();
        check(paired, "for_s", "expected both `every_s` and `for_s`, or neither", "one of them".to_owned());
        let counts = self.offset.is_none() || self.every.is_some();
        check(counts, "offset", "expected `every` beside it", "none".to_owned());
        let numbered = self.calls.iter().all(|n| *n > 0) && self.calls.len() <= 1024;
        check(numbered, "calls", "expected at most 1024 numbers from 1", format!("{:?}", self.calls));
        for (field, value) in [
            ("after_s", self.after_s),
            ("until_s", self.until_s),
            ("for_s", self.for_s),
            ("retry_after_s", self.retry_after_s),
            ("pause_ms", self.pause_ms),
        ] {
            if let Some(v) = value {
                check(v >= 0.0 && v.is_finite(), field, "expected a number ≥ 0", v.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_draw_decides_all_shares() {
        let rules = FaultRule::split(0.3, &[FaultKind::RateLimit, FaultKind::Timeout, FaultKind::Auth]);
        let kind = |draw| FaultRule::strike(&rules, 1, 0.0, draw).map(|r| r.kind);
        assert_eq!(kind(0.05), Some(FaultKind::RateLimit));
        assert_eq!(kind(0.15), Some(FaultKind::Timeout));
        assert_eq!(kind(0.29), Some(FaultKind::Auth));
        assert_eq!(kind(0.31), None);
    }

    #[test]
    fn conditions_select_requests() {
        let hits = |rule: FaultRule| (1..=12).filter(|n| rule.applies(*n, *n as f64)).collect::<Vec<_>>();
        let always = FaultRule::always(FaultKind::Server);
        assert_eq!(hits(FaultRule::every(FaultKind::Server, 5)), [5, 10]);
        assert_eq!(hits(FaultRule { every: Some(6), burst: Some(2), ..always.clone() }), [5, 6, 11, 12]);
        assert_eq!(hits(FaultRule { from_call: Some(3), until_call: Some(6), ..always.clone() }), [3, 4, 5]);
        assert_eq!(hits(FaultRule { after_s: Some(10.0), until_s: Some(12.0), ..always.clone() }), [10, 11]);
        assert_eq!(hits(FaultRule { every: Some(4), offset: Some(3), ..always.clone() }), [1, 5, 9]);
        assert_eq!(hits(FaultRule::calls(FaultKind::Server, [2, 7])), [2, 7]);
        assert_eq!(hits(FaultRule::outages(FaultKind::Server, 5.0, 2.0)), [1, 5, 6, 10, 11]);
        let later = FaultRule::outages(FaultKind::Server, 5.0, 1.0).after_seconds(4.0);
        assert_eq!(hits(later), [4, 9]);
        assert_eq!(hits(FaultRule::from_seconds(FaultKind::Server, 11.0)), [11, 12]);
    }

    #[test]
    fn the_names_of_the_contract_are_understood() {
        for (name, kind) in [
            ("timeout", FaultKind::Timeout),
            ("rate_limit", FaultKind::RateLimit),
            ("network_error", FaultKind::Network),
            ("auth_error", FaultKind::Auth),
            ("quota_exceeded", FaultKind::Quota),
            ("stream_truncated", FaultKind::Truncate),
        ] {
            assert_eq!(name.parse::<FaultKind>(), Ok(kind), "{name}");
        }
        for kind in FaultKind::ALL {
            assert_eq!(kind.as_str().parse::<FaultKind>(), Ok(kind));
        }
        assert!("boredom".parse::<FaultKind>().unwrap_err().to_string().contains("rate_limit"));
    }
}
