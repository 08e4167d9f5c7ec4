//! The checks, one function each. What they demand is what the documentation of [`ChatModel`] and
//! [`EventSink`] says; a failure names what was expected and what came instead.

use std::{error::Error as StdError, time::Duration};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Stop, Suite, Verdict, ensure, fail, skip};
use crate::{
    CallContext, CallPhase, ChatModel, ChatModelExt, ChatRequest, ChatResponse, ErrorCode, ErrorKind,
    EventSink, FinishReason, Message, Outcome, Stamp, StreamEvent, TimedEvent, ToolCall, Usage,
    event::Collector, health::HealthState, time::Timestamp,
};

pub(super) fn info_is_complete(s: &Suite<'_>) -> Verdict {
    let info = s.model.info();
    ensure(!info.provider.is_empty(), || "the provider has no name".into())?;
    ensure(!info.model.is_empty(), || "the model has no name".into())?;
    if let Some(url) = info.endpoint.as_deref().and_then(|e| Url::parse(e).ok()) {
        let bare = url.username().is_empty() && url.password().is_none();
        ensure(bare, || "the endpoint carries credentials, which would end up in reports".into())?;
    }
    Ok(())
}

pub(super) async fn generate_answers(s: &Suite<'_>) -> Verdict {
    let answer = s.expect("generate", s.model.generate(&s.options.request, &s.ctx()).await)?;
    has_text("the answer", &answer)?;
    ensure(answer.finish_reason.is_some(), || "the answer has no finish reason".into())?;
    has_usage(s, "the answer", answer.usage)
}

/// Text, or a good reason for its absence.
fn has_text(what: &str, answer: &ChatResponse) -> Verdict {
    if !answer.text.is_empty() {
        return Ok(());
    }
    if answer.reasoning.is_some() && answer.finish_reason == Some(FinishReason::Length) {
        return skip(format!("{what} was cut off while the model was reasoning; allow more tokens"));
    }
    fail(format!("{what} has no text"))
}

fn has_usage(s: &Suite<'_>, what: &str, usage: Option<Usage>) -> Verdict {
    if !s.model.info().capabilities.usage {
        return Ok(());
    }
    let counted = |n: Option<u64>| n.is_some_and(|n| n > 0);
    match usage {
        None => fail(format!("the model states usage, but {what} has none")),
        Some(u) if !counted(u.input_tokens) || !counted(u.output_tokens) => {
            fail(format!("expected input and output tokens with {what}, got {u:?}"))
        }
        Some(u) if u.reasoning_tokens > u.output_tokens || u.cache_read_tokens > u.input_tokens => {
            fail(format!("a part of the usage is larger than its whole: {u:?}"))
        }
        Some(_) => Ok(()),
    }
}

async fn driven(s: &Suite<'_>, request: &ChatRequest) -> Result<(Vec<TimedEvent>, Outcome), Stop> {
    s.needs_streaming()?;
    let mut events = Vec::new();
    let outcome = s.expect("drive", s.model.drive(request, &s.ctx(), &mut events).await)?;
    Ok((events, outcome))
}

fn joined(events: &[TimedEvent]) -> ChatResponse {
    let mut collector = Collector::default();
    for e in events {
        collector.event(e.event.clone(), e.stamp);
    }
    collector.finish()
}

pub(super) async fn drive_delivers(s: &Suite<'_>) -> Verdict {
    let (events, outcome) = driven(s, &s.options.request).await?;
    ensure(events.iter().any(|e| e.event.is_token()), || {
        format!("expected at least one token event, got {} events without any", events.len())
    })?;
    let empty = |e: &&TimedEvent| matches!(&e.event, StreamEvent::Text(t) | StreamEvent::Reasoning(t) if t.is_empty());
    ensure(events.iter().find(empty).is_none(), || {
        "an event carries empty text, which is no event: role-only and keep-alive chunks are not pushed"
            .into()
    })?;
    let mut after_finish = events.iter().skip_while(|e| !matches!(e.event, StreamEvent::Finish(_)));
    let finish = after_finish.next().map(|e| &e.event);
    let Some(StreamEvent::Finish(reason)) = finish else { return fail("no Finish event was pushed") };
    ensure(after_finish.all(|e| !e.event.is_token()), || "tokens were pushed after Finish".into())?;
    ensure(outcome.finish_reason.as_ref() == Some(reason), || {
        format!("Finish says {reason:?}, the outcome {:?}", outcome.finish_reason)
    })?;
    has_usage(s, "the stream", joined(&events).usage)?;
    has_usage(s, "the outcome", outcome.usage)
}

