//! The in-process model: a `ChatModel` that plays a profile on the clock of the call.
//!
//! On a virtual clock every instant is exact; on the real one waits are timers of the async runtime, up to about
//! a millisecond late (the server has precise ones). Events carry the stamp of the instant they were delivered.

mod call;
mod error;
mod factory;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use llms_core::{
    CallContext, Capabilities, ChatModel, ChatRequest, ChatResponse, EventSink, EventStream, ModelInfo,
    Outcome, Result,
    config::ConfigErrors,
    health::{Health, HealthState},
    model::stream_of_drive,
};

use crate::{
    ask::Ask,
    engine::{Engine, ProfileHandle},
    flaky::{Failed, fingerprint},
    profile::Profile,
    situation::Situation,
    truth::{TruthLog, TruthRecord},
};

pub use factory::MockFactory;

/// A simulated model. Clones share slots, counters and truth log.
#[derive(Clone, Debug)]
pub struct MockModel {
    info: Arc<ModelInfo>,
    engine: Arc<Engine>,
    situation: Option<Situation>,
    failed: Arc<Failed>,
}

/// Builds a [`MockModel`].
#[derive(Clone, Debug)]
pub struct MockModelBuilder {
    provider: String,
    model: Option<String>,
    source: Source,
    truth: TruthLog,
}

#[derive(Clone, Debug)]
enum Source {
    Profile(Box<Profile>),
    Handle(ProfileHandle),
}

impl MockModelBuilder {
    /// Plays this profile.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.source = Source::Profile(Box::new(profile));
        self
    }

    /// Plays whatever profile the handle has in force when a request comes.
    pub fn handle(mut self, handle: ProfileHandle) -> Self {
        self.source = Source::Handle(handle);
        self
    }

    /// Says it is another provider than `mock`, and which model. The names of [`SITUATIONS`](crate::SITUATIONS) bring
    /// them about here as on the server, over the profile given; `mock-fast`, `mock-slow` and `mock-<preset>` only are
    /// names.
    pub fn name(mut self, provider: impl Into<String>, model: impl Into<String>) -> Self {
        (self.provider, self.model) = (provider.into(), Some(model.into()));
        self
    }

    /// Keeps at most `capacity` truth records; 0 keeps none. Default [`TruthLog::CAPACITY`].
    pub fn truth_capacity(mut self, capacity: usize) -> Self {
        self.truth = TruthLog::new(capacity);
        self
    }

    /// Writes into this truth log.
    pub fn truth_log(mut self, log: TruthLog) -> Self {
        self.truth = log;
        self
    }

    /// The model.
    ///
    /// # Errors
    /// Every field of the profile that is wrong.
    pub fn build(self) -> Result<MockModel, ConfigErrors> {
        let handle = match self.source {
            Source::Profile(profile) => ProfileHandle::new(*profile)?,
            Source::Handle(handle) => handle,
        };
        let situation = self.model.as_deref().and_then(Situation::named_or_missing);
        let model = self.model.unwrap_or_else(|| handle.prepared().profile.name.clone());
        let capabilities = Capabilities {
            streaming: true,
            tools: true,
            images: true,
            usage: handle.prepared().profile.usage,
            seed: true,
            ..Capabilities::default()
        };
        let info = ModelInfo { provider: self.provider, model, endpoint: None, capabilities };
        let engine = Arc::new(Engine::new(handle, self.truth));
        Ok(MockModel { info: Arc::new(info), engine, situation, failed: Arc::default() })
    }
}

impl MockModel {
    /// A model that plays `profile`.
    ///
    /// # Errors
    /// Every field of the profile that is wrong.
    pub fn new(profile: Profile) -> Result<Self, ConfigErrors> {
        Self::builder().profile(profile).build()
    }

    /// Sets more than the profile.
    pub fn builder() -> MockModelBuilder {
        MockModelBuilder {
            provider: "mock".to_owned(),
            model: None,
            source: Source::Profile(Box::default()),
            truth: TruthLog::default(),
        }
    }

    /// The profile, to be exchanged while the model is used.
    pub fn handle(&self) -> &ProfileHandle {
        self.engine.handle()
    }

    /// What was really sent when, as far as kept, in the order in which answers ended.
    pub fn truth(&self) -> Vec<TruthRecord> {
        self.engine.log().records()
    }

    /// The truth log itself.
    pub fn truth_log(&self) -> &TruthLog {
        self.engine.log()
    }

    /// Requests so far, refused ones included.
    pub fn calls(&self) -> u64 {
        self.engine.calls()
    }

    /// Requests that wait for a slot now.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// Bytes that the memory simulation holds now.
    pub fn held_bytes(&self) -> u64 {
        self.engine.held_bytes()
    }

    /// What a request asks for, the situation of the model's name included.
    fn ask(&self, request: &ChatRequest, stream: bool) -> Ask {
        let mut ask = Ask { situation: self.situation, ..Ask::of_request(&self.info.model, request, stream) };
        if let Some(situation) = self.situation {
            situation.bend(&mut ask, true, true);
            let body = || serde_json::to_vec(request).unwrap_or_default();
            if situation == Situation::Flaky && self.failed.fails(fingerprint("", &body())) {
                ask.situation = Some(Situation::Error(500));
            }
        }
        ask
    }

    /// As if no request had come yet: counts from 1, rate limits and cache of prefixes as at first, truth log empty.
    pub fn reset(&self) {
        self.failed.clear();
        self.engine.reset();
        self.engine.log().take();
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChatModel for MockModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let op = format!("{}.generate", self.info.provider);
        ctx.run(op.clone(), call::whole(self, op, request, ctx)).await.map_err(|e| self.attribute(e))
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let op = format!("{}.stream", self.info.provider);
        ctx.run(op.clone(), call::streamed(self, op, request, ctx, sink)).await.map_err(|e| self.attribute(e))
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        let prepared = self.handle().prepared();
        let profile = &prepared.profile;
        Health {
            state: profile.health,
            provider: self.info.provider.clone(),
            model: self.info.model.clone(),
            checked_at: ctx.clock.wall(),
            latency: Some(std::time::Duration::ZERO),
            reason: (profile.health != HealthState::Healthy)
                .then(|| "the profile says so; set `health` to change it".to_owned()),
            details: BTreeMap::from([
                ("simulated".to_owned(), "true".to_owned()),
                ("profile".to_owned(), profile.name.clone()),
                ("calls".to_owned(), self.calls().to_string()),
            ]),
        }
    }
}

impl MockModel {
    fn attribute(&self, error: llms_core::Error) -> llms_core::Error {
        if error.provider().is_none() { error.with_provider(self.info.provider.clone()) } else { error }
    }
}
