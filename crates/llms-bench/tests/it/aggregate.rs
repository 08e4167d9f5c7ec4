//! `llms-bench aggregate`: saved runs of one thing as one answer; runs of different things do not go together.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use serde_json::Value;

use crate::common::Bench;

#[test]
fn five_runs_are_one_answer_and_their_requests_one_distribution() {
    let bench = Bench::new();
    let flags = ["--port", "0", "--seed", "1", "--time-scale", "0.05", "--output-tokens", "8"];
    let mut server = bench.start(&[&["mock", "serve"][..], &flags].concat());
    let base = server.wait_for("OPENAI_BASE_URL=").split_once('=').unwrap().1.trim().to_owned();
    let target = format!("openai:m@{base}");
    let run = |n: &str| {
        let asked =
            ["run", "--target", &target, "-n", n, "--seed", "7", "--concurrency", "4", "--warmup", "2"];
        bench.run(&asked).with(0);
    };
    (0..5).for_each(|_| run("30"));
    let saved = bench_store::RunDir::list(&bench.path().join(".llms-bench")).unwrap();
    let ids: Vec<String> =
        saved.iter().map(|r| r.path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let asked = [&["aggregate"], &ids[..], &["--include-invalid"]].concat();
    let text = bench.run(&asked).with(0).says("over 5 runs").says("TTFT");
    assert!(text.stdout.lines().all(|l| l.chars().count() <= 80), "{}", text.stdout);
    let json: Value =
        serde_json::from_str(&bench.run(&[&asked[..], &["--format", "json"]].concat()).with(0).stdout)
            .unwrap();
    let e2e = &json[0]["metrics"]["e2e"];
    assert_eq!(json[0]["runs"].as_array().unwrap().len(), 5);
    assert!(e2e["mean"]["low"]["value"].as_f64() < e2e["mean"]["high"]["value"].as_f64(), "{e2e:#}");
    assert_eq!(e2e["merged"]["failed"], 0);

    run("31");
    bench.run(&[&asked[..], &["latest"]].concat()).with(2).says("scenario");
    bench.run(&["aggregate"]).with(2);
    bench.run(&["aggregate", ids[0], "--confidence", "1"]).with(2).says("0.99");
}