pub(super) async fn stream_has_text(s: &Suite<'_>) -> Verdict {
    let (events, _) = driven(s, &s.options.request).await?;
    has_text("the stream", &joined(&events))
}

pub(super) async fn stream_ends(s: &Suite<'_>) -> Verdict {
    s.needs_streaming()?;
    let ctx = s.ctx();
    let mut stream = s.model.stream(&s.options.request, &ctx);
    let mut tokens = 0;
    while let Some(item) = stream.next().await {
        tokens += usize::from(s.expect("stream", item)?.event.is_token());
    }
    ensure(tokens > 0, || "the stream ended without a token".into())?;
    ensure(stream.next().await.is_none(), || "the stream went on after its end".into())
}

pub(super) async fn stream_can_be_dropped(s: &Suite<'_>) -> Verdict {
    s.needs_streaming()?;
    let ctx = s.ctx();
    let mut stream = s.model.stream(&s.options.request, &ctx);
    match stream.next().await {
        Some(item) => s.expect("stream", item).map(drop)?,
        None => return fail("the stream is empty"),
    }
    drop(stream);
    s.expect("a call after a dropped stream", s.model.generate(&s.options.request, &s.ctx()).await).map(drop)
}

pub(super) async fn stream_equals_whole(s: &Suite<'_>) -> Verdict {
    let (events, outcome) = driven(s, &s.options.request).await?;
    let streamed = joined(&events);
    let whole = s.expect("generate", s.model.generate(&s.options.request, &s.ctx()).await)?;
    let same = |what: &str, stream: &dyn std::fmt::Debug, whole: &dyn std::fmt::Debug| {
        let (stream, whole) = (format!("{stream:?}"), format!("{whole:?}"));
        ensure(stream == whole, || format!("{what}: {stream} when streamed, {whole} when whole"))
    };
    same("usage is reported", &outcome.usage.is_some(), &whole.usage.is_some())?;
    if !s.options.deterministic {
        return Ok(());
    }
    same("text", &streamed.text, &whole.text)?;
    same("reasoning", &streamed.reasoning, &whole.reasoning)?;
    same("reasoning to send back", &streamed.reasoning_blocks.len(), &whole.reasoning_blocks.len())?;
    same("finish reason", &outcome.finish_reason, &whole.finish_reason)?;
    let output = |u: Option<Usage>| u.map(|u| (u.input_tokens, u.output_tokens, u.reasoning_tokens));
    same("tokens", &output(outcome.usage), &output(whole.usage))
}

pub(super) async fn several_turns(s: &Suite<'_>) -> Verdict {
    let mut request = s.options.request.clone();
    let question = request.messages.clone();
    request.messages.insert(0, Message::system("You answer in one short sentence."));
    request.messages.push(Message::assistant("Paris."));
    request.messages.extend(question);
    let answer = s.model.generate(&request, &s.ctx()).await;
    if let Err(e) = &answer
        && e.code() == ErrorCode::InvalidRequest
        && e.phase() == Some(CallPhase::Prepare)
    {
        return skip(format!("the wire has no words for a conversation: {}", e.message()));
    }
    has_text("the answer to several turns", &s.expect("generate with several turns", answer)?)
}

pub(super) async fn any_script(s: &Suite<'_>) -> Verdict {
    // Four bytes, right to left, joined, combining, escaped in JSON, and a line separator that JavaScript trips over.
    const TEXT: &str = "Repeat: 🦀 naïve 日本語 שלום 👩\u{200d}💻 e\u{301} \" \\ \t \u{2028} end";
    let mut request = s.options.request.clone();
    request.messages = vec![Message::user(TEXT)];
    let answer = s.expect("generate", s.model.generate(&request, &s.ctx()).await)?;
    has_text("the answer", &answer)?;
    if s.model.info().capabilities.streaming {
        let (events, _) = driven(s, &request).await?;
        has_text("the stream", &joined(&events))?;
    }
    Ok(())
}

pub(super) async fn huge_message(s: &Suite<'_>) -> Verdict {
    let mut request = s.options.request.clone();
    let words = "The quick brown fox jumps over the lazy dog. ";
    request.messages = vec![Message::user(words.repeat(s.options.huge_chars.div_ceil(words.len())))];
    let code = s.code(s.model.generate(&request, &s.ctx()).await);
    let clean = code.is_none_or(|c| !matches!(c, ErrorCode::Unknown | ErrorCode::MalformedResponse));
    ensure(clean, || format!("expected an answer or a clear refusal, got `{}`", name(code)))
}

