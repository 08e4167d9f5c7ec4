//! The truth log of the server: complete, ordered, and the same as what a client sees.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{collections::BTreeSet, thread, time::Duration};

use bench_mock::{
    Capacity, Dist, Preset, Profile, TruthLog, TruthOutcome, TruthRecord,
    server::{Protocol, Server, ServerConfig},
};
use common::{
    exact, ms,
    raw::{Client, End, chat, get},
    said::said,
};
use llms_core::time::{Clock, RealClock, Timestamp};
use serde_json::json;

fn serve(profile: Profile) -> Server {
    ServerConfig::default().map_profiles(|_| profile.clone()).start().unwrap()
}

/// What must hold of every record.
#[track_caller]
fn sane(r: &TruthRecord) {
    let start = r.service_start_ns.unwrap();
    assert!(r.arrival_ns <= start, "{r:?}");
    assert_eq!(r.writes.len(), r.targets_ns.len());
    let mut last = start;
    for (write, target) in r.writes.iter().zip(&r.targets_ns) {
        assert!(write.before >= *target, "nothing is sent before it is due: {r:?}");
        assert!(last <= write.before && write.before <= write.after, "{r:?}");
        last = write.after;
    }
    assert!(last <= r.end_ns);
}

#[test]
fn every_answer_is_in_it_once_and_in_order() {
    every_answer(1);
}

#[test]
fn every_answer_is_in_it_with_two_threads() {
    every_answer(2);
}

