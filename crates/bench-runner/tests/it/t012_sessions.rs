//! T012, conversations: each turn holds the real answers before it and is due when the user has paused.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use bench_runner::load_prompts;
use common::*;
use llms_core::{
    ErrorCode,
    bench::{
        Arrivals, Load, Order, Prompt, RequestRecord, RunPhase, RunResult, Scenario, Sessions, ThinkLaw,
    },
};

fn talk(load: Load, think: Duration) -> Scenario {
    let two = Prompt { turns: vec!["a2".to_owned()], ..Prompt::new("a", "a1") };
    let three = Prompt { turns: vec!["b2".to_owned(), "b3".to_owned()], ..Prompt::new("b", "b1") };
    Scenario {
        prompts: vec![two, three, Prompt::new("c", "c1")],
        sessions: Some(Sessions { think_time: think, ..Sessions::default() }),
        load,
        ..scenario(&["x"], 6)
    }
}

/// The turns of each conversation on a target, in order.
fn conversations(result: &RunResult, target: u32) -> BTreeMap<u64, Vec<RequestRecord>> {
    let mut all: BTreeMap<u64, Vec<RequestRecord>> = BTreeMap::new();
    for r in result.records.iter().filter(|r| r.target == target) {
        all.entry(r.session.unwrap()).or_default().push(r.clone());
    }
    for turns in all.values_mut() {
        turns.sort_by_key(|r| r.turn);
    }
    all
}

#[track_caller]
fn check_course(result: &RunResult, target: u32, pause: Duration, lengths: &BTreeMap<&str, usize>) {
    for (session, turns) in conversations(result, target) {
        assert_eq!(turns.len(), lengths[&*turns[0].prompt], "conversation {session}");
        for (i, r) in turns.iter().enumerate() {
            assert_eq!((r.turn, &r.prompt), (Some(i as u32), &turns[0].prompt));
            if i > 0 {
                assert_eq!(r.scheduled.since(turns[i - 1].end.unwrap()), Some(pause));
                assert_eq!(r.sent, Some(r.scheduled));
            }
        }
    }
}

#[test]
fn open_loop_arrivals_are_conversations_whose_turns_follow_their_answers() {
    let model = Scripted::new("m", |_, _| after(300 * MS));
    let load = Load::open(2.0, Arrivals::Constant);
    let result = simulate(&[target(&model)], &talk(load, 2 * SECOND)).unwrap();
    let lengths = BTreeMap::from([("a", 2), ("b", 3), ("c", 1)]);
    assert!(result.manifest.complete);
    assert_eq!(result.records.len(), 12, "six conversations, two of each");
    check_course(&result, 0, 2 * SECOND, &lengths);
    let start = result.manifest.window.unwrap().start;
    for (session, turns) in conversations(&result, 0) {
        assert_eq!(turns[0].scheduled, start + 500 * MS * session as u32, "arrivals wait for nobody");
    }
    let ids: BTreeSet<_> = result.records.iter().map(|r| r.request_id.clone()).collect();
    let blocks: BTreeSet<_> = result.records.iter().map(|r| r.block).collect();
    assert_eq!((ids.len(), blocks.len()), (12, 12));
    let window = result.manifest.window.unwrap();
    assert!(result.records.iter().all(|r| r.end.unwrap() <= window.end), "no time ended it: all is inside");
    assert!(result.manifest.facts["sessions"].contains("closed loop by nature"));
}

#[test]
fn a_turn_holds_the_answers_really_given() {
    let model = Scripted::new("m", |n, _| Answer::Tokens { first: MS, gap: MS, n: n as u32 + 1 });
    let base = talk(Load::closed(1), Duration::ZERO);
    let one = Scenario { prompts: vec![base.prompts[1].clone()], requests: Some(1), ..base };
    simulate(&[target(&model)], &Scenario { system: Some("s".to_owned()), ..one }).unwrap();
    let seen = model.seen();
    let expected =
        [vec!["s", "b1"], vec!["s", "b1", "tok ", "b2"], vec!["s", "b1", "tok ", "b2", "tok tok ", "b3"]];
    let found: Vec<Vec<&str>> =
        seen.iter().map(|s| s.messages.iter().map(String::as_str).collect()).collect();
    assert_eq!(found, expected);
}

