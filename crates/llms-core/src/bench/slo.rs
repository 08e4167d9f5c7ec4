//! Service-level objectives, in both spellings of the command line.
//!
//! `ttft:200 tpot:50` limits each request (milliseconds); `ttft:p99<500ms` asks that at least 99 % of requests
//! have it below the limit. One parser reads both.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{duration, metric};

/// A limit on one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SloLimit {
    /// Name in the metric table: `ttft`, `tpot`, `e2e`, …
    pub metric: String,
    /// The limit, exclusive.
    #[serde(with = "duration")]
    pub below: Duration,
}

/// An objective: a limit, and the share of requests that must meet it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SloFile", into = "String")]
pub struct Slo {
    /// The limit of one request.
    pub limit: SloLimit,
    /// Share of requests that must meet it, in (0, 1]; `None` for a per-request limit without a share.
    pub share: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SloFile {
    Text(String),
}

impl TryFrom<SloFile> for Slo {
    type Error = String;

    fn try_from(SloFile::Text(text): SloFile) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.limit.below.as_secs_f64() * 1e3;
        match self.share {
            Some(share) => write!(f, "{}:p{}<{ms}ms", self.limit.metric, trim(share * 100.0)),
            None => write!(f, "{}:{ms}", self.limit.metric),
        }
    }
}

fn trim(x: f64) -> f64 {
    (x * 1e9).round() / 1e9
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected a limit such as `ttft:200` (ms) or `ttft:p99<500ms`, found `{text}`");
        let (name, rest) = text.trim().split_once(':').ok_or_else(wrong)?;
        metric::find(name).filter(|m| m.unit == "s" && m.per_request).ok_or_else(|| {
            let names: Vec<&str> =
                metric::METRICS.iter().filter(|m| m.unit == "s" && m.per_request).map(|m| m.name).collect();
            format!("no latency metric is called `{name}`; expected one of {}", names.join(", "))
        })?;
        let (share, limit) = match rest.split_once('<') {
            Some((p, limit)) => {
                let percent: f64 =
                    p.trim().strip_prefix('p').and_then(|p| p.parse().ok()).ok_or_else(wrong)?;
                // `p999` is the usual spelling of the 99.9th percentile.
                let percent = if percent > 100.0 && p.trim() == "p999" { 99.9 } else { percent };
                if !(percent > 0.0 && percent <= 100.0) {
                    return Err(wrong());
                }
                (Some(trim(percent / 100.0)), duration::parse(limit)?)
            }
            None => {
                let limit = rest.trim();
                let below = match limit.parse::<f64>() {
                    Ok(ms) => Duration::try_from_secs_f64(ms / 1e3).map_err(|_| wrong())?,
                    Err(_) => duration::parse(limit)?,
                };
                (None, below)
            }
        };
        if limit.is_zero() {
            return Err(format!("expected a limit above 0, found `{text}`"));
        }
        Ok(Self { limit: SloLimit { metric: name.to_owned(), below: limit }, share })
    }
}

/// Several objectives separated by blanks or commas.
///
/// # Errors
/// What was expected, for the first that is wrong.
pub fn parse_list(text: &str) -> Result<Vec<Slo>, String> {
    text.split([' ', ',']).filter(|t| !t.is_empty()).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let list = parse_list("ttft:200 tpot:50,ttft:p99<500ms e2e:p95<2s").unwrap();
        let read: Vec<_> =
            list.iter().map(|s| (s.limit.metric.as_str(), s.limit.below.as_millis(), s.share)).collect();
        assert_eq!(
            read,
            [("ttft", 200, None), ("tpot", 50, None), ("ttft", 500, Some(0.99)), ("e2e", 2000, Some(0.95))]
        );
        for slo in list {
            assert_eq!(slo.to_string().parse::<Slo>().unwrap(), slo);
        }
        // An origin that was asked for is kept.
        assert_eq!("e2e_response:500".parse::<Slo>().unwrap().limit.metric, "e2e_response");
    }

    #[test]
    fn wrong_ones_say_what_was_expected() {
        for text in ["ttft", "speed:5", "ttft:p0<1s", "ttft:p101<1s", "ttft:0", "ttft:soon", "error_rate:1"] {
            assert!(text.parse::<Slo>().unwrap_err().contains("expected"), "{text}");
        }
    }
}
