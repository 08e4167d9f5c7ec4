//! What is kept, for how long, and how a replay shows.

use std::{num::NonZeroUsize, time::Duration};

use llms_core::{
    ChatModel, ChatRequest, ErrorCode, FinishReason, Message, ToolDefinition,
    chat::{CacheAt, Content, ResponseFormat, ToolChoice},
};
use llms_layers::{Cache, CacheConfig, CacheStats};

use crate::support::{S, Scripted, Step, bench};

fn config(entries: usize) -> CacheConfig {
    CacheConfig::new(NonZeroUsize::new(entries).unwrap(), 60 * S)
}

fn cache(steps: &[Step]) -> Cache<Scripted> {
    Cache::new(Scripted::new("m", steps), config(8))
}

#[test]
fn a_replay_is_marked_and_costs_no_call() {
    let b = bench();
    let model = cache(&[Step::Answer("one"), Step::Answer("two")]);
    let first = b.generate(&model, "hi").unwrap();
    b.clock.block_on(b.ctx.clock.sleep_until(b.ctx.now() + 5 * S));
    let again = b.generate(&model, "hi").unwrap();
    assert_eq!((first.text.as_str(), first.replayed), ("one", false));
    assert_eq!((again.text.as_str(), again.replayed), ("one", true));
    assert_eq!(b.told.take(), ["replayed, 5000 ms old"]);

    // What came whole is also streamed, and the other way round.
    let (text, outcome) = b.drive(&model, "hi");
    let outcome = outcome.unwrap();
    assert_eq!((text.as_str(), outcome.replayed), ("|one", true));
    assert_eq!(outcome.finish_reason, Some(FinishReason::Stop));
    let (text, outcome) = b.drive(&model, "other");
    assert_eq!((text.as_str(), outcome.unwrap().replayed), ("two", false));
    assert!(b.generate(&model, "other").unwrap().replayed);
    assert_eq!(model.inner().calls(), 2);
    assert_eq!(model.stats(), CacheStats { hits: 3, misses: 2, entries: 2, bytes: 6 });
}

#[test]
fn everything_that_changes_the_answer_is_in_the_key() {
    type Change = fn(&mut ChatRequest);
    let changes: [(&str, Change); 12] = [
        ("text", |r| r.messages = vec![Message::user("other")]),
        ("turns", |r| r.messages.push(Message::assistant("x"))),
        ("image", |r| r.messages.push(Message::User { content: vec![Content::image("image/png", "AA==")] })),
        ("temperature", |r| r.options.temperature = Some(0.5)),
        ("seed", |r| r.options.seed = Some(1)),
        ("max_tokens", |r| r.options.max_tokens = Some(3)),
        ("stop", |r| r.options.stop_sequences = vec!["x".into()]),
        ("extra", |r| {
            r.options.extra.insert("top_a".into(), 1.into());
        }),
        ("tools", |r| r.tools = vec![ToolDefinition::new("t", "", serde_json::json!({}))]),
        ("tool_choice", |r| r.tool_choice = ToolChoice::Required),
        ("format", |r| r.format = Some(ResponseFormat::Json)),
        ("cache", |r| *r = r.clone().with_cache(CacheAt::System)),
    ];
    let b = bench();
    let model = Cache::new(Scripted::new("m", &[]), config(64));
    let plain = ChatRequest::text("hi");
    b.clock.block_on(async { model.generate(&plain, &b.ctx).await.unwrap() });
    for (what, change) in changes {
        let mut request = plain.clone();
        change(&mut request);
        let answer = b.clock.block_on(async { model.generate(&request, &b.ctx).await.unwrap() });
        assert!(!answer.replayed, "{what} changes the answer");
    }
    let again = b.clock.block_on(async { model.generate(&plain.clone(), &b.ctx).await.unwrap() });
    assert!(again.replayed);
}

