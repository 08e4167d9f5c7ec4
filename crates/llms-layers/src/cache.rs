//! Answers kept for the same question.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use llms_core::{
    CallContext, ChatModel, ChatRequest, ChatResponse, EventSink, EventStream, FinishReason, ModelInfo,
    Outcome, Result, Stamp, StreamEvent,
    event::{Collector, ReasoningSeal, ToolCallDelta},
    health::Health,
    model::stream_of_drive,
    observe::CallEvent,
    time::Timestamp,
};
use lru::LruCache;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bounds of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Most answers kept; the least recently used one goes first.
    pub entries: NonZeroUsize,
    /// Most bytes of answer text kept; an answer larger than that is not kept at all.
    pub bytes: usize,
    /// How long an answer is good for, on the clock of the calls.
    pub ttl: Duration,
}

impl CacheConfig {
    /// At most `entries` answers and 64 MiB of text, each for `ttl`.
    pub fn new(entries: NonZeroUsize, ttl: Duration) -> Self {
        Self { entries, bytes: 64 << 20, ttl }
    }
}

/// What a cache did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Calls answered from it.
    pub hits: u64,
    /// Calls passed on.
    pub misses: u64,
    /// Answers in it.
    pub entries: usize,
    /// Bytes of their text.
    pub bytes: usize,
}

type Key = [u8; 32];

#[derive(Debug)]
struct Entry {
    answer: ChatResponse,
    bytes: usize,
    stored: Timestamp,
}

#[derive(Debug)]
struct Store {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    hits: u64,
    misses: u64,
}

impl Store {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= entry.bytes;
        }
    }
}

/// Answers the same question from memory.
///
/// The key covers provider, endpoint, model and everything in the request that changes the answer; in short: all of
/// it. Kept are complete answers only: never an error, a stream that broke or was dropped, nor what a filter stopped.
/// Bounded by count, bytes and age. A replay is marked ([`ChatResponse::replayed`], [`Outcome::replayed`],
/// [`CallEvent::Replayed`]), comes at once and whole, and is never counted as a measurement.
#[derive(Debug)]
pub struct Cache<M> {
    model: M,
    config: CacheConfig,
    /// Hash of provider, endpoint and model, the beginning of every key.
    prefix: Sha256,
    store: Mutex<Store>,
}

impl<M: ChatModel> Cache<M> {
    /// `model` behind an empty cache.
    pub fn new(model: M, config: CacheConfig) -> Self {
        #[derive(Serialize)]
        struct Origin<'a>(&'a str, &'a str, Option<&'a str>);
        let info = model.info();
        let mut prefix = Sha256::new();
        prefix.update(json(&Origin(&info.provider, &info.model, info.endpoint.as_deref())));
        let store = Store { entries: LruCache::new(config.entries), bytes: 0, hits: 0, misses: 0 };
        Self { model, config, prefix, store: Mutex::new(store) }
    }

    /// The model below.
    pub fn inner(&self) -> &M {
        &self.model
    }

    /// Forgets the answer to this request; `true` when there was one.
    pub fn invalidate(&self, request: &ChatRequest) -> bool {
        let key = self.key(request);
        let mut store = self.store();
        let had = store.entries.contains(&key);
        store.remove(&key);
        had
    }

    /// Forgets every answer that `stale` says so of; how many those were.
    pub fn invalidate_if(&self, stale: impl Fn(&ChatResponse) -> bool) -> usize {
        let mut store = self.store();
        let keys: Vec<Key> =
            store.entries.iter().filter(|(_, e)| stale(&e.answer)).map(|(k, _)| *k).collect();
        for key in &keys {
            store.remove(key);
        }
        keys.len()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut store = self.store();
        store.entries.clear();
        store.bytes = 0;
    }

    /// What it did so far.
    pub fn stats(&self) -> CacheStats {
        let store = self.store();
        CacheStats {
            hits: store.hits,
            misses: store.misses,
            entries: store.entries.len(),
            bytes: store.bytes,
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, request: &ChatRequest) -> Key {
        let mut hash = self.prefix.clone();
        hash.update(json(request));
        hash.finalize().into()
    }

    fn find(&self, key: &Key, ctx: &CallContext) -> Option<ChatResponse> {
        let now = ctx.now();
        let mut store = self.store();
        let found = store.entries.get(key).map(|e| (now.saturating_since(e.stored), e.answer.clone()));
        match found {
            Some((age, answer)) if age < self.config.ttl => {
                store.hits += 1;
                drop(store);
                ctx.emit(|| CallEvent::Replayed { at: now, age });
                Some(ChatResponse { replayed: true, ..answer })
            }
            stale => {
                store.misses += 1;
                if stale.is_some() {
                    store.remove(key);
                }
                None
            }
        }
    }

    fn keep(&self, key: Key, answer: &ChatResponse, ctx: &CallContext) {
        let bytes = size(answer);
        let whole = matches!(
            answer.finish_reason,
            Some(FinishReason::Stop | FinishReason::Length | FinishReason::ToolCalls)
        );
        if !whole || answer.replayed || bytes > self.config.bytes {
            return;
        }
        let mut store = self.store();
        store.remove(&key);
        if store.entries.len() == self.config.entries.get() {
            pop_oldest(&mut store);
        }
        while store.bytes + bytes > self.config.bytes {
            pop_oldest(&mut store);
        }
        store.bytes += bytes;
        store.entries.put(key, Entry { answer: answer.clone(), bytes, stored: ctx.now() });
    }
}

