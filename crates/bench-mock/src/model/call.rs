//! One call of the in-process model, whole or streamed.

use std::{borrow::Cow, future::poll_fn, ops::Range, sync::Arc, time::Duration};

use http::HeaderMap;
use llms_core::{
    CallContext, ChatRequest, ChatResponse, EventSink, FinishReason, Outcome, Result, Stamp, StreamEvent,
    ToolCall, Usage,
    chat::ReasoningBlock,
    event::{ReasoningSeal, ToolCallDelta},
    observe::CallEvent,
    time::Timestamp,
};

use super::{MockModel, error};
use crate::{
    engine::{Admission, Decision, Ticket},
    pace::Pace,
    plan::{Ending, Finish, Part, Plan, Step},
    profile::{FaultKind, Prepared, Profile},
    situation::Situation,
    truth::{TruthOutcome, Write},
};

/// What a call is going through.
struct Call<'a> {
    ctx: &'a CallContext,
    op: String,
    ticket: Ticket,
    plan: Box<Plan>,
    pace: Pace,
    start: Timestamp,
    key: u64,
    bytes: u64,
    reads: u32,
}

/// Takes the request in and waits for its slot, or for its refusal.
async fn begin<'a>(
    model: &MockModel,
    op: String,
    request: &ChatRequest,
    ctx: &'a CallContext,
    stream: bool,
) -> Result<(Call<'a>, Arc<Prepared>)> {
    let ask = model.ask(request, stream);
    let arrival = ctx.now();
    ctx.emit(|| CallEvent::Sent { at: arrival });
    let Admission { decision, profile, key, mut ticket, .. } =
        model.engine.admit(&ask, ctx.request_id.as_deref(), 0, arrival, &ctx.clock);
    match decision {
        Decision::Refuse(refusal) => {
            ctx.clock.sleep_until(refusal.at).await;
            let now = ctx.now();
            // A situation may ask for a status of its own.
            let asked = ask.situation.and_then(Situation::refusal).filter(|(kind, _)| *kind == refusal.kind);
            let usual = || error::status(refusal.kind).unwrap_or(500);
            let status = asked.map_or_else(usual, |(_, status)| status);
            head(ctx, status, &error::headers(refusal.retry_after));
            ctx.emit(|| CallEvent::End { at: now, bytes: 0, reads: 0 });
            ticket.status(status);
            ticket.wrote(refusal.at, Write { before: now, after: now, tokens: 0 });
            ticket.end(TruthOutcome::Refused, now);
            Err(error::error(op, refusal.kind, refusal.retry_after).with_status(status))
        }
        Decision::Serve(plan, entry) => {
            let (permit, start) = entry.wait().await;
            ticket.begin(permit, start, &profile.profile, &ask, plan.steps.len());
            let pace = model.engine.pace(&profile.profile, &plan);
            let call = Call { ctx, op, ticket, plan, pace, start, key, bytes: 0, reads: 0 };
            Ok((call, profile))
        }
    }
}

fn head(ctx: &CallContext, status: u16, headers: &HeaderMap) {
    let stamp = Stamp::user(ctx.now(), 0);
    ctx.emit(|| CallEvent::Head { stamp, status, headers });
}