#[test]
fn whole_answers_go_into_the_next_turn_as_well() {
    let model = Scripted::new("m", |_, _| Answer::Tokens { first: MS, gap: MS, n: 2 });
    let base = talk(Load::closed(1), Duration::ZERO);
    let one =
        Scenario { prompts: vec![base.prompts[0].clone()], requests: Some(1), streaming: false, ..base };
    simulate(&[target(&model)], &one).unwrap();
    assert_eq!(model.seen()[1].messages, ["a1", "tok tok ", "a2"]);
}

#[test]
fn users_of_a_closed_loop_hold_one_conversation_after_another() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let load = Load::closed(2).thinking(SECOND, ThinkLaw::Constant);
    let scenario = Scenario { requests: Some(6), ..talk(load, 300 * MS) };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    assert!(result.manifest.complete);
    check_course(&result, 0, 300 * MS, &BTreeMap::from([("a", 2), ("b", 3), ("c", 1)]));
    assert_eq!(result.records.len(), 12);
    assert_eq!(model.peak.load(std::sync::atomic::Ordering::SeqCst), 2);
    // Between the conversations of a user lies the pause of the load, not that of the turns.
    let mut firsts: Vec<_> = conversations(&result, 0).into_values().collect();
    firsts.sort_by_key(|turns| turns[0].scheduled);
    for turns in &firsts[2..] {
        let ready = turns[0].scheduled;
        let ends: Vec<_> = firsts.iter().map(|t| t.last().unwrap().end.unwrap()).collect();
        assert!(
            ends.iter().any(|end| ready.since(*end) == Some(SECOND)),
            "{ready:?} follows no conversation"
        );
    }
}

#[test]
fn a_failed_turn_ends_its_conversation_and_no_other() {
    let model = Scripted::new("m", |n, _| {
        if n == 1 { Answer::Fail(10 * MS, ErrorCode::Overloaded) } else { after(100 * MS) }
    });
    let base = talk(Load::open(0.5, Arrivals::Constant), 10 * MS);
    let scenario = Scenario { prompts: vec![base.prompts[1].clone()], requests: Some(3), ..base };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    let turns: Vec<usize> = conversations(&result, 0).values().map(Vec::len).collect();
    assert_eq!(turns, [2, 3, 3], "nobody goes on without an answer");
}

#[test]
fn the_end_of_a_timed_window_cuts_conversations() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let base = talk(Load::open(1.0, Arrivals::Constant), 1500 * MS);
    let scenario = Scenario {
        prompts: vec![base.prompts[1].clone()],
        requests: None,
        duration: Some(4 * SECOND),
        ..base
    };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    let window = result.manifest.window.unwrap();
    assert_eq!(window.end.since(window.start), Some(4 * SECOND));
    assert!(result.records.iter().all(|r| r.scheduled < window.end));
    // Turns at 0, 1.6 and 3.2 s; 1, 2.6; 2, 3.6; 3.
    let turns: Vec<usize> = conversations(&result, 0).values().map(Vec::len).collect();
    assert_eq!(turns, [3, 2, 2, 1]);
    let ramped = Scenario { load: scenario.load.clone().ramped(2 * SECOND), ..scenario };
    let result = simulate(&[target(&model)], &ramped).unwrap();
    let window = result.manifest.window.unwrap();
    for r in &result.records {
        let expected = if r.scheduled < window.start { RunPhase::RampUp } else { RunPhase::Measured };
        assert_eq!(r.phase, expected, "a turn counts where it is due, wherever its conversation began");
    }
    let over = conversations(&result, 0).into_values().filter(|t| t[0].phase == RunPhase::RampUp);
    assert!(over.flatten().any(|r| r.phase == RunPhase::Measured));
}

