//! What the in-process model and the server have in common: from a request and the present instant to a
//! decision (refuse, or serve this plan), a slot, and an entry in the truth log.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

use llms_core::{
    config::ConfigErrors,
    time::{SharedClock, Timestamp},
};
use rand::RngExt;

use crate::{
    ask::Ask,
    ballast::{Ballast, Gauge},
    bucket::{Cost, Levels, Limiter, Shortage},
    draw::{Identity, Purpose, key, stream},
    gate::{Entry, Gate, Permit},
    pace::Pace,
    plan::{Ending, Plan},
    prefix::{Cache, Cached},
    profile::{FaultKind, FaultRule, Prepared, Profile},
    situation::Overlays,
    truth::{Stamps, TruthLog, TruthOutcome, TruthRecord, Write},
};

/// Wait that a rate-limit refusal asks for when its rule says nothing else.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A profile that can be exchanged while models and servers use it; requests already begun keep theirs.
#[derive(Clone, Debug)]
pub struct ProfileHandle {
    live: Arc<RwLock<Arc<Prepared>>>,
}

impl ProfileHandle {
    /// A handle on this profile.
    ///
    /// # Errors
    /// Every field of the profile that is wrong.
    pub fn new(profile: Profile) -> Result<Self, ConfigErrors> {
        Ok(Self { live: Arc::new(RwLock::new(Arc::new(Prepared::new(profile)?))) })
    }

    /// A copy of the profile in force.
    pub fn get(&self) -> Profile {
        self.prepared().profile.clone()
    }

    /// Puts another profile in force.
    ///
    /// # Errors
    /// Every field that is wrong; the old profile stays in force then.
    pub fn set(&self, profile: Profile) -> Result<(), ConfigErrors> {
        let prepared = Arc::new(Prepared::new(profile)?);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = prepared;
        Ok(())
    }

    pub(crate) fn prepared(&self) -> Arc<Prepared> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What requests leave behind for the next ones.
#[derive(Debug, Default)]
struct State {
    limiter: Limiter,
    cache: Cache,
    /// When the first request came.
    epoch: Option<Timestamp>,
}

/// The state behind one profile: slots, rate limit, counters, log.
#[derive(Debug)]
pub(crate) struct Engine {
    handle: ProfileHandle,
    gate: Gate,
    state: Mutex<State>,
    overlays: Overlays,
    calls: AtomicU64,
    ballast: Gauge,
    log: TruthLog,
}

/// A refusal on arrival.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub kind: FaultKind,
    pub retry_after: Option<Duration>,
    /// The rate limit that refuses, where one does.
    pub short: Option<Shortage>,
    /// When it is to be sent.
    pub at: Timestamp,
}

/// What becomes of a request.
pub(crate) enum Decision {
    Refuse(Refusal),
    Serve(Box<Plan>, Entry),
}

/// A request taken in.
pub(crate) struct Admission {
    pub decision: Decision,
    pub profile: Arc<Prepared>,
    pub key: u64,
    /// How the rate limits stand, this request included; `None`: there are none.
    pub limits: Option<Levels>,
    pub ticket: Ticket,
}

impl Engine {
    pub(crate) fn new(handle: ProfileHandle, log: TruthLog) -> Self {
        let gate = Gate::new(handle.prepared().profile.capacity);
        Self {
            handle,
            gate,
            state: Mutex::default(),
            overlays: Overlays::default(),
            calls: AtomicU64::new(0),
            ballast: Gauge::default(),
            log,
        }
    }

    pub(crate) fn handle(&self) -> &ProfileHandle {
        &self.handle
    }

    pub(crate) fn log(&self) -> &TruthLog {
        &self.log
    }

    /// Requests so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// As if no request had come yet: counts from 1, buckets full, cache of prefixes empty. Requests being served
    /// stay.
    pub(crate) fn reset(&self) {
        self.calls.store(0, Relaxed);
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pace of a plan whose service starts now.
    pub(crate) fn pace(&self, profile: &Profile, plan: &Plan) -> Pace {
        Pace::new(profile, &self.gate, plan)
    }

    /// Requests that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Bytes that the memory simulation holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.ballast.held()
    }