pub(super) async fn stamps_are_monotone(s: &Suite<'_>) -> Verdict {
    let start = s.options.ctx.now();
    let (events, _) = driven(s, &s.options.request).await?;
    let end = s.options.ctx.now();
    for e in &events {
        ensure((start..=end).contains(&e.stamp.user), || {
            format!("the stamp {} lies outside the call, {start} to {end}", e.stamp.user)
        })?;
    }
    for pair in events.windows(2) {
        let (a, b) = (pair[0].stamp, pair[1].stamp);
        let (earlier, later) = ((a.read, a.user), (b.read, b.user));
        ensure(earlier.0 <= later.0 && earlier.1 <= later.1, || {
            format!("(read, stamp) went back from {earlier:?} to {later:?}")
        })?;
        ensure(a.read != b.read || a == b, || format!("read {} has two stamps", a.read))?;
    }
    Ok(())
}

pub(super) async fn no_messages(s: &Suite<'_>) -> Verdict {
    let empty = ChatRequest::default();
    // A value or an error, both are fine: the check is that it returns.
    s.code(s.model.generate(&empty, &s.ctx()).await);
    if s.model.info().capabilities.streaming {
        s.code(s.model.drive(&empty, &s.ctx(), &mut Vec::new()).await);
    }
    Ok(())
}

/// What a call came to.
fn name(code: Option<ErrorCode>) -> &'static str {
    code.map_or("success", ErrorCode::as_str)
}

/// `since` lies no longer back than a call may take that should return at once.
fn promptly(s: &Suite<'_>, what: &str, since: Timestamp) -> Verdict {
    let took = s.options.ctx.now().saturating_since(since);
    ensure(took <= s.options.patience, || format!("{what} returned only after {took:?}"))
}

pub(super) async fn deadline_is_kept(s: &Suite<'_>) -> Verdict {
    const SHORT: Duration = Duration::from_millis(1);
    let timely = |what: &str, start, code: Option<ErrorCode>| {
        promptly(s, what, start)?;
        ensure(code.is_none_or(|c| c.kind() == ErrorKind::Timeout), || {
            format!("expected {what} to end in a timeout or an answer, got `{}`", name(code))
        })
    };
    let start = s.options.ctx.now();
    let code = s.code(s.model.generate(&s.options.request, &s.ctx_within(SHORT)).await);
    timely("generate with a deadline of 1 ms", start, code)?;
    if s.model.info().capabilities.streaming {
        let start = s.options.ctx.now();
        let drive = s.model.drive(&s.options.request, &s.ctx_within(SHORT), &mut Vec::new()).await;
        timely("drive with a deadline of 1 ms", start, s.code(drive))?;
    }
    Ok(())
}

pub(super) async fn cancelled_before(s: &Suite<'_>) -> Verdict {
    let ctx = s.ctx();
    ctx.cancel.cancel();
    let refused = |what: &str, code: Option<ErrorCode>| {
        ensure(code == Some(ErrorCode::Cancelled), || {
            format!(
                "expected {what} of a caller who has cancelled to fail with `context_canceled`, got {code:?}"
            )
        })
    };
    refused("generate", s.code(s.model.generate(&s.options.request, &ctx).await))?;
    let mut events = Vec::new();
    refused("drive", s.code(s.model.drive(&s.options.request, &ctx, &mut events).await))?;
    ensure(events.is_empty(), || "events were pushed to a caller who had cancelled".into())
}

/// Cancels the call at its first event.
struct CancelAtFirst {
    cancel: CancellationToken,
    at: Option<Timestamp>,
    ctx: CallContext,
}

impl EventSink for CancelAtFirst {
    fn event(&mut self, _event: StreamEvent<'_>, _stamp: Stamp) {
        self.at.get_or_insert_with(|| self.ctx.now());
        self.cancel.cancel();
    }
}

