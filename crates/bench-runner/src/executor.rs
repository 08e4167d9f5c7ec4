//! One request: from a job of the plan to its record.
//!
//! The request is built before it is due; between `released` and the call there is nothing but a function call.
//! While the answer comes only stamps are stored; the record is put together when it has ended. A failure is
//! data, also a panic of the model: it never ends the run.

use std::{
    borrow::Cow,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::FutureExt as _;
use llms_core::{
    CallContext, ChatRequest, ChatResponse, Error, ErrorCode, Message as ChatMessage, Result, SharedModel,
    bench::{
        Budget, ClientProbe, ErrorRecord, Prompt, RecordOutcome, RequestRecord, RunPhase, Scenario,
        TokenCounter, TokenCounts,
    },
    error::CallPhase,
    observe::{CallEvent, CallObserver, CallTimeline, Timeline},
    time::{SharedClock, Timestamp},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    lines::Lines,
    purse::{Purse, Refused, Reserved},
    recorder::Message,
    session::Turn,
    sink::RecordingSink,
    workload::{Source, nonce},
};

/// Judges an answer that came well: a scenario's own notion of right and wrong.
pub trait ResponseValidator: Send + Sync {
    /// Checks the answer to `prompt`, warm-up left out. Called when the request has ended, outside everything that is timed.
    ///
    /// # Errors
    /// What was expected; the request then counts as failed with `invalid_response`.
    fn validate(&self, prompt: &Prompt, response: &ChatResponse) -> Result<(), String>;
}

impl<F: Fn(&Prompt, &ChatResponse) -> Result<(), String> + Send + Sync> ResponseValidator for F {
    fn validate(&self, prompt: &Prompt, response: &ChatResponse) -> Result<(), String> {
        self(prompt, response)
    }
}

/// One request of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Index into the run's targets.
    pub(crate) target: u32,
    pub(crate) block: u64,
    pub(crate) position: u32,
    /// Index into the prompts of its phase; number of the request where prompts are made.
    pub(crate) prompt: usize,
    /// Its place in a conversation, in runs that ask conversations.
    pub(crate) turn: Option<Turn>,
    pub(crate) phase: RunPhase,
    pub(crate) scheduled: Timestamp,
    pub(crate) released: Timestamp,
}

/// A job with its request built.
pub(crate) struct Prepared {
    pub(crate) job: Job,
    id: Arc<str>,
    /// Boxed, as it is handed on while thousands of others are in flight.
    request: Box<ChatRequest>,
}

/// How a request ended, for the one who sends the next.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) ok: bool,
    /// The answer, where a conversation goes on with it.
    pub(crate) answer: Option<ChatMessage>,
}

/// What all requests of a run share.
pub(crate) struct Executor {
    pub(crate) scenario: Scenario,
    pub(crate) models: Vec<Option<SharedModel>>,
    pub(crate) clock: SharedClock,
    pub(crate) run_id: Arc<str>,
    pub(crate) records: mpsc::Sender<Message>,
    pub(crate) validator: Option<Arc<dyn ResponseValidator>>,
    /// The observer of the caller's context, told everything beside the record.
    pub(crate) observer: Option<Arc<dyn CallObserver>>,
    /// Shared with the progress display, which must not keep the executor alive.
    pub(crate) in_flight: Arc<AtomicU64>,
    pub(crate) purse: Arc<Purse>,
    /// Ends the sending; see [`Ending`](crate::phases::Ending).
    pub(crate) enough: CancellationToken,
    /// Begins to watch when the measured window does.
    pub(crate) probe: Option<Arc<dyn ClientProbe>>,
    /// The connections to the targets.
    pub(crate) lines: Arc<Lines>,
    /// Where measured prompts come from.
    pub(crate) source: Source,
    /// Counts the answers a second time.
    pub(crate) counter: Option<Arc<dyn TokenCounter>>,
    warmup_ids: Vec<Arc<str>>,
}