    /// Takes a request in that arrived now, at `arrival`. `id` is its `x-request-id`.
    pub(crate) fn admit(
        &self,
        ask: &Ask,
        id: Option<&str>,
        conn: u64,
        arrival: Timestamp,
        clock: &SharedClock,
    ) -> Admission {
        let prepared = self.overlays.over(ask.situation, self.handle.prepared());
        let profile = &prepared.profile;
        let number = self.calls.fetch_add(1, Relaxed) + 1;
        let identity = id.map_or(Identity::Number(number), Identity::Id);
        let key = key(profile.seed, &profile.name, identity);
        let draw: f64 = stream(key, Purpose::Fault).random();
        self.gate.resize(profile.capacity, arrival);
        let mut state = self.lock();
        let elapsed = arrival.saturating_since(*state.epoch.get_or_insert(arrival)).as_secs_f64();
        let fault = FaultRule::strike(&profile.faults, number, elapsed, draw);
        if profile.prefix_cache.is_none() {
            state.cache.clear();
        }
        let cached = profile
            .prefix_cache
            .map_or(Cached::default(), |rules| state.cache.find(&rules, &ask.prefix, arrival));
        let limited = profile.rate_limit.as_ref().and_then(|limit| {
            let read = profile.cached_tokens(ask.input_tokens, cached.read);
            state.limiter.take(limit, cost(ask, profile, read), arrival).err()
        });
        let mut limits = profile.rate_limit.as_ref().map(|limit| state.limiter.levels(limit, arrival));
        drop(state);
        let refusal_at = arrival + Duration::from_secs_f64(profile.refusal_ms * profile.time_scale / 1e3);
        let refuse = |kind, retry_after| Refusal { kind, retry_after, short: None, at: refusal_at };
        let decision = match (limited, fault) {
            (Some(short), _) => {
                let refusal = refuse(FaultKind::RateLimit, Some(short.wait));
                Decision::Refuse(Refusal { short: Some(short), ..refusal })
            }
            (None, Some(rule)) if rule.kind.is_refusal() => {
                let given = rule.retry_after_s.map(Duration::from_secs_f64);
                let usual = (rule.kind == FaultKind::RateLimit).then_some(RETRY_AFTER);
                Decision::Refuse(refuse(rule.kind, given.or(usual)))
            }
            (None, rule) => match self.gate.enter(arrival, clock) {
                Ok(entry) => {
                    let plan = Plan::draw(ask, &prepared, cached, key, number, elapsed / 3600.0, rule);
                    if let Some(rules) = &profile.prefix_cache {
                        self.lock().cache.remember(rules, &ask.prefix, arrival);
                    }
                    if let Some(limit) = &profile.rate_limit {
                        let limiter = &mut self.lock().limiter;
                        limiter.spend(limit, plan.output_tokens, arrival);
                        limits = Some(limiter.levels(limit, arrival));
                    }
                    Decision::Serve(Box::new(plan), entry)
                }
                Err(_full) => Decision::Refuse(refuse(FaultKind::Overloaded, None)),
            },
        };
        let record = TruthRecord {
            request_id: id.map_or_else(|| format!("req_{key:016x}"), str::to_owned),
            profile: profile.name.clone(),
            conn,
            stamps: Stamps::default(),
            arrival_ns: arrival,
            service_start_ns: None,
            writes: Vec::new(),
            targets_ns: Vec::new(),
            end_ns: arrival,
            status: None,
            outcome: TruthOutcome::Abandoned,
            fault: match &decision {
                Decision::Refuse(refusal) => Some(refusal.kind),
                Decision::Serve(..) => fault.map(|rule| rule.kind),
            },
        };
        self.log.begin();
        let ticket = Ticket {
            record: Some(record),
            log: self.log.clone(),
            clock: clock.clone(),
            permit: None,
            ballast: None,
            gauge: self.ballast.clone(),
        };
        Admission { decision, profile: prepared, key, limits, ticket }
    }
}

