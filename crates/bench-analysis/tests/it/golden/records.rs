//! Golden cases on records: streams of one request, a window of many, token classes and their cost.

use std::time::Duration;

use bench_analysis::cost::{Price, TokenClasses, bill};
use bench_analysis::estimate::Setting;
use bench_analysis::population::Population;
use bench_analysis::request::Request;
use bench_analysis::stats::quantile::{QuantileType, Sample};
use bench_analysis::throughput::{meets, throughput};
use llms_core::Usage;
use llms_core::bench::{ChunkStamp, Load, Origin, RecordOutcome, Scenario, Slo, Window};
use llms_core::error::{Error, ErrorCode};
use llms_core::event::Stamp;
use llms_core::time::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};

use super::Case;
use crate::support as synthetic;

fn micros(us: u64) -> Timestamp {
    Timestamp::from_nanos(us * 1000)
}

/// Microseconds, as the case counts them: whole where the definition is whole.
fn us(seconds: Option<f64>) -> Value {
    seconds.map_or(Value::Null, |s| json!(s * 1e6))
}

fn whole(seconds: Option<f64>) -> Value {
    seconds.map_or(Value::Null, |s| json!((s * 1e6).round() as i64))
}

pub(crate) fn stream(case: &Case<'_>) -> Value {
    let input = case.input;
    let at = |key: &str| micros(input[key].as_u64().unwrap());
    let mut record = synthetic::record("r", 0, 0, at("t_schedule_us"));
    record.sent = Some(at("t_send_us"));
    record.chunks.clear();
    record.first_answer = None;
    for (read, event) in input["events"].as_array().unwrap().iter().enumerate() {
        let (t, kind, tokens) =
            (event[0].as_u64().unwrap(), event[1].as_str().unwrap(), event[2].as_u64().unwrap());
        let stamp = Stamp::user(micros(t), read as u32);
        match kind {
            "headers" => record.headers = Some(stamp),
            "content" | "reasoning" | "tool" if 0 < tokens => {
                if kind != "reasoning" && record.first_answer.is_none() {
                    record.first_answer = Some(record.chunks.len() as u32);
                }
                record.chunks.push(ChunkStamp { stamp, tokens: Some(tokens as u32) });
            }
            "error" => {
                let error = Error::new("chat.stream", ErrorCode::Stream, "stream error");
                record.outcome = RecordOutcome::Failed((&error).into());
            }
            _ => {}
        }
        record.end = Some(micros(t));
    }
    let usage = input["usage_completion_tokens"].as_u64();
    record.tokens.usage = usage.map(|n| Usage { output_tokens: Some(n), ..Usage::default() });
    let r = Request::new(&record, true);
    let service = Origin::Service;
    let stalls = r.stalls(case.number("stall_threshold_us") / 1e6);
    let deadline = |key: &str| case.number(key) / 1e6;
    let fluidity = r.fluidity(service, deadline("deadline_ttft_us"), deadline("deadline_tbt_us"));
    let itl = r.itl().map(|list| {
        list.into_iter().flat_map(|(gap, k)| std::iter::repeat_n(gap, k as usize)).collect::<Vec<f64>>()
    });
    let gaps: Vec<Value> = r.gaps().map(|g| whole(Some(g.seconds))).collect();
    let icl_sum: f64 = r.icl().sum();
    if let (Some(e2e), Some(ttft)) = (r.e2e(service), r.ttft(service)) {
        assert!((icl_sum - (e2e - ttft)).abs() < 1e-9, "{}: gaps sum to e2e − ttft", case.name);
    }
    json!({
        "queue_us": whole(r.send_lag().map(|lag| lag + r.cap_wait())),
        "n_out": r.output_tokens().unwrap_or(0), "chunks": record.chunks.len(),
        "ttft_us": whole(r.ttft(service)), "ttft_from_schedule_us": whole(r.ttft(Origin::Response)),
        "ttfat_us": whole(r.ttfat(service)), "ttst_us": whole(r.ttst()),
        "e2e_us": whole(r.e2e(service)), "e2e_from_schedule_us": whole(r.e2e(Origin::Response)),
        "stream_close_us": whole(r.e2e(service).zip(r.stream_close()).map(|(e, c)| e + c)),
        "tpot_us": us(r.tpot()), "tpot_first_chunk_adjusted_us": us(r.tpot_adj()),
        "chunk_gaps_us": gaps,
        "itl_amortised_mean_us": us(itl.as_ref().map(|l| l.iter().sum::<f64>() / l.len() as f64)),
        "itl_amortised_p99_us":
            us(itl.map(|l| Sample::new(l).unwrap().quantile(0.99, QuantileType::Type1).unwrap())),
        "max_gap_us": whole(r.max_gap()), "stalls": stalls.count, "stall_excess_us": whole(Some(stalls.excess)),
        "normalized_latency_us": us(r.e2e(service).zip(r.output_tokens()).map(|(e, n)| e / n as f64)),
        "fluidity_index": fluidity.map(bench_analysis::request::Fluidity::index),
        "deadlines_missed": fluidity.map(|f| f.missed), "deadlines_total": fluidity.map(|f| f.total),
    })
}

