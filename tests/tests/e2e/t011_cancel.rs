//! A client that leaves in mid-stream: the server sees it, no broken connection is used again, and nobody calls it a failure.

use std::sync::{Arc, Mutex};

use bench_mock::{TruthOutcome, server::Protocol, server::ServerConfig};
use bench_runner::Runner;
use llms_core::{
    CallContext, ChatModel as _, ChatRequest, ErrorCode, EventSink, Stamp, StreamEvent,
    bench::{BenchmarkRunner as _, RecordOutcome, RecordSink, RequestRecord, RunManifest},
};
use tokio_util::sync::CancellationToken;

use crate::support::{FOUR, direct, judge, model, scenario, steady, targets};

/// Cancels with its third token.
struct Leaves(CancellationToken, u32);

impl EventSink for Leaves {
    fn event(&mut self, event: StreamEvent<'_>, _: Stamp) {
        self.1 += u32::from(event.is_token());
        if self.1 == 3 {
            self.0.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_sees_the_client_leave_and_the_connection_is_not_used_again() {
    for (name, protocol, model_name) in FOUR {
        // 500 tokens at 2 ms: a second in which to leave.
        let profile = steady(5.0).with_output_tokens(500);
        let server = ServerConfig::default().with_profile(protocol, profile).start().unwrap();
        let transport = direct();
        let model = model(&server, protocol, model_name, &transport).await;
        let request = ChatRequest::text("Tell me a long story.");
        let cancel = CancellationToken::new();
        let ctx = CallContext {
            request_id: Some("leaves".into()),
            ..CallContext::new().with_cancel(cancel.clone())
        };
        let left = model.drive(&request, &ctx, &mut Leaves(cancel, 0)).await.unwrap_err();
        assert_eq!(left.code(), ErrorCode::Cancelled, "{name}");

        let mut short = request.clone();
        short.options.max_tokens = Some(4);
        let ctx = CallContext { request_id: Some("stays".into()), ..CallContext::new() };
        let answer = model.generate(&short, &ctx).await.unwrap();
        assert!(!answer.text.is_empty(), "{name}");

        let truth = server.truth();
        let of =
            |id: &str| truth.iter().find(|t| t.request_id == id).unwrap_or_else(|| panic!("{name}: {id}"));
        assert_eq!(of("leaves").outcome, TruthOutcome::Abandoned, "{name}");
        assert!((3..500).contains(&of("leaves").tokens()), "{name}: {} tokens", of("leaves").tokens());
        assert_eq!(of("stays").outcome, TruthOutcome::Complete, "{name}");
        assert_ne!(of("leaves").conn, of("stays").conn, "{name}: half an answer is still on its way there");
    }
}

/// Ends the run with its tenth record.
struct Enough(CancellationToken, Arc<Mutex<Vec<RequestRecord>>>);

impl RecordSink for Enough {
    fn begin(&mut self, _: &RunManifest) -> llms_core::Result<()> {
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> llms_core::Result<()> {
        let mut all = self.1.lock().unwrap();
        all.push(record.clone());
        if all.len() == 10 {
            self.0.cancel();
        }
        Ok(())
    }

    fn finish(&mut self, _: &RunManifest) -> llms_core::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_cut_off_by_the_end_of_a_run_are_censored_and_not_failed() {
    let profile = steady(5.0).with_output_tokens(30);
    let server = ServerConfig::default().with_profile(Protocol::OpenAi, profile).start().unwrap();
    let targets = targets(&server, &FOUR[..1], &direct()).await;
    let cancel = CancellationToken::new();
    let ctx = CallContext::new().with_cancel(cancel.clone());
    let mut sink = Enough(cancel, Arc::default());
    let run = Runner::new().run(&targets, &scenario(1000, 4), &mut sink, &ctx).await.unwrap();

    assert!(run.manifest.interrupted && !run.manifest.complete);
    let count = |of: fn(&RecordOutcome) -> bool| run.records.iter().filter(|r| of(&r.outcome)).count();
    let cut: Vec<_> = run.records.iter().filter(|r| r.outcome == RecordOutcome::Censored).collect();
    assert!((1..=4).contains(&cut.len()), "those in flight: {}", cut.len());
    assert_eq!(count(|o| matches!(o, RecordOutcome::Failed(_))), 0, "nobody failed");
    let analysis = judge(&run);
    assert_eq!(analysis.targets[0].failed, 0);
    let truth = server.truth();
    for record in cut.iter().filter(|r| r.written.is_some()) {
        let told = truth.iter().find(|t| t.request_id == *record.request_id).unwrap();
        assert_eq!(told.outcome, TruthOutcome::Abandoned, "{}", record.request_id);
    }
}