#[test]
fn a_cap_holds_for_turns_as_for_arrivals() {
    let model = Scripted::new("m", |_, _| after(SECOND));
    let load = Load::open(5.0, Arrivals::Constant).capped(2);
    let base = talk(load, 100 * MS);
    let scenario = Scenario { prompts: vec![base.prompts[1].clone()], requests: Some(5), ..base };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    assert_eq!(model.peak.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(result.records.len(), 15);
    assert!(result.records.iter().any(|r| r.turn == Some(1) && r.released > r.scheduled), "turns wait, too");
    for r in &result.records {
        assert_eq!(r.sent, Some(r.released));
    }
    assert!(result.manifest.complete);
}

/// The same conversations, at the same pauses, on every target; turns pair by their block.
#[test]
fn targets_hold_the_same_conversations() {
    let models: Vec<_> =
        (1..=2).map(|i| Scripted::new(&format!("m{i}"), move |_, _| after(MS * 50 * i))).collect();
    for order in [Order::Interleaved, Order::Sequential] {
        for load in [Load::open(1.0, Arrivals::Poisson), Load::closed(2)] {
            let base = talk(load, SECOND);
            let sessions =
                Sessions { think_time: SECOND, think_law: ThinkLaw::Exponential, max_turns: Some(2) };
            let scenario = Scenario { order, sessions: Some(sessions), ..base };
            let result = simulate(&[target(&models[0]), target(&models[1])], &scenario).unwrap();
            let pauses = |target| -> BTreeMap<u64, Duration> {
                conversations(&result, target)
                    .into_iter()
                    .filter(|(_, turns)| turns.len() == 2)
                    .map(|(s, turns)| (s, turns[1].scheduled.since(turns[0].end.unwrap()).unwrap()))
                    .collect()
            };
            assert_eq!(pauses(0).len(), 4, "at most two turns of each");
            assert_eq!(pauses(0), pauses(1));
            let blocks = |target: u32| -> BTreeSet<(u64, u32)> {
                let of = result.records.iter().filter(|r| r.target == target);
                of.map(|r| (r.block, r.turn.unwrap())).collect()
            };
            assert_eq!(blocks(0), blocks(1));
        }
    }
}

#[test]
fn a_nonce_stays_the_same_through_a_conversation() {
    let model = Scripted::new("m", |_, _| after(MS));
    let base = talk(Load::closed(1), Duration::ZERO);
    let scenario =
        Scenario { prompts: vec![base.prompts[1].clone()], requests: Some(2), cache_bust: true, ..base };
    simulate(&[target(&model)], &scenario).unwrap();
    let first: Vec<String> = model.seen().iter().map(|s| s.messages[0].clone()).collect();
    assert!(first[0].starts_with('[') && first[0].ends_with("b1"));
    assert!(first[..3].iter().all(|f| *f == first[0]) && first[3..].iter().all(|f| *f == first[3]));
    assert_ne!(first[0], first[3]);
}

#[test]
fn an_interruption_ends_conversations_at_once() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let scenario = talk(Load::open(1.0, Arrivals::Constant), 1000 * SECOND);
    let stopped = simulate_with(
        &bench_runner::Runner::new(),
        &[target(&model)],
        &scenario,
        &mut Notes::default(),
        |ctx| {
            cancel_at(ctx, 10 * SECOND);
        },
    )
    .unwrap();
    assert!(stopped.manifest.interrupted);
    assert_eq!(stopped.records.len(), 6, "first turns only; the pauses are not waited for");
}

#[test]
fn conversations_come_from_the_data_sets_people_have() {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"));
    let mt = load_prompts(&data.join("mt_bench.jsonl")).unwrap();
    assert!(mt.len() == 6 && mt.iter().all(|p| p.turns.len() == 1));
    let share = load_prompts(&data.join("sharegpt.json")).unwrap();
    let turns: Vec<_> = share.iter().map(|p| (p.id.as_str(), p.turns.len())).collect();
    assert_eq!(
        turns,
        [("identity_0", 1), ("identity_1", 0), ("identity_2", 2), ("identity_3", 1), ("identity_4", 0)]
    );
    assert_eq!(
        (share[0].messages[0].text(), share[0].turns[0].as_str()),
        ("Who are you?".to_owned(), "Have a nice day!")
    );
}

#[test]
fn what_is_no_conversation_is_refused() {
    let refuses = |s: Scenario, expected: &str| {
        let e = s.validate().unwrap_err().to_string();
        assert!(e.contains(expected), "{e}");
    };
    let base = talk(Load::closed(1), Duration::ZERO);
    refuses(
        Scenario { prompts: vec![Prompt::new("x", "y")], ..base.clone() },
        "sessions: expected a prompt with turns, found none",
    );
    let sessions = Some(Sessions { max_turns: Some(0), ..Sessions::default() });
    refuses(Scenario { sessions, ..base }, "sessions.max_turns: expected at least 1");
}
