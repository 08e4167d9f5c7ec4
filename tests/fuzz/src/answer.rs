//! Whole answers and refusals: an input that says status, headers and body.

use http::{HeaderMap, HeaderName, HeaderValue};
use llms_core::{observe::Reported, wire::Codec};

use crate::secret::{check_error, keep_hook};

/// An answer as the transport hands it on: the first two bytes are the status, then header lines up to a blank one (LF
/// alone ends a line), the rest is the body. Lines that are no header are skipped.
#[derive(Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// `None` when the input is too short for a status.
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let (status, mut rest) = input.split_first_chunk()?;
        let mut headers = HeaderMap::new();
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let (line, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if line.is_empty() {
                break;
            }
            let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                && headers.len() < 128
            {
                headers.append(name, value);
            }
        }
        // Within what the transport lets through.
        let status = 200 + u16::from_be_bytes(*status) % 800;
        Some(Self { status, headers, body: rest })
    }
}

/// Every promise about whole answers, refusals, probes and headers, checked on one answer.
pub fn check<C: Codec>(codec: &C, answer: &Answer<'_>) {
    let Answer { status, headers, body } = answer;
    let mut hooks: Vec<(&'static str, Reported)> = Vec::new();
    match codec.decode(body, &mut |key, value| keep_hook(&mut hooks, key, value)) {
        Ok(response) => {
            let said = response.text.len() + response.reasoning.as_ref().map_or(0, String::len);
            let calls: usize = response.tool_calls.iter().map(|c| c.arguments.len()).sum();
            assert!(said + calls <= body.len(), "{} bytes said in a body of {}", said + calls, body.len());
            assert!(
                response.reasoning.as_ref().is_none_or(|r| !r.is_empty()),
                "empty reasoning: {response:?}"
            );
        }
        Err(error) => check_error(&error),
    }
    let refusal = codec.classify(*status, headers, body);
    check_error(&refusal);
    let again = codec.classify(*status, headers, body);
    assert_eq!(refusal.code(), again.code());
    codec.hooks(headers, &mut |key, value| keep_hook(&mut hooks, key, value));
    match codec.judge_probe(*status, headers, body) {
        Ok(facts) => {
            for (name, fact) in facts {
                for secret in [crate::secret::KEY, crate::secret::HEADER] {
                    assert!(!fact.contains(secret), "the fact {name} shows the secret {secret}: {fact}");
                }
            }
        }
        Err(error) => check_error(&error),
    }
}