pub(super) async fn cancelled_during(s: &Suite<'_>) -> Verdict {
    /// An answer that was on its way out when the call was cancelled may still come; one that comes later than
    /// this was waited for.
    const ON_ITS_WAY: Duration = Duration::from_millis(250);
    let ended = |what: &str, since, code: Option<ErrorCode>| {
        promptly(s, what, since)?;
        let took = s.options.ctx.now().saturating_since(since);
        ensure(code.map_or(took <= ON_ITS_WAY, |c| c == ErrorCode::Cancelled), || match code {
            Some(code) => format!("expected {what} to fail with `context_canceled`, got `{code}`"),
            None => format!("{what} went on for {took:?} and succeeded"),
        })
    };
    let ctx = s.ctx();
    let soon = ctx.clock.sleep_until(ctx.now() + Duration::from_millis(1));
    let cancel = async {
        soon.await;
        ctx.cancel.cancel();
        ctx.now()
    };
    let call = s.model.generate(&s.options.request, &ctx);
    let (answer, since) = futures_util::future::join(call, cancel).await;
    ended("a cancelled generate", since, s.code(answer))?;
    if s.model.info().capabilities.streaming {
        let ctx = s.ctx();
        let mut sink = CancelAtFirst { cancel: ctx.cancel.clone(), at: None, ctx: ctx.clone() };
        let code = s.code(s.model.drive(&s.options.request, &ctx, &mut sink).await);
        let Some(since) = sink.at else {
            return fail(format!("drive pushed no event, and ended in `{}`", name(code)));
        };
        ended("a drive cancelled at its first event", since, code)?;
    }
    Ok(())
}

pub(super) async fn cancellation_reaches_server(s: &Suite<'_>) -> Verdict {
    const WITHIN: Duration = Duration::from_millis(100);
    s.needs_streaming()?;
    let Some(busy) = &s.options.busy else { return skip("the server's side cannot be seen") };
    let clock = &s.options.ctx.clock;
    let before = busy();
    let ctx = s.ctx();
    let mut sink = CancelAtFirst { cancel: ctx.cancel.clone(), at: None, ctx: ctx.clone() };
    s.code(s.model.drive(&s.options.request, &ctx, &mut sink).await);
    let Some(since) = sink.at else { return fail("drive pushed no event") };
    while busy() > before {
        if clock.now().saturating_since(since) > WITHIN {
            return fail(format!("the server was still answering {WITHIN:?} after the cancellation"));
        }
        clock.sleep_until(clock.now() + Duration::from_millis(2)).await;
    }
    let took = clock.now().saturating_since(since);
    ensure(took <= WITHIN, || format!("the server was rid of the call only {took:?} after the cancellation"))
}

pub(super) async fn concurrent_calls(s: &Suite<'_>) -> Verdict {
    let n = s.options.concurrency.max(1);
    let requests = vec![s.options.request.clone(); n];
    let mut limited = 0;
    for answer in s.model.batch(&requests, n, &s.ctx()).await {
        match answer {
            // A service may well limit us; that is no fault of the model.
            Err(e) if matches!(e.code(), ErrorCode::RateLimit | ErrorCode::Overloaded) => {
                limited += 1;
                s.keep(e);
            }
            answer => {
                let answer = s.expect(&format!("one of {n} calls at once"), answer)?;
                has_text("one of the answers", &answer)?;
            }
        }
    }
    if limited > 0 { skip(format!("the service refused {limited} of {n} calls at once")) } else { Ok(()) }
}

/// A call as the model wrote it must be one that a program can run.
fn runnable(s: &Suite<'_>, answer: &ChatResponse) -> Verdict {
    if answer.tool_calls.is_empty() {
        return skip("the model answered without calling the tool");
    }
    for call in &answer.tool_calls {
        let expected = &s.options.tool.name;
        ensure(call.name == *expected, || format!("expected a call of `{expected}`, got `{}`", call.name))?;
        ensure(!call.id.is_empty(), || "the call has no id to answer it by".into())?;
        let arguments = call.parse_arguments().ok().filter(serde_json::Value::is_object);
        ensure(arguments.is_some(), || {
            format!("expected arguments that are a JSON object, got `{}`", call.arguments)
        })?;
    }
    Ok(())
}

pub(super) async fn tool_call(s: &Suite<'_>) -> Verdict {
    s.needs_tools()?;
    runnable(s, &s.expect("generate with a tool", s.model.generate(&s.tool_request(), &s.ctx()).await)?)
}

pub(super) async fn streamed_tool_call(s: &Suite<'_>) -> Verdict {
    s.needs_tools()?;
    let (events, _) = driven(s, &s.tool_request()).await?;
    runnable(s, &joined(&events))
}