fn pop_oldest(store: &mut Store) {
    if let Some((_, entry)) = store.entries.pop_lru() {
        store.bytes -= entry.bytes;
    }
}

/// The same value gives the same bytes: fields stand in the order of their type, maps are sorted.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: requests are plain data")
}

/// Bytes of text in an answer.
fn size(answer: &ChatResponse) -> usize {
    let calls = answer.tool_calls.iter().map(|c| c.id.len() + c.name.len() + c.arguments.len());
    let blocks = answer.reasoning_blocks.iter().map(|b| {
        let sealed = [&b.id, &b.signature, &b.encrypted];
        b.text.len() + sealed.iter().map(|s| s.as_ref().map_or(0, String::len)).sum::<usize>()
    });
    answer.text.len()
        + answer.reasoning.as_ref().map_or(0, String::len)
        + calls.sum::<usize>()
        + blocks.sum::<usize>()
}

/// Says a kept answer as a stream says it: everything at once, each part in one event.
fn replay(answer: &ChatResponse, at: Timestamp, sink: &mut dyn EventSink) -> Outcome {
    let mut say = |event: StreamEvent<'_>| sink.event(event, Stamp::user(at, 0));
    let text = |t: &'_ str| -> Option<std::borrow::Cow<'static, str>> {
        (!t.is_empty()).then(|| t.to_owned().into())
    };
    say(StreamEvent::Start {
        id: answer.id.as_deref().map(Into::into),
        model: answer.model.as_deref().map(Into::into),
    });
    let reasoning = answer.reasoning.as_deref().unwrap_or_default();
    let mut said = 0;
    for block in &answer.reasoning_blocks {
        said += block.text.len();
        if let Some(t) = text(&block.text) {
            say(StreamEvent::Reasoning(t));
        }
        say(StreamEvent::ReasoningSeal(ReasoningSeal {
            id: block.id.as_deref().map(Into::into),
            signature: block.signature.as_deref().map(Into::into),
            encrypted: block.encrypted.as_deref().map(Into::into),
        }));
    }
    if let Some(t) = reasoning.get(said..).and_then(text) {
        say(StreamEvent::Reasoning(t));
    }
    if let Some(t) = text(&answer.text) {
        say(StreamEvent::Text(t));
    }
    for (index, call) in answer.tool_calls.iter().enumerate() {
        say(StreamEvent::ToolCall(ToolCallDelta {
            index: index as u32,
            id: Some(call.id.as_str().into()),
            name: Some(call.name.as_str().into()),
            arguments: call.arguments.as_str().into(),
        }));
    }
    if let Some(usage) = answer.usage {
        say(StreamEvent::Usage(usage));
    }
    if let Some(reason) = &answer.finish_reason {
        say(StreamEvent::Finish(reason.clone()));
    }
    Outcome {
        finish_reason: answer.finish_reason.clone(),
        usage: answer.usage,
        model: answer.model.clone(),
        id: answer.id.clone(),
        replayed: true,
    }
}

/// Passes events on and joins them.
struct Tee<'s> {
    sink: &'s mut dyn EventSink,
    joined: Collector,
}

impl EventSink for Tee<'_> {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        self.joined.event(event.clone(), stamp);
        self.sink.event(event, stamp);
    }

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.sink.poll_ready(cx)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Cache<M> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let key = self.key(request);
        // A caller who has cancelled gets nothing, a kept answer neither.
        let found = ctx.run("cache.find", async { Ok(self.find(&key, ctx)) }).await;
        match found.map_err(|e| e.with_provider(self.info().provider.clone()))? {
            Some(answer) => Ok(answer),
            None => {
                let answer = self.model.generate(request, ctx).await?;
                self.keep(key, &answer, ctx);
                Ok(answer)
            }
        }
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let key = self.key(request);
        let found = ctx.run("cache.find", async { Ok(self.find(&key, ctx)) }).await;
        if let Some(answer) = found.map_err(|e| e.with_provider(self.info().provider.clone()))? {
            return Ok(replay(&answer, ctx.now(), sink));
        }
        let mut tee = Tee { sink, joined: Collector::default() };
        let outcome = self.model.drive(request, ctx, &mut tee).await?;
        let mut answer = tee.joined.finish();
        answer.finish_reason = answer.finish_reason.or_else(|| outcome.finish_reason.clone());
        answer.usage = answer.usage.or(outcome.usage);
        answer.replayed = outcome.replayed;
        self.keep(key, &answer, ctx);
        Ok(outcome)
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    /// Of the model below, never kept.
    async fn check_health(&self, ctx: &CallContext) -> Health {
        self.model.check_health(ctx).await
    }
}