impl Engine {
    /// Takes in a request that is refused before anything is drawn: a wrong key, a body that makes no sense, an
    /// unknown model. It counts as none.
    pub(crate) fn refused(
        &self,
        request_id: String,
        conn: u64,
        arrival: Timestamp,
        clock: &SharedClock,
    ) -> Ticket {
        self.log.begin();
        let record = TruthRecord {
            request_id,
            profile: self.handle.prepared().profile.name.clone(),
            conn,
            stamps: Stamps::default(),
            arrival_ns: arrival,
            service_start_ns: None,
            writes: Vec::new(),
            targets_ns: Vec::new(),
            end_ns: arrival,
            status: None,
            outcome: TruthOutcome::Abandoned,
            fault: None,
        };
        Ticket {
            record: Some(record),
            log: self.log.clone(),
            clock: clock.clone(),
            permit: None,
            ballast: None,
            gauge: self.ballast.clone(),
        }
    }
}

/// What a request takes out of the buckets: the output that it reserves, as far as it says.
fn cost(ask: &Ask, profile: &Profile, cached: u32) -> Cost {
    let reserved = ask.max_tokens.map_or_else(|| profile.true_output_tokens_mean() as u64, u64::from);
    let input = u64::from(ask.input_tokens);
    Cost { tokens: input + reserved, input: input - u64::from(cached) }
}

/// The entry of one request in the truth log, and its slot; dropped early, the request was abandoned.
pub(crate) struct Ticket {
    record: Option<TruthRecord>,
    log: TruthLog,
    clock: SharedClock,
    permit: Option<Permit>,
    ballast: Option<Ballast>,
    gauge: Gauge,
}

impl Ticket {
    pub(crate) fn request_id(&self) -> &str {
        self.record.as_ref().map_or("", |r| &r.request_id)
    }

    /// Service begins.
    pub(crate) fn begin(
        &mut self,
        permit: Permit,
        start: Timestamp,
        profile: &Profile,
        ask: &Ask,
        steps: usize,
    ) {
        self.permit = Some(permit);
        self.ballast = Some(self.gauge.load(&profile.memory, ask.stream));
        if let Some(record) = &mut self.record {
            record.service_start_ns = Some(start);
            record.writes.reserve_exact(steps + 2);
            record.targets_ns.reserve_exact(steps + 2);
        }
    }

    /// The stamps to come are of this kind.
    pub(crate) fn stamped(&mut self, stamps: Stamps) {
        if let Some(record) = &mut self.record {
            record.stamps = stamps;
        }
    }

    /// The status line was sent.
    pub(crate) fn status(&mut self, status: u16) {
        if let Some(record) = &mut self.record {
            record.status = Some(status);
        }
    }

    /// Something was sent that was due at `target`.
    pub(crate) fn wrote(&mut self, target: Timestamp, write: Write) {
        if let Some(record) = &mut self.record {
            record.targets_ns.push(target);
            record.writes.push(write);
        }
    }

    /// The answer is over; the slot is free as of `free_at`.
    pub(crate) fn end(mut self, outcome: TruthOutcome, free_at: Timestamp) {
        self.ballast = None;
        if let Some(permit) = self.permit.take() {
            permit.free(free_at);
        }
        self.log(outcome, self.clock.now());
    }

    /// The outcome of a plan sent to its end.
    pub(crate) fn outcome(ending: Ending) -> TruthOutcome {
        match ending {
            Ending::Complete => TruthOutcome::Complete,
            Ending::Broken(_) => TruthOutcome::Broken,
        }
    }

    fn log(&mut self, outcome: TruthOutcome, end: Timestamp) {
        if let Some(mut record) = self.record.take() {
            (record.outcome, record.end_ns) = (outcome, end);
            self.log.end(record);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.record.is_some() {
            let now = self.clock.now();
            if let Some(permit) = self.permit.take() {
                permit.free(now);
            }
            self.log(TruthOutcome::Abandoned, now);
        }
    }
}
