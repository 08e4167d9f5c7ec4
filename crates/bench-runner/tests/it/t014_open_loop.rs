//! T014, open loop: a slow server looks slow, arrivals wait only where the plan says, nothing is skipped.

use crate::common;

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use bench_runner::Runner;
use common::*;
use llms_core::{
    CallContext,
    bench::{Arrivals, BenchmarkRunner as _, Load, NullSink, RecordOutcome, Scenario},
    time::{Clock, Sleep, Timestamp, VirtualClock},
};

/// One server, first come first served, frozen from 5 s to 7 s: `load/coordinated-omission` of the golden
/// statistics. A client that waits for answers hides the freeze; this one must show it.
#[test]
fn a_frozen_server_shows_in_the_response_time() {
    let server = Mutex::new((None, Timestamp::ZERO));
    let model = Scripted::new("frozen", move |_, now| {
        let mut state = server.lock().unwrap();
        let origin = *state.0.get_or_insert(now);
        let (freeze, thaw) = (origin + 5 * SECOND, origin + 7 * SECOND);
        let mut begin = now.max(state.1);
        if freeze <= begin && begin < thaw {
            begin = thaw;
        }
        state.1 = begin + MS;
        after(state.1.since(now).unwrap())
    });
    let scenario = Scenario {
        load: Load::open(100.0, Arrivals::Constant),
        requests: None,
        duration: Some(20 * SECOND),
        ..scenario(&["q"], 1)
    };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    let mut times: Vec<Duration> = result.measured(0).map(response).collect();
    assert_eq!(times.len(), 2000);
    let mean = times.iter().sum::<Duration>() / 2000;
    let at = |times: &mut Vec<Duration>, p| quantile(times, p).as_micros();
    assert_eq!(
        (at(&mut times, 0.5), at(&mut times, 0.9), at(&mut times, 0.99), at(&mut times, 1.0)),
        (1_000, 201_000, 1_821_000, 2_001_000)
    );
    assert_eq!(mean, Duration::from_nanos(112_611_500));
    assert!(result.records.iter().all(|r| r.sent == Some(r.scheduled)), "no send waited for an answer");
}

#[test]
fn what_the_grace_does_not_see_end_is_censored() {
    let model = Scripted::new("m", |n, _| if n == 2 { Answer::Hang } else { after(50 * MS) });
    let scenario = Scenario {
        load: Load::open(10.0, Arrivals::Constant),
        requests: None,
        duration: Some(SECOND),
        drain: 3 * SECOND,
        ..scenario(&["q"], 1)
    };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    let window = result.manifest.window.unwrap();
    assert!(result.manifest.complete, "a censored request is no interruption");
    assert_eq!(window.drained.since(window.end), Some(3 * SECOND));
    let censored: Vec<_> = result.records.iter().filter(|r| r.outcome == RecordOutcome::Censored).collect();
    assert_eq!(censored.len(), 1);
    assert_eq!(censored[0].end, Some(window.drained), "its age at censoring is known");
    assert_eq!(result.records.len(), 10);
}

#[test]
fn a_cap_makes_arrivals_wait_in_order_and_charges_the_wait() {
    let model = Scripted::new("m", |_, _| after(250 * MS));
    let scenario = Scenario { load: Load::open(10.0, Arrivals::Constant).capped(2), ..scenario(&["q"], 20) };
    let mut records = simulate(&[target(&model)], &scenario).unwrap().records;
    assert_eq!(model.peak.load(SeqCst), 2);
    records.sort_by_key(|r| r.block);
    for (i, r) in records.iter().enumerate() {
        // Two servers of 250 ms, an arrival each 100 ms: request i begins 125 ms after its even predecessor.
        let begin = if i < 2 { r.scheduled } else { r.scheduled.max(records[i - 2].end.unwrap()) };
        assert_eq!((r.released, r.sent), (begin, Some(begin)), "request {i}");
    }
    assert!(records[19].released.since(records[19].scheduled).unwrap() > 300 * MS);
}

#[test]
fn an_overloaded_queue_is_censored_not_forgotten() {
    let model = Scripted::new("m", |_, _| after(SECOND));
    let scenario = Scenario {
        load: Load::open(100.0, Arrivals::Constant).capped(1),
        drain: 2 * SECOND,
        ..scenario(&["q"], 300)
    };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    assert_eq!(result.records.len(), 300, "every arrival of the schedule is accounted for");
    let ok = result.records.iter().filter(|r| r.is_ok()).count();
    let never_sent = result.records.iter().filter(|r| r.sent.is_none()).count();
    assert_eq!((ok, never_sent), (4, 295));
    assert!(result.records.iter().all(|r| r.is_ok() || r.outcome == RecordOutcome::Censored));
}

#[test]
fn an_hour_of_load_takes_no_time() {
    let began = Instant::now();
    let model = Scripted::new("m", |_, _| after(200 * MS));
    let scenario = Scenario {
        load: Load::poisson(10.0),
        requests: None,
        duration: Some(3600 * SECOND),
        ..scenario(&["q"], 1)
    };
    let result = simulate(&[target(&model)], &scenario).unwrap();
    // Poisson with mean 36,000: sd 190.
    assert!((35_000..37_000).contains(&result.records.len()), "{}", result.records.len());
    assert!(began.elapsed() < 60 * SECOND);
}

/// A simulated clock whose sleepers wake 3 ms late, like an overloaded client.
#[derive(Debug)]
struct Sluggish(VirtualClock);

impl Clock for Sluggish {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn wall(&self) -> time::OffsetDateTime {
        self.0.wall()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        self.0.sleep_until(deadline + 3 * MS)
    }

    fn is_real(&self) -> bool {
        false
    }
}

#[test]
fn late_sends_are_sent_late_and_counted_never_skipped() {
    let model = Scripted::new("m", |_, _| after(10 * MS));
    let scenario = Scenario { load: Load::open(500.0, Arrivals::Constant), ..scenario(&["q"], 1000) };
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(Sluggish(clock.clone())));
    let result =
        clock.block_on(Runner::new().run(&[target(&model)], &scenario, &mut NullSink, &ctx)).unwrap();
    assert_eq!(result.records.len(), 1000);
    let window = result.manifest.window.unwrap();
    let mut late = 0;
    for r in &result.records {
        assert_eq!(r.scheduled, window.start + 2 * MS * r.block as u32, "the plan does not move");
        assert_eq!(r.released, r.scheduled);
        let lag = r.sent.unwrap().since(r.released).unwrap();
        assert!(lag <= 3 * MS);
        late += u64::from(lag > MS);
    }
    assert!(late >= 500, "{late}");
    assert_eq!(result.manifest.facts["late_sends"], late.to_string());
    assert_eq!(result.manifest.facts["send_lag_max_us"], "3000");
}
