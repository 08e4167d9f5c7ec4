//! From the bytes of a request to what it asks for and the engine that answers; or a reply at once.

use std::sync::Arc;

use super::{
    Shared,
    auth::{self, Denied},
    dialect::{Again, Api, Reply, ollama_loading},
    read::Request,
    route::Target,
};
use crate::{ask::Ask, engine::Engine, flaky::fingerprint, profile::FaultKind, situation::Situation};

/// Reads a request.
///
/// # Errors
/// What is answered at once: a refusal for a wrong key, a body that makes no sense or an unknown model; or, status
/// 200, what needs no generation.
pub(super) fn take_in<'s>(
    shared: &'s Shared,
    request: &Request,
    target: &Target,
    request_id: &str,
) -> Result<(Ask, &'s Arc<Engine>), Reply> {
    let api = target.api;
    match auth::check(shared, api.protocol(), request) {
        Ok(()) => {}
        Err(Denied::Key) => return Err(target.refusal(FaultKind::Auth, "", request_id, Again::default())),
        Err(Denied::Signature(reply)) => return Err(reply.with("x-amzn-requestid", request_id)),
    }
    let mut ask = api.parse(request, target)?;
    let Some(engine) = shared.engines.find(api.protocol(), &ask.model) else {
        let reply = target.refusal(FaultKind::NotFound, &ask.model, request_id, Again::default());
        return Err(shared.engines.with_hint(&ask.model, reply));
    };
    if !shared.engines.is_listed(&ask.model) {
        ask.situation = Situation::named(&ask.model);
    }
    if let Some(situation) = ask.situation {
        let reasons = api.knows_reasoning(&ask);
        situation.bend(&mut ask, api.knows_tools(), reasons);
        let failed = &shared.recall.failed;
        if situation == Situation::Flaky && failed.fails(fingerprint(&request.path, &request.body)) {
            ask.situation = Some(Situation::Error(500));
        }
    }
    if matches!(api, Api::OllamaChat | Api::OllamaGenerate) {
        let now = shared.wall(request.arrival);
        shared.recall.used(&ask, now);
        if ask.keep.only {
            return Err(ollama_loading(&ask, now, api == Api::OllamaChat));
        }
    }
    Ok((ask, engine))
}