impl Call<'_> {
    /// When what is planned at this offset comes; asked in order, each at its time.
    fn due(&mut self, offset_ns: u64) -> Timestamp {
        self.start + Duration::from_nanos(self.pace.real(offset_ns))
    }

    /// Waits for what is planned at this offset; when it was due.
    async fn reach(&mut self, offset_ns: u64) -> Timestamp {
        let due = self.due(offset_ns);
        self.until(due).await;
        due
    }

    /// Waits for the end, chunk by chunk where others set the pace.
    async fn reach_end(&mut self) -> Timestamp {
        if !self.pace.is_free() {
            for i in 0..self.plan.steps.len() {
                self.reach(self.plan.steps[i].at).await;
            }
        }
        self.reach(self.plan.end_at).await
    }

    async fn until(&self, due: Timestamp) {
        if self.ctx.now() < due {
            self.ctx.clock.sleep_until(due).await;
        }
    }

    /// One read's worth arrives: logs it and stamps it.
    fn deliver(&mut self, due: Timestamp, tokens: u32, bytes: usize) -> Stamp {
        let now = self.ctx.now();
        self.ticket.wrote(due, Write { before: now, after: now, tokens });
        let stamp = Stamp::user(now, self.reads);
        if self.reads == 0 {
            self.ctx.emit(|| CallEvent::FirstByte { stamp });
        }
        self.reads += 1;
        self.bytes += bytes as u64;
        stamp
    }

    /// The chunks of one write arrive.
    fn deliver_steps(&mut self, due: Timestamp, steps: Range<usize>) -> Stamp {
        let steps = &self.plan.steps[steps];
        let (tokens, bytes) =
            (steps.iter().map(|s| s.tokens).sum(), steps.iter().map(|s| s.to - s.from).sum());
        self.deliver(due, tokens, bytes)
    }

    /// Hands them to the sink.
    fn say(
        &self,
        sink: &mut dyn EventSink,
        start: Option<StreamEvent<'_>>,
        steps: Range<usize>,
        stamp: Stamp,
    ) {
        if let Some(start) = start {
            sink.event(start, stamp);
        }
        for i in steps {
            let step = &self.plan.steps[i];
            if !(self.plan.redacted && step.part == Part::Reasoning) {
                sink.event(event(&self.plan, step), stamp);
            } else if self.plan.steps.get(i + 1).is_none_or(|next| next.part != Part::Reasoning) {
                let encrypted = Some(Cow::Owned(sealed(self.key)));
                let seal = ReasoningSeal { encrypted, ..ReasoningSeal::default() };
                sink.event(StreamEvent::ReasoningSeal(seal), stamp);
            }
        }
    }

    fn end(self, outcome: TruthOutcome) {
        let (at, bytes, reads) = (self.ctx.now(), self.bytes, self.reads);
        self.ctx.emit(|| CallEvent::End { at, bytes, reads });
        let mut pace = self.pace;
        let free_at = self.start + Duration::from_nanos(pace.real(self.plan.end_at));
        self.ticket.end(outcome, free_at);
    }

    /// Ends by the fault that struck.
    fn fail(mut self, kind: FaultKind) -> llms_core::Error {
        if let Some(status) = error::status(kind) {
            head(self.ctx, status, &HeaderMap::new());
            self.ticket.status(status);
        }
        let error = error::error(std::mem::take(&mut self.op), kind, None);
        self.end(TruthOutcome::Broken);
        error
    }
}

/// A whole answer.
pub(super) async fn whole(
    model: &MockModel,
    op: String,
    request: &ChatRequest,
    ctx: &CallContext,
) -> Result<ChatResponse> {
    let (mut call, prepared) = begin(model, op, request, ctx, false).await?;
    let due = call.reach_end().await;
    if let Ending::Broken(kind) = call.plan.ending {
        return Err(call.fail(kind));
    }
    head(ctx, 200, &HeaderMap::new());
    call.ticket.status(200);
    call.deliver(due, call.plan.sent_tokens, call.plan.text.len());
    let plan = &call.plan;
    let mut reasoning = plan.joined(Part::Reasoning);
    let mut reasoning_blocks = Vec::new();
    if plan.redacted && !reasoning.is_empty() {
        reasoning.clear();
        let encrypted = Some(sealed(call.key));
        reasoning_blocks.push(ReasoningBlock { encrypted, ..ReasoningBlock::default() });
    }
    let response = ChatResponse {
        text: plan.joined(Part::Text),
        reasoning: (!reasoning.is_empty()).then_some(reasoning),
        reasoning_blocks,
        tool_calls: (0..plan.calls.len())
            .filter(|i| plan.steps.iter().any(|s| s.part == Part::Open(*i)))
            .map(|i| ToolCall {
                id: format!("call_{}", plan.calls[i].id),
                name: plan.calls[i].name.clone(),
                arguments: plan.joined(Part::Arguments(i)),
            })
            .collect(),
        finish_reason: Some(finish(plan)),
        usage: usage(plan, &prepared.profile),
        model: Some(model.info.model.clone()),
        id: Some(id(call.key)),
        replayed: false,
    };
    call.end(TruthOutcome::Complete);
    Ok(response)
}

