//! What is found before the run begins, and what is left to the run to find; how a run is ended from outside.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::common;

use bench_mock::server::Protocol;
use common::{
    Bench,
    http::{answer, serve},
    vendors,
};

/// One line of errors of a run that had to fail.
#[track_caller]
fn fails_in_the_run(model: &str, more: &[&str], says: &str) {
    let server = vendors();
    let target = format!("openai:{model}@{}", server.base_url(Protocol::OpenAi));
    let args =
        [&["run", "-n", "5", "--concurrency", "1", "--warmup", "0", "--target", &target], more].concat();
    Bench::new().run(&args).with(3).says(says);
    // All were sent: the preflight did not leave the target out.
    assert!(server.truth_log().total() >= 5, "{model}: {}", server.truth_log().total());
}

#[test]
fn broken_streams_are_findings_of_the_run() {
    fails_in_the_run("mock-truncate", &[], "stream_truncated");
    fails_in_the_run("mock-midstream-error", &[], "5");
    fails_in_the_run("mock-reset", &[], "5");
}

#[test]
fn what_cannot_be_written_down_is_wrong_usage() {
    let server = vendors();
    for (provider, protocol) in [("openai", Protocol::OpenAi), ("anthropic", Protocol::Anthropic)] {
        let toml = format!(
            "[[target]]\nprovider = \"{provider}\"\nmodel = \"mock\"\nbase_url = \"{}\"\n\
             options = {{ extra = {{ model = \"other\" }} }}\n",
            server.base_url(protocol)
        );
        let bench = Bench::new().file("llms-bench.toml", &toml);
        bench.run(&["run", "-n", "5"]).with(2).says("extra.model");
    }
    assert_eq!(server.truth_log().total(), 0);
}

#[test]
fn a_terminated_run_keeps_what_there_is() {
    use rustix::process::Signal;
    let server = vendors();
    let target = format!("openai:mock-slow@{}", server.base_url(Protocol::OpenAi));
    let bench = Bench::new();
    let args = ["run", "--duration", "600s", "--concurrency", "2", "--warmup", "0", "--target", &target];
    let running = bench.start(&args);
    while server.truth_log().total() < 4 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.signal(Signal::TERM);
    running.end().with(130);
    bench.run(&["report"]).says("incomplete");
}

/// What `run` says of a server at this address, for each provider.
#[track_caller]
fn never_begins(base: &str, says: &[&str]) {
    for protocol in Protocol::ALL {
        let bench = Bench::new().env("AWS_REGION", "us-east-1");
        let target = format!("{}:m@{base}", protocol.as_str());
        let mut ended = bench.run(&["run", "-n", "3", "--target", &target]).with(3);
        for text in says {
            ended = ended.says(text);
        }
        assert!(ended.stdout.is_empty(), "{protocol}: {}", ended.stdout);
    }
}

#[test]
fn a_page_for_browsers_is_no_answer() {
    let page = serve(|_| answer(200, "text/html; charset=utf-8", "", b"<html>log in</html>"));
    never_begins(&page, &["a page for browsers", "malformed_response"]);
}

#[test]
fn redirects_are_told_and_not_followed() {
    let server = serve(|_| answer(302, "text/plain", "location: https://elsewhere.example/login\r\n", b""));
    never_begins(&server, &["https://elsewhere.example/login", "not followed", "not_found"]);
}