#[test]
fn no_error_no_broken_stream_and_no_filtered_answer_is_kept() {
    for step in [
        Step::Fail(ErrorCode::Overloaded),
        Step::Break("Hel", ErrorCode::StreamTruncated),
        Step::Ends(FinishReason::ContentFilter),
        Step::Ends(FinishReason::Other("pause_turn".into())),
    ] {
        let b = bench();
        let model = cache(&[step.clone(), step.clone()]);
        let _ = b.drive(&model, "hi");
        let _ = b.generate(&model, "hi");
        assert_eq!(model.stats().entries, 0, "{step:?}");
        assert!(!b.generate(&model, "hi").unwrap().replayed);
    }
}

#[test]
fn a_dropped_stream_is_not_kept() {
    use futures_util::StreamExt;
    let b = bench();
    let model = cache(&[]);
    let request = "hi".into();
    b.clock.block_on(async {
        let mut stream = model.stream(&request, &b.ctx);
        stream.next().await.unwrap().unwrap();
    });
    // The scripted model says all in one go, so what is dropped may have been complete: then it may be kept. One that
    // breaks after its first words is not.
    let model = cache(&[Step::Break("Hel", ErrorCode::StreamClosed)]);
    b.clock.block_on(async {
        let mut stream = model.stream(&request, &b.ctx);
        stream.next().await.unwrap().unwrap();
    });
    assert_eq!(model.stats().entries, 0);
}

#[test]
fn answers_grow_old() {
    let b = bench();
    let model = cache(&[]);
    let later = |s: Duration| b.clock.block_on(b.ctx.clock.sleep_until(b.ctx.now() + s));
    b.generate(&model, "hi").unwrap();
    later(59 * S);
    assert!(b.generate(&model, "hi").unwrap().replayed);
    later(S);
    assert!(!b.generate(&model, "hi").unwrap().replayed, "60 s are over, counted from when it was stored");
}

#[test]
fn it_stays_within_its_bounds() {
    let b = bench();
    let model = Cache::new(Scripted::new("m", &[]), config(2));
    for prompt in ["a", "b", "a", "c"] {
        b.generate(&model, prompt).unwrap();
    }
    assert!(b.generate(&model, "a").unwrap().replayed, "used more recently than b");
    assert!(!b.generate(&model, "b").unwrap().replayed);
    assert_eq!(model.stats().entries, 2);

    let model = Cache::new(Scripted::new("m", &[]), CacheConfig { bytes: 9, ..config(8) });
    for prompt in ["a", "b", "c"] {
        b.generate(&model, prompt).unwrap();
    }
    assert_eq!(
        (model.stats().entries, model.stats().bytes),
        (2, 8),
        "three answers of 4 bytes do not fit into 9"
    );
    let model = Cache::new(Scripted::new("m", &[]), CacheConfig { bytes: 3, ..config(8) });
    b.generate(&model, "a").unwrap();
    assert_eq!(model.stats().entries, 0, "too large to be kept at all");
}

#[test]
fn it_forgets_on_request() {
    let b = bench();
    let model = cache(&[Step::Answer("old news"), Step::Answer("fine")]);
    for prompt in ["a", "b"] {
        b.generate(&model, prompt).unwrap();
    }
    assert!(model.invalidate(&"b".into()));
    assert!(!model.invalidate(&"b".into()), "there is nothing left");
    assert_eq!(model.invalidate_if(|answer| answer.text.contains("old")), 1);
    assert_eq!((model.stats().entries, model.stats().bytes), (0, 0));
    b.generate(&model, "a").unwrap();
    model.clear();
    assert_eq!(model.stats().entries, 0);
    assert!(!b.generate(&model, "a").unwrap().replayed);
}

#[test]
fn who_has_cancelled_gets_no_replay() {
    let b = bench();
    let model = cache(&[]);
    b.generate(&model, "hi").unwrap();
    b.ctx.cancel.cancel();
    assert_eq!(b.generate(&model, "hi").unwrap_err().code(), ErrorCode::Cancelled);
}