pub(super) async fn tool_result(s: &Suite<'_>) -> Verdict {
    s.needs_tools()?;
    // A call made up here, so that the check does not depend on the model's mood; the id fits every vendor's rule.
    let call = ToolCall {
        id: "call12345".into(),
        name: s.options.tool.name.clone(),
        arguments: r#"{"city":"Paris"}"#.into(),
    };
    let mut request = s.tool_request();
    let asked = Message::tool_calls([call.clone()]);
    request.messages.extend([asked, Message::tool_result(&call, r#"{"weather":"sunny","celsius":21}"#)]);
    let answer = s.expect("a request with a tool result", s.model.generate(&request, &s.ctx()).await)?;
    if answer.tool_calls.is_empty() { has_text("the answer to a tool result", &answer) } else { Ok(()) }
}

pub(super) async fn tool_loop(s: &Suite<'_>) -> Verdict {
    const TURNS: usize = 4;
    s.needs_tools()?;
    let mut request = s.tool_request();
    for turn in 0..TURNS {
        let answer =
            s.expect(&format!("turn {turn} of a tool loop"), s.model.generate(&request, &s.ctx()).await)?;
        if answer.tool_calls.is_empty() {
            let what = "the answer after the tool's result";
            return if turn == 0 {
                skip("the model answered without calling the tool")
            } else {
                has_text(what, &answer)
            };
        }
        request.messages.push(answer.to_message());
        let results = answer.tool_calls.iter();
        request
            .messages
            .extend(results.map(|c| Message::tool_result(c, r#"{"weather":"sunny","celsius":21}"#)));
    }
    skip(format!("the model still called the tool after {TURNS} results"))
}

pub(super) async fn failures(s: &Suite<'_>) -> Verdict {
    if s.options.failing.is_empty() {
        return skip("no model was given that is known to fail");
    }
    let mut wrong = Vec::new();
    for case in &s.options.failing {
        let mut judge = |how: &str, code: Option<ErrorCode>| {
            if !code.is_some_and(|c| case.codes.contains(&c)) {
                let expected: Vec<_> = case.codes.iter().map(|c| c.as_str()).collect();
                wrong.push(format!(
                    "{} {how}: expected {}, got `{}`",
                    case.name,
                    expected.join(" or "),
                    name(code)
                ));
            }
        };
        if !case.streams_only {
            judge("whole", s.code(case.model.generate(&s.options.request, &s.ctx()).await));
        }
        if s.model.info().capabilities.streaming {
            let code = s.code(case.model.drive(&s.options.request, &s.ctx(), &mut Vec::new()).await);
            judge("streamed", code);
        }
    }
    if wrong.is_empty() { Ok(()) } else { fail(wrong.join("; ")) }
}

pub(super) async fn bind_tools(s: &Suite<'_>) -> Verdict {
    s.needs_tools()?;
    let before = s.model.info().clone();
    let bound = s.model.bind_tools([s.options.tool.clone()]);
    s.expect("generate with a bound tool", bound.generate(&s.options.request, &s.ctx()).await)?;
    ensure(bound.info() == &before && s.model.info() == &before, || "binding tools changed the info".into())?;
    let answer = s.expect("generate", s.model.generate(&s.options.tool_request, &s.ctx()).await)?;
    ensure(answer.tool_calls.is_empty(), || {
        format!("the original model called `{}`, which was bound to another", answer.tool_calls[0].name)
    })
}

pub(super) async fn health(s: &Suite<'_>) -> Verdict {
    let (health, info) = (s.model.check_health(&s.ctx()).await, s.model.info());
    ensure(health.provider == info.provider && health.model == info.model, || {
        format!("health is that of {}:{}", health.provider, health.model)
    })?;
    ensure(
        health.state == HealthState::Healthy || health.reason.as_ref().is_some_and(|r| !r.is_empty()),
        || format!("health is {:?} without a reason", health.state),
    )
}

pub(super) fn errors(s: &Suite<'_>) -> Verdict {
    const DEEP: usize = 32;
    let errors = std::mem::take(&mut *s.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    for e in &errors {
        ensure(!e.op().is_empty(), || format!("an error names no operation: {e}"))?;
        ensure(!e.message().is_empty(), || format!("an error has no message: {e}"))?;
        ensure(e.provider().is_some_and(|p| !p.is_empty()), || format!("an error names no provider: {e}"))?;
        let chain = std::iter::successors(Some(e as &dyn StdError), |&e| e.source());
        ensure(chain.clone().take(DEEP).count() < DEEP, || {
            format!("the chain of sources does not end: {e}")
        })?;
        for source in chain {
            ensure(!source.to_string().is_empty(), || format!("an error in the chain says nothing: {e:?}"))?;
        }
    }
    if errors.is_empty() { skip("no call failed") } else { Ok(()) }
}
