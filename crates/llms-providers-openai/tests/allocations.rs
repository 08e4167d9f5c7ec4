//! Plain chunks are decoded without allocating, by the shortcut and by the full parse alike.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
#![allow(unsafe_code, reason = "counting allocations needs a global allocator, which is an unsafe trait")]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use common::local_of;
use llms_core::{
    EventSink, Stamp, StreamEvent,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_openai::Api;

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

/// Allocations for 100 chunks after a few to warm up.
#[track_caller]
fn check(api: Api, chunk: impl Fn(usize) -> String) {
    let chunks: Vec<String> = (0..104).map(chunk).collect();
    let (mut decoder, mut sink) = (local_of(api).decoder(), Length(0));
    let mut feed = |chunks: &[String]| {
        for data in chunks {
            decoder.frame(Frame { event: None, data }, Stamp::default(), &mut sink).unwrap();
        }
    };
    feed(&chunks[..4]);
    let before = COUNT.get();
    feed(&chunks[4..]);
    assert_eq!(COUNT.get() - before, 0);
    assert!(sink.0 >= 104);
}

#[test]
fn plain_chunks_do_not_allocate() {
    let chunk = |i: usize, rest: &str, field: &str| {
        format!(
            r#"{{"id":"c","model":"m","system_fingerprint":"f","choices":[{{"index":0,"delta":{{"{field}":" {}"}},"finish_reason":null}}]{rest}}}"#,
            i % 7
        )
    };
    check(Api::Chat, |i| chunk(i, "", "content"));
    check(Api::Chat, |i| chunk(i, "", "reasoning_content"));
    // Padding that changes, and usage in every chunk, need the full parse.
    check(Api::Chat, |i| chunk(i, &format!(r#","obfuscation":"{}""#, "x".repeat(i % 5)), "content"));
    check(Api::Chat, |i| {
        chunk(i, &format!(r#","usage":{{"prompt_tokens":3,"completion_tokens":{i}}}"#), "content")
    });
    // Text completions; responses, with the counter and the padding that change.
    check(Api::Completions, |i| {
        format!(
            r#"{{"id":"c","model":"m","choices":[{{"index":0,"text":" {}","finish_reason":null}}]}}"#,
            i % 7
        )
    });
    for kind in ["output_text", "reasoning_text", "reasoning_summary_text"] {
        check(Api::Responses, |i| {
            format!(
                r#"{{"type":"response.{kind}.delta","sequence_number":{i},"item_id":"i","output_index":0,"delta":" {}","obfuscation":"{}"}}"#,
                i % 7,
                "x".repeat(i % 5)
            )
        });
    }
    // Nothing can be learned from a counter that is no number: the full parse, each time.
    check(Api::Responses, |i| {
        format!(
            r#"{{"type":"response.output_text.delta","sequence_number":"{i}","output_index":0,"delta":" {}"}}"#,
            i % 7
        )
    });
}