fn every_answer(threads: usize) {
    let profile = Preset::VeryFast.profile().with_time_scale(0.2).with_output_tokens(9);
    let config = ServerConfig { threads, ..ServerConfig::default() };
    let server = config.map_profiles(|_| profile.clone()).start().unwrap();
    let before = RealClock.now();
    let clients: Vec<_> = (0..8)
        .map(|t| {
            let addr = server.addr();
            thread::spawn(move || {
                let mut client = Client::connect(addr);
                for i in 0..12 {
                    let protocol = Protocol::ALL[i % 4];
                    let request = chat(protocol, "m", &format!("r-{t}-{i}"), i % 3 > 0, &json!({}));
                    let answer = client.call(&request).unwrap();
                    assert_eq!(said(protocol, &answer, i % 3 > 0).usage.unwrap().2, 9);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // The client may be done before the server has stamped the end: the log is read first.
    let truth = server.truth();
    let after = RealClock.now();
    assert_eq!((truth.len(), server.truth_log().total(), server.truth_log().forgotten()), (96, 96, 0));
    let ids: BTreeSet<_> = truth.iter().map(|r| r.request_id.as_str()).collect();
    assert_eq!(ids.len(), 96);
    assert_eq!(truth.iter().map(|r| r.conn).collect::<BTreeSet<_>>().len(), 8);
    for r in &truth {
        sane(r);
        assert_eq!((r.tokens(), r.status, r.outcome), (9, Some(200), TruthOutcome::Complete));
        assert!(before < r.arrival_ns && r.end_ns < after, "one clock for both sides");
    }
    assert!(threads > 1 || truth.windows(2).all(|w| w[0].end_ns <= w[1].end_ns));
    let lines = get(&server, "/mock/truth");
    let over_http: Vec<TruthRecord> =
        lines.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(over_http, truth);
}

#[test]
fn a_request_without_an_id_gets_one_that_both_sides_know() {
    let server = serve(exact().with_time_scale(0.01));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).to_string();
    let request =
        format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = Client::connect(server.addr()).call(request.as_bytes()).unwrap();
    assert_eq!(answer.headers["x-request-id"], server.truth()[0].request_id);
}

#[test]
fn instants_are_absolute_and_do_not_drift() {
    let profile = Profile { end_gap: true, ..exact().with_output_tokens(50).with_time_scale(0.1) };
    let server = serve(profile);
    let request = chat(Protocol::OpenAi, "m", "r", true, &json!({}));
    Client::connect(server.addr()).call(&request).unwrap();
    let r = &server.truth()[0];
    sane(r);
    let start = r.service_start_ns.unwrap();
    let expected: Vec<_> = (0..=50).map(|i| start + ms(10) + Duration::from_millis(i)).collect();
    assert_eq!(r.targets_ns, expected);
    assert_eq!(start, r.arrival_ns, "nobody to wait for");
}

#[test]
fn one_slot_serves_in_order_of_arrival_and_waits_add_up() {
    let profile = Profile {
        ttft_ms: Dist::Gamma { mean: 6.0, cv: 0.7 },
        gap_ms: Dist::exponential(1.0),
        output_tokens: Dist::Uniform { low: 1.0, high: 5.0 },
        capacity: Capacity { slots: Some(1), queue: 1_000 },
        end_gap: true,
        ..Profile::named("queue")
    };
    let server = ServerConfig::default().with_profile(Protocol::OpenAi, profile).start().unwrap();
    let threads: Vec<_> = (0..40)
        .map(|i| {
            let addr = server.addr();
            thread::spawn(move || {
                thread::sleep(ms(i * 7));
                let request = chat(Protocol::OpenAi, "m", &format!("{i}"), i % 2 == 0, &json!({}));
                Client::connect(addr).call(&request).unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut truth = server.truth();
    truth.sort_by_key(|r| r.arrival_ns);
    let mut free = Timestamp::ZERO;
    let mut waited = 0;
    for r in &truth {
        sane(r);
        let start = r.arrival_ns.max(free);
        waited += u32::from(start > r.arrival_ns);
        assert_eq!(r.service_start_ns, Some(start), "{r:?}");
        // The slot is free when the answer was meant to end, however late the last write was.
        free = *r.targets_ns.last().unwrap();
    }
    assert!(truth.len() == 40 && waited > 3, "{waited}");
}

#[test]
fn a_full_waiting_room_refuses() {
    let capacity = Capacity { slots: Some(1), queue: 0 };
    let server = serve(Profile { capacity, ..exact().with_output_tokens(20) });
    let mut first = Client::connect(server.addr());
    first.write(&chat(Protocol::OpenAi, "m", "first", true, &json!({})));
    assert!(first.wait_for(1));
    let second =
        Client::connect(server.addr()).call(&chat(Protocol::OpenAi, "m", "second", true, &json!({})));
    assert_eq!(second.unwrap().status, 503);
    assert_eq!(first.read(false).unwrap().end, End::Complete);
}

#[test]
fn who_leaves_frees_the_slot_and_is_logged() {
    let server = serve(exact().with_output_tokens(1_000).with_slots(1));
    let mut client = Client::connect(server.addr());
    client.write(&chat(Protocol::OpenAi, "m", "leaver", true, &json!({})));
    assert!(client.wait_for(1_000), "it is being served");
    // Another waits; a third waits and leaves.
    let mut waiting = Client::connect(server.addr());
    waiting.write(&chat(Protocol::OpenAi, "m", "patient", true, &json!({"max_tokens": 2})));
    let mut leaving = Client::connect(server.addr());
    leaving.write(&chat(Protocol::OpenAi, "m", "impatient", true, &json!({})));
    drop(leaving);
    drop(client);
    let answer = waiting.read(false).unwrap();
    assert_eq!(said(Protocol::OpenAi, &answer, true).usage.unwrap().2, 2);
    let truth = server.truth();
    let find = |id: &str| truth.iter().find(|r| r.request_id == id).unwrap();
    assert_eq!(find("leaver").outcome, TruthOutcome::Abandoned);
    assert!(find("leaver").tokens() < 1_000);
    assert_eq!(find("patient").outcome, TruthOutcome::Complete);
    // Had the slot stayed taken, 10 s of answer would have come first.
    let waited = find("patient").service_start_ns.unwrap().since(find("leaver").arrival_ns).unwrap();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn stopping_lets_answers_end_and_completes_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth.jsonl");
    let config =
        ServerConfig { truth_file: Some(path.clone()), truth_capacity: 2, ..ServerConfig::default() };
    let server = config.map_profiles(|_| exact().with_output_tokens(20)).start().unwrap();
    let addr = server.addr();
    for i in 0..3 {
        let fast = chat(
            Protocol::Ollama,
            "mock-fast",
            &format!("{i}"),
            true,
            &json!({"options": {"num_predict": 2}}),
        );
        Client::connect(addr).call(&fast).unwrap();
    }
    let mut last = Client::connect(addr);
    last.write(&chat(Protocol::OpenAi, "m", "last", true, &json!({})));
    assert!(last.wait_for(1));
    let mut idle = Client::connect(addr);
    let log: TruthLog = server.truth_log().clone();
    server.shutdown().unwrap();
    assert_eq!(said(Protocol::OpenAi, &last.read(false).unwrap(), true).usage.unwrap().2, 20);
    assert!(idle.read(false).is_err() && std::net::TcpStream::connect(addr).is_err());
    let text = std::fs::read_to_string(&path).unwrap();
    let records: Vec<TruthRecord> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let ids: Vec<_> = records.iter().map(|r| r.request_id.as_str()).collect();
    assert_eq!(ids, ["0", "1", "2", "last"]);
    assert_eq!((log.records().len(), log.forgotten(), log.unwritten()), (2, 2, 0));
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let config = ServerConfig { max_connections: 1, ..ServerConfig::default() };
    let server = config.map_profiles(|_| exact()).start().unwrap();
    let request = chat(Protocol::OpenAi, "m", "r", true, &json!({}));
    let mut first = Client::connect(server.addr());
    first.write(&request);
    assert!(first.wait_for(1));
    let mut second = Client::connect(server.addr());
    assert!(second.read(false).is_err());
    assert_eq!(first.read(false).unwrap().end, End::Complete);
}

#[test]
fn same_seed_and_ids_give_the_same_bytes() {
    let bodies = |seed: u64| {
        let server = serve(Preset::VeryFast.profile().with_seed(seed).with_output_tokens(12));
        Protocol::ALL.map(|protocol| {
            let request = chat(protocol, "m", "r-1", true, &json!({}));
            said(protocol, &Client::connect(server.addr()).call(&request).unwrap(), true).text
        })
    };
    assert_eq!(bodies(1), bodies(1));
    assert_ne!(bodies(1), bodies(2));
}
