//! What every provider's `error.rs` needs to read a refusal: how long to wait, and a text that is safe to print.
//!
//! No vendor rules here: which status or word means what stands in each provider's `classify`.

use std::{borrow::Cow, time::Duration};

use crate::{Error, ErrorCode, FinishReason};
use http::{HeaderMap, header};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Shortest secret looked for, in bytes.
const LEAST_SECRET: usize = 4;
/// Longest wait believed; more is a server's mistake.
const MAX_WAIT: Duration = Duration::from_hours(24 * 7);

/// How long the server asks to wait: `retry-after-ms` in milliseconds, else `retry-after` in seconds or as an
/// HTTP date, which counts from the answer's own `date` header, so that no clock is read here.
///
/// `None` when absent, unreadable, or a date without a `date` header; never longer than a week.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |s: f64| Duration::try_from_secs_f64(s.max(0.0)).ok();
    let wait = text("retry-after-ms")
        .and_then(|ms| ms.parse::<f64>().ok())
        .and_then(|ms| seconds(ms / 1e3))
        .or_else(|| {
            let value = text(header::RETRY_AFTER.as_str())?;
            if let Ok(s) = value.parse::<f64>() {
                return seconds(s);
            }
            let at = |date: &str| OffsetDateTime::parse(date, &Rfc2822).ok();
            let wait = at(value)? - at(text(header::DATE.as_str())?)?;
            Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
        })?;
    (wait <= MAX_WAIT).then_some(wait)
}

/// Where a redirect (300–399) points, in words for the end of a message: redirects are not followed. `None` for other answers.
pub fn redirect<'s>(
    status: u16,
    headers: &HeaderMap,
    secrets: impl IntoIterator<Item = &'s str>,
) -> Option<String> {
    let to = headers.get(header::LOCATION)?.to_str().ok().filter(|_| (300..400).contains(&status))?;
    Some(format!(" (the server points to {}; redirects are not followed)", shorten(&redact(to, secrets))))
}

/// The error of a good answer that is a page for browsers, by its headers: a portal, a proxy, the wrong path. `None` for
/// everything else.
pub fn page(op: impl Into<Cow<'static, str>>, headers: &HeaderMap) -> Option<Error> {
    let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let is_page = kind.len() >= 9 && kind[..9].eq_ignore_ascii_case(b"text/html");
    is_page.then(|| {
        let message = "the server sent a page for browsers, expected an answer of the API; check base_url";
        Error::new(op, ErrorCode::MalformedResponse, message)
    })
}

/// Longest message kept of a refusal, in characters.
const MAX_MESSAGE: usize = 1000;

/// The first 1000 characters of `text`, with an ellipsis when there were more.
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `text` of a good answer without the `secrets` that it may quote; borrowed where it quotes none, which is the rule.
/// Nothing else is touched: names of models and ids of answers may look like keys.
pub fn clean<'t, 's>(text: &'t str, secrets: impl Iterator<Item = &'s str> + Clone) -> Cow<'t, str> {
    // Shorter ones would blacken ordinary words.
    if secrets.clone().any(|s| s.len() >= LEAST_SECRET && text.contains(s)) {
        Cow::Owned(redact(text, secrets))
    } else {
        Cow::Borrowed(text)
    }
}

/// The names that a server gave with an answer, without the `secrets` that a hostile one may give back as a name:
/// they end in records and reports.
pub fn clean_names<'s>(
    id: &mut Option<String>,
    model: &mut Option<String>,
    finish: &mut Option<FinishReason>,
    secrets: impl Iterator<Item = &'s str> + Clone,
) {
    let word = match finish {
        Some(FinishReason::Other(word)) => Some(word),
        _ => None,
    };
    for name in [id.as_mut(), model.as_mut(), word].into_iter().flatten() {
        if let Cow::Owned(cleaned) = clean(name, secrets.clone()) {
            *name = cleaned;
        }
    }
}