/// A streamed answer.
pub(super) async fn streamed(
    model: &MockModel,
    op: String,
    request: &ChatRequest,
    ctx: &CallContext,
    sink: &mut dyn EventSink,
) -> Result<Outcome> {
    let (mut call, prepared) = begin(model, op, request, ctx, true).await?;
    if let Ending::Broken(kind @ (FaultKind::Timeout | FaultKind::Network)) = call.plan.ending {
        call.reach(call.plan.end_at).await;
        return Err(call.fail(kind));
    }
    let due = call.reach(call.plan.head_at).await;
    head(ctx, 200, &HeaderMap::new());
    call.ticket.status(200);
    poll_fn(|cx| sink.poll_ready(cx)).await;
    let together = call.plan.steps.first().is_some_and(|s| s.at == call.plan.head_at);
    let mut early = None;
    if !together && prepared.profile.role_chunk {
        early = Some(call.deliver(due, 0, 0));
    }
    let (answer_id, answer_model) = (id(call.key), model.info.model.as_str());
    let mut start = Some(StreamEvent::Start {
        id: Some(Cow::Borrowed(&answer_id)),
        model: Some(Cow::Borrowed(answer_model)),
    });
    if let Some(stamp) = early
        && let Some(start) = start.take()
    {
        sink.event(start, stamp);
    }
    let together = prepared.profile.wire.chunks_per_write.max(1) as usize;
    let mut said = 0;
    for i in 0..call.plan.steps.len() {
        let due = call.reach(call.plan.steps[i].at).await;
        if i + 1 - said < together {
            continue;
        }
        poll_fn(|cx| sink.poll_ready(cx)).await;
        let stamp = call.deliver_steps(due, said..i + 1);
        call.say(sink, start.take(), said..i + 1, stamp);
        said = i + 1;
    }
    let due = call.reach(call.plan.end_at).await;
    poll_fn(|cx| sink.poll_ready(cx)).await;
    let rest = said..call.plan.steps.len();
    if let Ending::Broken(kind) = call.plan.ending {
        if !rest.is_empty() && !matches!(kind, FaultKind::Reset | FaultKind::Close) {
            let stamp = call.deliver_steps(due, rest.clone());
            call.say(sink, start.take(), rest, stamp);
        }
        return Err(call.fail(kind));
    }
    let stamp = call.deliver_steps(due, rest.clone());
    call.say(sink, start.take(), rest, stamp);
    let outcome = Outcome {
        finish_reason: Some(finish(&call.plan)),
        usage: usage(&call.plan, &prepared.profile),
        model: Some(answer_model.to_owned()),
        id: Some(answer_id.clone()),
        replayed: false,
    };
    sink.event(StreamEvent::Finish(finish(&call.plan)), stamp);
    if let Some(usage) = outcome.usage {
        sink.event(StreamEvent::Usage(usage), stamp);
    }
    call.end(TruthOutcome::Complete);
    Ok(outcome)
}

fn event<'p>(plan: &'p Plan, step: &Step) -> StreamEvent<'p> {
    let piece = Cow::Borrowed(plan.piece(step));
    match step.part {
        Part::Reasoning => StreamEvent::Reasoning(piece),
        Part::Text => StreamEvent::Text(piece),
        Part::Open(i) => StreamEvent::ToolCall(ToolCallDelta {
            index: i as u32,
            id: Some(Cow::Owned(format!("call_{}", plan.calls[i].id))),
            name: Some(Cow::Borrowed(&plan.calls[i].name)),
            arguments: Cow::Borrowed(""),
        }),
        Part::Arguments(i) => {
            StreamEvent::ToolCall(ToolCallDelta { index: i as u32, id: None, name: None, arguments: piece })
        }
    }
}

/// Stands for reasoning that a vendor encrypts.
fn sealed(key: u64) -> String {
    format!("simulated, not a secret {key:016x}")
}

fn id(key: u64) -> String {
    format!("mock-{key:016x}")
}

fn finish(plan: &Plan) -> FinishReason {
    match plan.finish {
        Finish::Stop | Finish::StopSequence => FinishReason::Stop,
        Finish::Length => FinishReason::Length,
        Finish::Tools => FinishReason::ToolCalls,
        Finish::Refused => FinishReason::ContentFilter,
    }
}

fn usage(plan: &Plan, profile: &Profile) -> Option<Usage> {
    profile.usage.then(|| Usage {
        input_tokens: Some(plan.input_tokens.into()),
        output_tokens: Some(plan.output_tokens.into()),
        cache_read_tokens: (plan.cached_tokens > 0).then(|| plan.cached_tokens.into()),
        cache_write_tokens: (plan.cache_write_tokens > 0).then(|| plan.cache_write_tokens.into()),
        reasoning_tokens: (plan.reasoning_tokens > 0).then(|| plan.reasoning_tokens.into()),
        total_tokens: Some(u64::from(plan.input_tokens) + u64::from(plan.output_tokens)),
        ..Usage::default()
    })
}