pub(crate) fn window(case: &Case<'_>) -> Value {
    let ms = |v: &Value| micros(v.as_u64().unwrap() * 1000);
    let rows = case.input["requests"].as_array().unwrap();
    let records: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let n = |k: usize| row[k].as_u64().unwrap();
            let mut r = synthetic::record(&format!("r{i}"), 0, i as u64, ms(&row[0]));
            let sent = ms(&row[1]);
            r.sent = Some(sent);
            r.end = Some(sent);
            if row[5].as_bool().unwrap() {
                let token = |j: u64| sent + Duration::from_millis(n(2) + j * n(4));
                r.chunks = (0..n(3))
                    .map(|j| ChunkStamp { stamp: Stamp::user(token(j), j as u32), tokens: Some(1) })
                    .collect();
                r.first_answer = Some(0);
                r.end = Some(token(n(3) - 1));
            } else {
                r.chunks.clear();
                r.outcome = RecordOutcome::Failed((&Error::new("chat", ErrorCode::Internal, "no")).into());
            }
            r.tokens.usage = Some(Usage { output_tokens: Some(n(3)), ..Usage::default() });
            r
        })
        .collect();
    let bounds = case.input["window_ms"].as_array().unwrap();
    let window = Window { start: ms(&bounds[0]), end: ms(&bounds[1]), drained: ms(&bounds[1]) };
    let in_window =
        |r: &llms_core::bench::RequestRecord| window.start <= r.scheduled && r.scheduled < window.end;
    let slo: Vec<Slo> = vec!["ttft:300.001".parse().unwrap(), "tpot:25.001".parse().unwrap()];
    let scenario = Scenario { slo: slo.clone(), load: Load::poisson(1.0), ..Scenario::default() };
    let setting = Setting { confidence: 0.95, limit: 60.0, seed: 1 };
    let population = |keep: &dyn Fn(&llms_core::bench::RequestRecord) -> bool| {
        let mut population = Population::new(&scenario, false, Some(window), None);
        records.iter().filter(|r| keep(r)).for_each(|r| population.add(r));
        population.in_order();
        population
    };
    let (everybody, scheduled) = (population(&|_| true), population(&in_window));
    let rates = throughput(&everybody, &scenario, &setting);
    let good = throughput(&scheduled, &scenario, &setting);
    let value = |m: &llms_core::bench::Measured<llms_core::bench::Estimate>| m.value().unwrap().value.value;
    let tokens: u64 = records.iter().map(|r| r.chunks.len() as u64).sum();
    let last = everybody.ok().filter_map(|r| r.last_content()).max().unwrap();
    let first = records.iter().filter_map(|r| r.sent).min().unwrap();
    let is_good = |r: &&llms_core::bench::RequestRecord| {
        in_window(r) && meets(&Request::new(r, true), Origin::Response, &slo)
    };
    let in_time = records.iter().filter(is_good).count();
    json!({
        "output_tok_s": value(&rates.output_tokens), "completions_per_s": value(&rates.requests),
        "mean_concurrency": rates.mean_in_flight.value(), "offered_per_s": rates.offered.value(),
        "goodput_count": in_time,
        "goodput_fraction": value(&good.slo_attainment),
        "whole_run_tok_s": tokens as f64 / last.since(first).unwrap().as_secs_f64(),
    })
}

/// The vendor's usage object, as its codec normalises it (classes contained in totals), then split and priced here.
pub(crate) fn usage(case: &Case<'_>) -> Value {
    let u = &case.input["usage"];
    let n = |path: &str| u.pointer(path).and_then(Value::as_u64);
    let usage = match case.name {
        name if name.contains("openai") => Usage {
            input_tokens: n("/prompt_tokens"),
            output_tokens: n("/completion_tokens"),
            cache_read_tokens: n("/prompt_tokens_details/cached_tokens"),
            reasoning_tokens: n("/completion_tokens_details/reasoning_tokens"),
            ..Usage::default()
        },
        name if name.contains("gemini") => Usage {
            input_tokens: n("/promptTokenCount"),
            output_tokens: n("/candidatesTokenCount").zip(n("/thoughtsTokenCount")).map(|(a, b)| a + b),
            cache_read_tokens: n("/cachedContentTokenCount"),
            reasoning_tokens: n("/thoughtsTokenCount"),
            ..Usage::default()
        },
        // Anthropic and Bedrock Converse report disjoint classes
        _ => {
            let pick = |a: &str, b: &str| n(a).or(n(b));
            let read = pick("/cache_read_input_tokens", "/cacheReadInputTokens");
            let write = pick("/cache_creation_input_tokens", "/cacheWriteInputTokens");
            let fresh = pick("/input_tokens", "/inputTokens").unwrap();
            Usage {
                input_tokens: Some(fresh + read.unwrap_or(0) + write.unwrap_or(0)),
                output_tokens: pick("/output_tokens", "/outputTokens"),
                cache_read_tokens: read,
                cache_write_tokens: write,
                ..Usage::default()
            }
        }
    };
    let dollars = |key: &str| case.input["price_per_million"][key].to_string().parse::<Decimal>().unwrap();
    let price = Price {
        cache_read: Some(dollars("cache_read")),
        cache_write: Some(dollars("cache_write")),
        ..Price::plain("x", "y", dollars("input"), dollars("output"))
    };
    let classes = TokenClasses::of(&usage).unwrap();
    let bill = bill(&classes, &price).unwrap();
    json!({
        "input_uncached": classes.input_uncached, "cache_read": classes.cache_read,
        "cache_write": classes.cache_write, "output_total": classes.output, "reasoning": classes.reasoning,
        "answer": classes.answer(), "total_input": classes.input(), "cost_usd": bill.usd.to_f64(),
        "cache_hit_share": classes.cache_hit_share(), "no_cache_cost_usd": bill.usd_without_cache.to_f64(),
    })
}
