//! Failures grouped by code, phase and status, most frequent first, each group with what to do about it.

use llms_core::bench::{ErrorGroup, RecordOutcome, RequestRecord};
use llms_core::error::ErrorCode;

use crate::tally::Place;

/// Failures counted by code, phase and status, never by text; of each group the first that was scheduled is the sample.
#[derive(Clone, Debug, Default)]
pub struct Groups(Vec<(Place, ErrorGroup)>);

impl Groups {
    /// Counts a record that failed; others are passed over.
    pub(crate) fn add(&mut self, record: &RequestRecord, place: Place) {
        let RecordOutcome::Failed(error) = &record.outcome else { return };
        let same = |g: &ErrorGroup| (g.code, g.phase, g.status) == (error.code, error.phase, error.status);
        match self.0.iter_mut().find(|(_, g)| same(g)) {
            Some((first, group)) => {
                group.count += 1;
                if place < *first {
                    *first = place;
                    group.sample = error.clone();
                }
            }
            None => self.0.push((
                place,
                ErrorGroup {
                    code: error.code,
                    phase: error.phase,
                    status: error.status,
                    count: 1,
                    sample: error.clone(),
                    advice: advice(error.code).to_owned(),
                },
            )),
        }
    }

    /// Most frequent first; groups of one size in the order of their first failure.
    pub fn by_size(&self) -> Vec<ErrorGroup> {
        let mut groups = self.0.clone();
        groups.sort_by_key(|(first, g)| (std::cmp::Reverse(g.count), *first));
        groups.into_iter().map(|(_, g)| g).collect()
    }
}

/// What to do about a code.
pub fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Authentication => "check the key: it is missing, malformed or unknown to this endpoint",
        ErrorCode::Authorization => "the key may not use this model or action: check its rights and region",
        ErrorCode::RateLimit => {
            "lower --request-rate or --concurrency, or ask the provider for a higher limit"
        }
        ErrorCode::QuotaExceeded => "the account is out of credit or quota: top it up or use another key",
        ErrorCode::Timeout | ErrorCode::DeadlineExceeded => {
            "raise --timeout if the server is only slow; else lower the load until it answers in time"
        }
        ErrorCode::StreamTimeout => {
            "the stream fell silent: raise --timeout, or look for stalls on the server"
        }
        ErrorCode::NetworkError => "check address, port, DNS and TLS of the endpoint; is the server running?",
        ErrorCode::StreamClosed => {
            "the connection broke in mid-answer: look for a proxy or server that closes it"
        }
        ErrorCode::StreamTruncated => {
            "the stream ended without its end marker: the answer is incomplete, see the server's log"
        }
        ErrorCode::Stream => "the server reported an error inside the stream: see the sample message",
        ErrorCode::Internal => "the server failed: see its log or status page, and repeat later",
        ErrorCode::Overloaded => "the server is over capacity: lower the load or repeat later",
        ErrorCode::NotFound | ErrorCode::InvalidModel | ErrorCode::ModelNotAvailable => {
            "check the model name and the base URL; for Ollama, pull the model first"
        }
        ErrorCode::InvalidRequest | ErrorCode::InvalidInput | ErrorCode::InvalidConfig => {
            "the request is refused as it stands: check its options against what the model accepts"
        }
        ErrorCode::MalformedResponse | ErrorCode::InvalidResponse | ErrorCode::EmptyResponse => {
            "the server does not speak this protocol: check the provider name against the endpoint"
        }
        ErrorCode::ContentFiltered => "the provider's filter refused: change the prompts",
        ErrorCode::Cancelled => "the run was interrupted: repeat it in full",
        _ => "see the sample message",
    }
}
