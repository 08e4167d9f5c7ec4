//! Plain text and thinking are decoded without allocating, by the shortcut and by the full parse alike.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
#![allow(unsafe_code, reason = "counting allocations needs a global allocator, which is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use llms_core::{
    EventSink, Stamp, StreamEvent,
    config::ModelConfig,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_anthropic::{Codec, Config};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of the calling thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Length(usize);

impl EventSink for Length {
    fn event(&mut self, event: StreamEvent<'_>, _stamp: Stamp) {
        if let StreamEvent::Text(t) | StreamEvent::Reasoning(t) = event {
            self.0 += t.len();
        }
    }
}

/// Allocations for 100 frames after a few to warm up.
#[track_caller]
fn check(event: Option<&str>, frame: impl Fn(usize) -> String) {
    let config = ModelConfig::new("anthropic", "m").with_base_url("http://127.0.0.1:9");
    let codec = Codec::new(Config::new(&config, &|_| None).unwrap());
    let frames: Vec<String> = (0..104).map(frame).collect();
    let (mut decoder, mut sink) = (codec.decoder(), Length(0));
    let mut feed = |frames: &[String]| {
        for data in frames {
            decoder.frame(Frame { event, data }, Stamp::default(), &mut sink).unwrap();
        }
    };
    feed(&frames[..4]);
    let before = COUNT.get();
    feed(&frames[4..]);
    assert_eq!(COUNT.get() - before, 0);
    assert!(sink.0 >= 104);
}

#[test]
fn plain_frames_do_not_allocate() {
    let delta = |i: usize, kind: &str, tail: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"{kind}_delta","{kind}":" {}"}}{tail}}}"#,
            i % 7
        )
    };
    let event = Some("content_block_delta");
    check(event, |i| delta(i, "text", &" ".repeat(i % 9)));
    check(event, |i| delta(i, "thinking", ""));
    // Without a name, or with a field after the delta, every frame is parsed.
    check(None, |i| delta(i, "text", ""));
    check(event, |i| delta(i, "text", r#","more":1"#));
}

#[test]
fn keeping_what_hooks_may_report_does_not_allocate() {
    // Words of the vendor are kept without a copy; the text beside keeps the sink's count going.
    let ended = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null,"stop_details":null},"usage":{"output_tokens":1,"service_tier":"standard","speed":"fast","inference_geo":"global"}}"#;
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ab"}}"#;
    check(None, |i| if i % 2 == 0 { ended } else { text }.to_owned());
}
