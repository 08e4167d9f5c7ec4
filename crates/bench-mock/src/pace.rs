//! How a plan is stretched by the others in the batch: the formula of [`Batching`](crate::Batching).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{gate::Gate, plan::Plan, profile::Profile};

/// From the offsets of a plan to those that the batch permits; asked in the order of the offsets, each at the
/// instant the one before was reached.
#[derive(Debug)]
pub(crate) struct Pace {
    batch: Option<Batch>,
    /// Until when the prefill lasts, by plan, in ns.
    prefill_ns: u64,
    planned: u64,
    real: u64,
}

#[derive(Debug)]
struct Batch {
    gate: Gate,
    /// Growth of a gap for each other request.
    growth: f64,
    prefill: f64,
}

impl Pace {
    /// The pace of a plan whose service starts now.
    pub(crate) fn new(profile: &Profile, gate: &Gate, plan: &Plan) -> Self {
        let batch = profile.batching.map(|_| Batch {
            gate: gate.clone(),
            growth: profile.gap_growth(),
            prefill: 1.0 + profile.prefill_growth() * f64::from(gate.busy().saturating_sub(1)),
        });
        Self { batch, prefill_ns: plan.prefill_ns, planned: 0, real: 0 }
    }

    /// Whether the plan is kept as it is.
    pub(crate) fn is_free(&self) -> bool {
        self.batch.is_none()
    }

    /// When what is planned at this offset comes, in ns from the start of service.
    pub(crate) fn real(&mut self, planned: u64) -> u64 {
        let Some(batch) = &self.batch else { return planned };
        let planned = planned.max(self.planned);
        let prefill = planned.min(self.prefill_ns).saturating_sub(self.planned);
        let decode = planned - self.planned - prefill;
        let others = f64::from(batch.gate.busy().saturating_sub(1));
        let stretched = prefill as f64 * batch.prefill + decode as f64 * (1.0 + batch.growth * others);
        self.planned = planned;
        self.real += stretched.round() as u64;
        self.real
    }
}

/// When head, first chunk and end of an answer really came, for what a server reports about itself; by plan until
/// then.
#[derive(Debug)]
pub(crate) struct Times {
    head: AtomicU64,
    first: AtomicU64,
    end: AtomicU64,
}

impl Times {
    pub(crate) fn of(plan: &Plan) -> Self {
        let first = plan.steps.first().map_or(plan.end_at, |s| s.at);
        Self { head: plan.head_at.into(), first: first.into(), end: plan.end_at.into() }
    }

    pub(crate) fn set_head(&self, ns: u64) {
        self.head.store(ns, Relaxed);
    }

    pub(crate) fn set_first(&self, ns: u64) {
        self.first.store(ns, Relaxed);
    }

    pub(crate) fn set_end(&self, ns: u64) {
        self.end.store(ns, Relaxed);
    }

    /// From the start of service to the head, in ns.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Relaxed)
    }

    /// To the first chunk.
    pub(crate) fn first(&self) -> u64 {
        self.first.load(Relaxed)
    }

    /// To the end.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }
}
