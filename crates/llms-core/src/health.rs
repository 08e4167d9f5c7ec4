//! The result of a health probe.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    chat::ChatRequest,
    context::CallContext,
    error::{Error, ErrorCode, Result},
    model::{ChatModel, ModelInfo},
};

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It answered as it should.
    Healthy,
    /// It answers, but something is missing (the model is not loaded, a limit is near).
    Degraded,
    /// It does not answer, or refuses.
    Unhealthy,
}

/// How a service is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthProbe {
    /// As cheaply as the provider permits: a list of models or the like; free of charge where that exists.
    #[default]
    Cheap,
    /// A call that generates one token: proves that the model answers, and costs what that costs.
    OneToken,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Provider name.
    pub provider: String,
    /// Model name.
    pub model: String,
    /// When the probe was made.
    #[serde(with = "time::serde::rfc3339")]
    pub checked_at: OffsetDateTime,
    /// How long the probe took; `None` when it could not be made.
    pub latency: Option<Duration>,
    /// Why it is not healthy, and what to do.
    pub reason: Option<String>,
    /// Further facts: server version, whether a key is set, region.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

impl Health {
    /// A verdict to come, on a model that has not answered yet.
    pub fn pending(info: &ModelInfo, ctx: &CallContext) -> Self {
        Self {
            state: HealthState::Unhealthy,
            provider: info.provider.clone(),
            model: info.model.clone(),
            checked_at: ctx.clock.wall(),
            latency: None,
            reason: None,
            details: BTreeMap::new(),
        }
    }

    /// The verdict on what a probe found, which took `latency`: facts to show, or the error. A service that answers
    /// without having the model, or refuses for the rate, is degraded.
    pub fn settle(
        mut self,
        found: Result<impl IntoIterator<Item = (String, String)>>,
        latency: Option<Duration>,
    ) -> Self {
        self.latency = latency;
        match found {
            Ok(facts) => {
                self.state = HealthState::Healthy;
                self.details.extend(facts);
            }
            Err(e) => {
                if matches!(
                    e.code(),
                    ErrorCode::ModelNotAvailable | ErrorCode::RateLimit | ErrorCode::Overloaded
                ) {
                    self.state = HealthState::Degraded;
                }
                self.reason = Some(e.to_string());
            }
        }
        self
    }
}

/// Longest wait for one token: a local server may have to load the model first.
const ONE_TOKEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Probes by a call of one token: [`HealthProbe::OneToken`].
pub async fn one_token<M: ChatModel + ?Sized>(model: &M, ctx: &CallContext) -> Health {
    let health = Health::pending(model.info(), ctx);
    let limited = ctx.ending_within(ONE_TOKEN_TIMEOUT);
    let start = ctx.now();
    let answered = model.generate(&ChatRequest::text("ping").with_max_tokens(1), &limited).await;
    let facts = answered.and_then(|answer| {
        let tokens = answer.usage.and_then(|u| u.output_tokens);
        if tokens == Some(0) {
            return Err(Error::new("health.one_token", ErrorCode::EmptyResponse, "the answer has no token"));
        }
        let said = tokens.map_or_else(|| "answered".to_owned(), |n| format!("answered, {n} tokens"));
        Ok([("one_token".to_owned(), said)].into_iter().chain(answer.model.map(|m| ("model".to_owned(), m))))
    });
    health.settle(facts, ctx.now().since(start))
}