/// Chunks stored with one allocation, unless the scenario asks for fewer tokens.
const CHUNK_ROOM: usize = 512;

impl Executor {
    pub(crate) fn new(
        scenario: Scenario,
        models: Vec<Option<SharedModel>>,
        clock: SharedClock,
        run_id: Arc<str>,
        records: mpsc::Sender<Message>,
    ) -> Self {
        let ids = |prompts: &[Prompt]| prompts.iter().map(|p| p.id.as_str().into()).collect();
        Self {
            source: Source::new(&scenario, None),
            counter: None,
            warmup_ids: ids(&scenario.warmup.prompts),
            scenario,
            models,
            clock,
            run_id,
            records,
            validator: None,
            observer: None,
            purse: Arc::new(Purse::new(Budget::default())),
            enough: CancellationToken::new(),
            probe: None,
            lines: Arc::default(),
            in_flight: Arc::default(),
        }
    }

    fn prompt(&self, job: &Job) -> Cow<'_, Prompt> {
        match job.phase {
            RunPhase::Warmup => Cow::Borrowed(&self.scenario.warmup.prompts[job.prompt]),
            _ => self.source.prompt(&self.scenario, job.prompt),
        }
    }

    fn prompt_id(&self, job: &Job) -> Arc<str> {
        match job.phase {
            RunPhase::Warmup => self.warmup_ids[job.prompt].clone(),
            _ => self.source.id(job.prompt),
        }
    }

    /// Builds the request, before it is due.
    pub(crate) fn prepare(&self, job: Job) -> Prepared {
        let loaded = job.phase != RunPhase::Warmup;
        let busted = loaded && self.scenario.cache_bust && self.source.takes_nonce(job.prompt);
        // One nonce for a whole conversation: its own earlier turns may be cached, as they would be in life.
        let unit = job.turn.as_ref().map_or(job.block, |t| t.session);
        let nonce = busted.then(|| nonce(self.scenario.seeds.nonce.unwrap_or_default(), unit, job.target));
        let mut request = self.scenario.request(&self.prompt(&job), nonce.as_deref());
        if let Some(turn) = &job.turn {
            request.messages.extend(turn.said.iter().cloned());
        }
        let mark = if loaded { "" } else { "w" };
        let id = format!("{}-{mark}{}-{}", self.run_id, job.block, job.target).into();
        Prepared { job, id, request: Box::new(request) }
    }

    /// Sends, waits for the end and hands the record over. `abort` ends it at once, censored.
    pub(crate) async fn execute(&self, prepared: Prepared, abort: &CancellationToken) -> Ended {
        let mut prepared = prepared;
        let Some(reserved) = self.reserve(&mut prepared, abort).await else {
            return Ended { at: self.clock.now(), ok: false, answer: None };
        };
        let (record, answer) = if abort.is_cancelled() {
            (self.never_sent(prepared), None)
        } else {
            self.in_flight.fetch_add(1, Relaxed);
            let called = self.call(prepared, abort).await;
            self.in_flight.fetch_sub(1, Relaxed);
            called
        };
        self.purse.settle(reserved, &record);
        let ended = Ended {
            at: record.end.unwrap_or_else(|| self.clock.now()),
            ok: record.outcome == RecordOutcome::Ok,
            answer: answer.map(|a| a.to_message()),
        };
        // The collector is gone only when the run was dropped; then nobody wants the record.
        let _ = self.records.send(Message::Record(Box::new(record))).await;
        ended
    }

    /// Sets the worst case of a request aside; waits while only requests in flight stand in the way. `None` when it cannot be
    /// paid for: then the sending is over.
    async fn reserve(&self, prepared: &mut Prepared, abort: &CancellationToken) -> Option<Reserved> {
        loop {
            let settled = self.purse.settled();
            match self.purse.reserve(prepared.job.target, &prepared.request) {
                Ok(reserved) => return Some(reserved),
                Err(Refused::UsedUp { in_flight: true, .. }) => {
                    tokio::select! {
                        biased;
                        () = abort.cancelled() => return Some(Reserved::default()),
                        () = settled => {}
                    }
                    // The wait is a cap's, not the client's lateness.
                    prepared.job.released = prepared.job.released.max(self.clock.now());
                }
                Err(Refused::UsedUp { why, .. } | Refused::Unknown(why)) => {
                    self.enough.cancel();
                    let _ = self.records.send(Message::Enough(why)).await;
                    return None;
                }
            }
        }
    }

    /// The record, and the answer of a request that belongs to a conversation.
    async fn call(
        &self,
        prepared: Prepared,
        abort: &CancellationToken,
    ) -> (RequestRecord, Option<ChatResponse>) {
        let Prepared { job, id, request } = prepared;
        let timeline = Timeline::new();
        let room = request.options.max_tokens.map_or(CHUNK_ROOM, |n| CHUNK_ROOM.min(n as usize + 8));
        let streaming = self.scenario.streaming;
        let kept = self.validator.is_some() || job.turn.is_some() || self.counter.is_some();
        let mut sink = RecordingSink::new(if streaming { room } else { 0 }, streaming && kept);
        let model = self.models[job.target as usize]
            .as_ref()
            .expect("invariant: only targets with a model are planned");
        let called = self.clock.now();
        let ctx = CallContext {
            clock: self.clock.clone(),
            cancel: abort.clone(),
            deadline: Some(called + self.scenario.timeout),
            request_id: Some(id.clone()),
            trace_parent: None,
            observer: Some(self.observer_of(&timeline)),
        };
        // Boxed, for room in every call in flight.
        let mut answer: Option<Box<ChatResponse>> = None;
        let result = {
            // Pinned here: a future handed over by value takes its room twice.
            let call = pin!(async {
                if streaming {
                    let outcome = model.drive(&request, &ctx, &mut sink).await?;
                    sink.complete(outcome);
                } else {
                    let response = model.generate(&request, &ctx).await?;
                    sink.whole(&response);
                    answer = Some(Box::new(response));
                }
                Ok(())
            });
            // The model honours deadline and cancellation itself; this makes sure that no model can hang the run.
            AssertUnwindSafe(ctx.run("runner.request", call)).catch_unwind().await
        };
        let ended = self.clock.now();
        let result = result.unwrap_or_else(|_| {
            Err(Error::new(
                "runner.request",
                ErrorCode::Unknown,
                "the model panicked, which is a bug of its implementation; see standard error",
            ))
        });
        let answer = answer.map(|a| *a).or_else(|| sink.take_answer());
        let outcome = match result {
            Ok(()) => self.judge(&job, answer.as_ref()),
            Err(e) if e.code() == ErrorCode::Cancelled && abort.is_cancelled() => RecordOutcome::Censored,
            Err(e) => RecordOutcome::Failed(ErrorRecord::from(&e)),
        };
        let counted = answer.as_ref().and_then(|a| self.count(a));
        let answer = answer.filter(|_| job.turn.is_some());
        let mut record = self.assemble(job, id, timeline.take(), sink, outcome, called, ended);
        record.tokens.tokenizer = counted;
        (record, answer)
    }

    /// Tokens of answer and reasoning by the named vocabulary, after the call; `None` where nothing was said.
    fn count(&self, answer: &ChatResponse) -> Option<u64> {
        let counter = self.counter.as_ref()?;
        let said = [Some(answer.text.as_str()), answer.reasoning.as_deref()];
        let said = said.into_iter().flatten().filter(|text| !text.is_empty());
        said.map(|text| counter.count(text)).reduce(|a, b| a + b)
    }

    fn observer_of(&self, timeline: &Timeline) -> Arc<dyn CallObserver> {
        match &self.observer {
            None => Arc::new(timeline.clone()),
            Some(other) => Arc::new(Both(timeline.clone(), other.clone())),
        }
    }

    fn judge(&self, job: &Job, answer: Option<&ChatResponse>) -> RecordOutcome {
        let (Some(validator), Some(answer)) = (&self.validator, answer) else { return RecordOutcome::Ok };
        // Warm-up asks questions of its own, of which the scenario expects nothing.
        if job.phase == RunPhase::Warmup {
            return RecordOutcome::Ok;
        }
        let prompt = self.prompt(job);
        let verdict = std::panic::catch_unwind(AssertUnwindSafe(|| validator.validate(&prompt, answer)));
        match verdict
            .unwrap_or_else(|_| Err("the response validator panicked, which is a bug in it".to_owned()))
        {
            Ok(()) => RecordOutcome::Ok,
            Err(expected) => RecordOutcome::Failed(ErrorRecord::from(&Error::new(
                "runner.validate_response",
                ErrorCode::InvalidResponse,
                expected,
            ))),
        }
    }

    /// Everything known about a request that was called. Models in the process may report no timeline: then the
    /// call itself is when it was sent.
    #[allow(clippy::too_many_arguments, reason = "the parts of one record, each used once")]
    fn assemble(
        &self,
        job: Job,
        id: Arc<str>,
        timeline: CallTimeline,
        sink: RecordingSink,
        outcome: RecordOutcome,
        called: Timestamp,
        ended: Timestamp,
    ) -> RequestRecord {
        let unsent = matches!(&outcome, RecordOutcome::Failed(e) if e.phase == Some(CallPhase::Prepare));
        let end = match outcome {
            RecordOutcome::Ok => timeline.end.unwrap_or(ended),
            _ => ended,
        };
        let phase = if timeline.replayed { RunPhase::Replayed } else { job.phase };
        RequestRecord {
            phase,
            sent: timeline.sent.or((!unsent).then_some(called)),
            connection: timeline.connection,
            resent: timeline.resent,
            written: timeline.written,
            headers: timeline.headers,
            status: timeline.status,
            first_byte: timeline.first_byte,
            first_answer: sink.first_answer,
            chunks: sink.chunks,
            end: Some(end),
            tokens: TokenCounts { usage: sink.usage, tokenizer: None, chars: sink.chars },
            finish_reason: sink.finish_reason,
            model: sink.model,
            bytes_out: timeline.bytes_out,
            bytes_in: timeline.bytes_in,
            reads: timeline.reads,
            reported: timeline.reported,
            ..self.blank(job, id, outcome)
        }
    }

    /// The record of a request that the end of the run found waiting.
    fn never_sent(&self, prepared: Prepared) -> RequestRecord {
        let mut job = prepared.job;
        let now = self.clock.now();
        job.released = job.released.max(job.scheduled);
        RequestRecord { end: Some(now), ..self.blank(job, prepared.id, RecordOutcome::Censored) }
    }

    fn blank(&self, job: Job, request_id: Arc<str>, outcome: RecordOutcome) -> RequestRecord {
        RequestRecord {
            request_id,
            prompt: self.prompt_id(&job),
            target: job.target,
            block: job.block,
            position: job.position,
            attempt: 0,
            phase: job.phase,
            session: job.turn.as_ref().map(|t| t.session),
            turn: job.turn.as_ref().map(|t| t.number),
            scheduled: job.scheduled,
            released: job.released,
            sent: None,
            connection: llms_core::observe::ConnectionInfo::default(),
            resent: false,
            written: None,
            headers: None,
            status: None,
            first_byte: None,
            first_answer: None,
            chunks: Vec::new(),
            end: None,
            tokens: TokenCounts::default(),
            finish_reason: None,
            model: None,
            bytes_out: None,
            bytes_in: None,
            reads: None,
            reported: std::collections::BTreeMap::new(),
            outcome,
        }
    }
}

struct Both(Timeline, Arc<dyn CallObserver>);

impl CallObserver for Both {
    fn observe(&self, event: &CallEvent<'_>) {
        self.0.observe(event);
        self.1.observe(event);
    }
}
