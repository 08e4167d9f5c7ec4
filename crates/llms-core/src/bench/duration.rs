//! Durations as people write them: `250ms`, `30s`, `1.5m`, `2h`, or a bare number of seconds.
//!
//! Use as `#[serde(with = "llms_core::bench::duration")]`; written as a number of seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Parses a duration with unit `ns`, `us`, `ms`, `s`, `m` or `h`; without one, seconds.
///
/// # Errors
/// What was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim());
    let scale = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("expected a duration such as 250ms, 30s or 2m, found `{text}`")),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|n| Duration::try_from_secs_f64(n * scale).ok())
        .ok_or_else(|| format!("expected a duration such as 250ms, 30s or 2m, found `{text}`"))
}

/// Writes seconds.
pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(d.as_secs_f64())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Seconds(f64),
    Text(String),
}

/// Reads a number of seconds or a text with unit.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    match Raw::deserialize(d)
        .map_err(|_| D::Error::custom("expected a duration such as 30, \"30s\" or \"250ms\""))?
    {
        Raw::Seconds(s) => Duration::try_from_secs_f64(s)
            .map_err(|_| D::Error::custom(format!("expected seconds ≥ 0, found {s}"))),
        Raw::Text(t) => parse(&t).map_err(D::Error::custom),
    }
}

/// The same for optional fields.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    #[derive(Deserialize)]
    struct Wrapped(#[serde(with = "super")] Duration);

    /// Writes seconds or null.
    #[allow(clippy::ref_option, reason = "the shape serde's `with` asks for")]
    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match d {
            Some(d) => s.serialize_f64(d.as_secs_f64()),
            None => s.serialize_none(),
        }
    }

    /// Reads a duration or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(d)?.map(|w| w.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("30", 30_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            (" 5 s ", 5_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "ms", "5 parsecs", "-1s", "1e400"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
