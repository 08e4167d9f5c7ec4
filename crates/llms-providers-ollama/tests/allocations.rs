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
use llms_providers_ollama::{Codec, Config};

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
    let config = ModelConfig::new("ollama", "m").with_base_url("http://127.0.0.1:9");
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
    let line = |i: usize, field: &str, head: &str| {
        format!(
            r#"{{{head}"created_at":"2026-11-22T13:34:12.{}Z","message":{{"role":"assistant","{field}":" {}"}},"done":false}}"#,
            4332 + i * i,
            i % 7
        )
    };
    let model = r#""model":"m","#;
    check(None, |i| line(i, "content", model));
    check(None, |i| line(i, "thinking", model));
    let generated = |i: usize, field: &str| {
        format!(
            r#"{{"model":"m","created_at":"2026-11-22T13:34:12.{}Z","{field}":" {}","done":false}}"#,
            4332 + i * i,
            i % 7
        )
    };
    check(None, |i| generated(i, "response"));
    check(None, |i| generated(i, "thinking"));
    // Something that changes before the time: every line is parsed.
    check(None, |i| line(i, "content", &format!(r#""n":{},"#, 100 + i)));
}
