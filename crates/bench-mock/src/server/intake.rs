//! From the bytes of a request to what it asks for and the engine that answers; or a reply at once.

use std::sync::Arc;

use super::{
    Shared,
    auth::{self, Denied},
    dialect::{Api, Reply, ollama_loading},
    read::Request,
    route::Target,
};
use crate::{ask::Ask, engine::Engine, profile::FaultKind, situation::Situation};

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
        Err(Denied::Key) => return Err(target.refusal(FaultKind::Auth, "", request_id, None)),
        Err(Denied::Signature(reply)) => return Err(reply.with("x-amzn-requestid", request_id)),
    }
    let mut ask = api.parse(request, target)?;
    let Some(engine) = shared.engines.find(api.protocol(), &ask.model) else {
        return Err(target.refusal(FaultKind::NotFound, &ask.model, request_id, None));
    };
    if !shared.engines.is_listed(&ask.model) {
        ask.situation = Situation::named(&ask.model);
    }
    if let Some(situation) = ask.situation {
        situation.bend(&mut ask, api.knows_tools());
        if situation == Situation::Flaky && shared.recall.fails(fingerprint(&request.path, &request.body)) {
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

/// Tells bodies apart (FNV-1a).
fn fingerprint(path: &str, body: &[u8]) -> u64 {
    let bytes = path.bytes().chain([0]).chain(body.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
