//! T004: the no-op variant costs nothing: not one allocation more than the model alone.
#![allow(clippy::unwrap_used)] // a panic in a test is its report
#![allow(unsafe_code)] // an allocator that counts can only be written so

#[path = "it/common/mod.rs"]
mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use common::{Scripted, on_virtual_time, request};
use llms_core::{CallContext, ChatModel, ErrorCode, EventSink, Stamp, StreamEvent};
use llms_telemetry::{Instrumented, Metrics, ModelLabels};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands every request to the system's allocator as it is; the count is a thread-local cell without
// destructor, so it can be reached at any time.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

struct Ignore;

impl EventSink for Ignore {
    fn event(&mut self, _event: StreamEvent<'_>, _stamp: Stamp) {}
}

async fn calls(model: &impl ChatModel, ctx: &CallContext) -> u64 {
    let request = request();
    let before = allocations();
    let _ = model.generate(&request, ctx).await;
    let _ = model.drive(&request, ctx, &mut Ignore).await;
    drop(model.stream(&request, ctx));
    let _ = model.check_health(ctx).await;
    allocations() - before
}

#[test]
fn a_wrapped_model_allocates_no_more_than_the_model_alone() {
    let bare = Scripted::default();
    let wrapped = Instrumented::new(bare.clone(), Metrics::noop());
    on_virtual_time(async |ctx| {
        calls(&bare, &ctx).await; // what is allocated once
        let (alone, inside) = (calls(&bare, &ctx).await, calls(&wrapped, &ctx).await);
        assert!(alone > 0, "the counter counts");
        assert_eq!(inside, alone);
    });
}

#[test]
fn the_recorder_allocates_nothing() {
    let (m, on) = (Metrics::noop(), ModelLabels::of(Scripted::default().info()));
    let before = allocations();
    for _ in 0..100 {
        m.request(&on);
        m.requests_active(&on, 1);
        m.streams_active(&on, -1);
        m.error(&on, ErrorCode::Timeout);
        m.token_usage(&on, &common::USAGE);
        m.tool_call(&on, "t");
        m.batch(&on, 4, Duration::from_secs(1));
        m.stream(&on, Duration::from_secs(1), Ok(()));
        m.generation(&on, Duration::from_secs(1), Err(ErrorCode::Timeout));
        m.record_operation("x", Duration::from_secs(1), true);
    }
    assert_eq!(allocations(), before);
}