/// `text` with every occurrence of one of `secrets`, also in the form that it has inside JSON, and everything that looks
/// like a key, replaced: servers quote keys in their refusals.
///
/// Looks like a key: a word that begins with `sk-`, `sk_`, `pk-`, `sess-`, `gsk_`, `xai-`, `hf_`, `AKIA` or `ASIA`
/// (masked ones such as `sk-ab***yz` too), the word after `Bearer`, and any unbroken run of at least 32 letters and
/// digits that has both. Ids of requests, answers and their items (`req_…`, `chatcmpl-…`, `rs_…`) and UUIDs stay.
pub fn redact<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        // A secret of a few characters would blacken ordinary words.
        if secret.len() < LEAST_SECRET {
            continue;
        }
        if text.contains(secret) {
            text = text.replace(secret, REDACTED);
        }
        // As it stands inside JSON, or in a parser's complaint about a text.
        if secret.contains(['"', '\\']) {
            let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
            text = text.replace(&quoted, REDACTED);
        }
    }
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*');
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut after_bearer) = (text.as_str(), false);
    while !rest.is_empty() {
        let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        if word.is_empty() {
            let gap = tail.find(in_word).unwrap_or(tail.len());
            out.push_str(&tail[..gap]);
            after_bearer &= tail[..gap].trim().is_empty();
            rest = &tail[gap..];
            continue;
        }
        let secret = looks_like_key(word) || (after_bearer && word.len() >= 8);
        out.push_str(if secret { REDACTED } else { word });
        after_bearer = word.eq_ignore_ascii_case("bearer");
        rest = tail;
    }
    out
}

/// What ids begin with that vendors make: of requests, answers, items, tool calls. As long as keys, and worth keeping.
const IDS: [&str; 9] = ["req_", "chatcmpl-", "cmpl-", "resp_", "msg_", "rs_", "fc_", "call_", "toolu_"];

fn looks_like_key(word: &str) -> bool {
    const PREFIXES: [&str; 9] = ["sk-", "sk_", "pk-", "sess-", "gsk_", "xai-", "hf_", "AKIA", "ASIA"];
    if word.len() >= 8 && PREFIXES.iter().any(|p| word.starts_with(p)) {
        return true;
    }
    if IDS.iter().any(|p| word.starts_with(p)) {
        return false;
    }
    word.split(['-', '_']).any(|run| {
        run.len() >= 32
            && run.bytes().any(|b| b.is_ascii_digit())
            && run.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn wait(pairs: &[(&'static str, &'static str)], expected: Option<Duration>) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        assert_eq!(retry_after(&headers), expected, "{pairs:?}");
    }

    #[test]
    fn the_wait_is_read_in_every_form() {
        let now = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        wait(&[], None);
        wait(&[("retry-after", "20")], Some(Duration::from_secs(20)));
        wait(&[("retry-after", "0.5")], Some(Duration::from_millis(500)));
        wait(&[("retry-after-ms", "1250"), ("retry-after", "2")], Some(Duration::from_millis(1250)));
        wait(&[("retry-after-ms", "soon"), ("retry-after", "2")], Some(Duration::from_secs(2)));
        wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), now], Some(Duration::from_secs(30)));
        wait(&[("retry-after", "Sun, 06 Nov 1994 08:40:00 GMT"), now], Some(Duration::ZERO));
        wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None);
        wait(&[("retry-after", "later")], None);
        wait(&[("retry-after", "99999999")], None);
        wait(&[("retry-after", "inf")], None);
    }

    #[track_caller]
    fn text(input: &str, secrets: &[&str], expected: &str) {
        assert_eq!(redact(input, secrets.iter().copied()), expected);
    }

    #[test]
    fn keys_do_not_survive() {
        text("wrong key sk-proj-abc_DEF12: see docs", &[], "wrong key [redacted]: see docs");
        text("Incorrect API key provided: sk-ab*******wxyz.", &[], "Incorrect API key provided: [redacted].");
        text("got Bearer hunter22 here", &[], "got Bearer [redacted] here");
        text("key hunter2 is wrong", &["hunter2"], "key [redacted] is wrong");
        text("key 0123456789abcdef0123456789abcdef", &[], "key [redacted]");
        text("é ü – sk-12345678", &[], "é ü – [redacted]");
        let odd = r#"token="a\b""#;
        text(&format!("no {odd}: {odd:?}"), &[odd], "no [redacted]: \"[redacted]\"");
    }

    #[test]
    fn what_is_no_key_survives() {
        for kept in [
            "",
            "the model `gpt-4o-mini-2024-07-18` does not exist",
            "request req_5cf06a7fabd45ebe21ee38c14c5b2f76",
            "Item 'rs_68c42de022c881948db7ed1cc2529f2e0202c9ad459e0d23' of type 'reasoning'",
            "request 896d687b-9cae-4e24-9201-0898cd4e92db",
            "the bearer of bad news, task-based",
            "limit 10000 / min – wait 20 s",
        ] {
            text(kept, &["", "the"], kept);
        }
    }
}
