//! How the service is, without paying for it: the cheap probe. The other one, `HealthProbe::OneToken`, is the core's.
//!
//! Converse has no free probe, but CountTokens is free of charge and lies at the same endpoint, under the same
//! credentials and the same model id. What its answers prove:
//!
//! | answer | proves | verdict |
//! | --- | --- | --- |
//! | a count | endpoint, credentials, model | healthy |
//! | 400 "doesn't support counting tokens" | endpoint, credentials (many models, all inference profiles) | healthy, said in `model` |
//! | 404 of a server that is not AWS | endpoint only | healthy, said in `count_tokens` |
//! | 403 `AccessDeniedException` | endpoint, credentials, but no right to count, or to this model | degraded |
//! | 404, 400 unknown model · 429 · 503 | endpoint, credentials | degraded |
//! | anything else, no answer | – | unhealthy |
//!
//! Whether the account may really use the model shows only in a paid call; none is made here.

use std::time::Duration;

use aws_sdk_bedrockruntime::types::{
    ContentBlock, ConversationRole, ConverseTokensRequest, CountTokensInput, Message,
};
use llms_core::{
    CallContext, ChatModel, Error, ErrorCode, Result,
    health::{Health, HealthState},
    wire::Delivery,
};

use crate::{
    call::Call,
    error,
    model::{Model, attach, settle},
};

/// Longest wait for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Probes the service.
pub(crate) async fn check(model: &Model, ctx: &CallContext) -> Health {
    let mut health = Health::pending(model.info(), ctx);
    health.details.extend(details(model));
    let start = ctx.now();
    let probed = probe(model, ctx).await;
    health.latency = ctx.now().since(start);
    match judge(probed, model.config.base.is_none()) {
        Ok((fact, value)) => {
            health.state = HealthState::Healthy;
            health.details.insert(fact.to_owned(), value);
        }
        Err((state, error)) => {
            health.state = state;
            health.reason = Some(error.to_string());
        }
    }
    health
}

/// What every probe shows, besides what it found.
pub(crate) fn details(model: &Model) -> [(String, String); 2] {
    [("credentials".to_owned(), model.config.auth.describe()), ("region".to_owned(), model.region.clone())]
}

/// Tokens of a one-word conversation, as the service counts them.
async fn probe(model: &Model, ctx: &CallContext) -> Result<i32> {
    let limited = ctx.ending_within(PROBE_TIMEOUT.min(model.config.timeout));
    let call = Call::new(&limited, Delivery::Whole, model.config.clone());
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("ping".to_owned()))
        .build()
        .expect("invariant: role and content are given");
    let input = CountTokensInput::Converse(ConverseTokensRequest::builder().messages(message).build());
    let counted = async {
        let sent = model
            .client
            .count_tokens()
            .model_id(&model.config.model)
            .input(input)
            .customize()
            .mutate_request(attach(&call, false))
            .send()
            .await;
        Ok(sent.map_err(|e| error::of_call(&call, e))?.input_tokens)
    };
    let counted = limited.run("bedrock.health", counted).await;
    call.end();
    settle(&call, counted)
}

/// What the answer means: a fact to show, or the state and the reason.
fn judge(probed: Result<i32>, at_aws: bool) -> Result<(&'static str, String), (HealthState, Error)> {
    let error = match probed {
        Ok(tokens) => return Ok(("count_tokens", format!("{tokens} tokens in a one-word prompt"))),
        Err(error) => error,
    };
    match error.code() {
        ErrorCode::InvalidRequest if error.message().contains("support counting tokens") => {
            Ok(("model", "not checked: it cannot count tokens, and nothing else is free".to_owned()))
        }
        ErrorCode::ModelNotAvailable
        | ErrorCode::Authorization
        | ErrorCode::RateLimit
        | ErrorCode::Overloaded => Err((HealthState::Degraded, error)),
        // It answers; not every server that speaks Converse counts tokens.
        _ if !at_aws && error.status() == Some(404) => {
            Ok(("count_tokens", "not offered by this server".to_owned()))
        }
        _ => Err((HealthState::Unhealthy, error)),
    }
}
