//! Conversations: what the next turn asks, and when it is due.
//!
//! The prompt of a turn holds everything said before, answers as they were really given; it is due when the last answer
//! has ended and the user has paused. Under open loop one task keeps all conversations that pause, so that their turns
//! leave as punctually as the plan's own requests; under closed loop the user itself waits.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use llms_core::{Message, bench::RunPhase, time::Timestamp};
use tokio::sync::mpsc;

use crate::{
    closed::Think,
    executor::{Ended, Executor, Job, Prepared},
    gate::Gate,
    open::{Server, serve},
    pacer::Pacer,
    phases::Stretch,
    random::{Purpose, Stream},
};

/// Turns on their way to the task that waits for them; a conversation waits beyond.
const QUEUED_TURNS: usize = 1024;

/// Where a request stands in its conversation.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Number of the conversation: that of its block in the plan.
    pub(crate) session: u64,
    /// From 0.
    pub(crate) number: u32,
    /// What was said after the prompt: answer, question, answer, …, question.
    pub(crate) said: Arc<Vec<Message>>,
}

/// How conversations of a run go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    think: Think,
    seed: u64,
    /// Most turns of any conversation of the run: turn t of session s is block `s · stride + t`.
    stride: u64,
    /// When the window begins: turns due before belong to the ramp-up.
    window: Timestamp,
    /// When it ends, if time ends it: nothing is due from then on.
    until: Option<Timestamp>,
}

impl Course {
    /// `None` when the scenario asks no conversations.
    pub(crate) fn new(executor: &Executor, window: Timestamp, until: Option<Timestamp>) -> Option<Self> {
        let scenario = &executor.scenario;
        let sessions = scenario.sessions.as_ref()?;
        let stride = scenario.prompts.iter().map(|p| sessions.turns_of(p)).max().unwrap_or(1);
        Some(Self {
            think: Think { mean: sessions.think_time, law: sessions.think_law },
            seed: scenario.seeds.arrivals.unwrap_or_default(),
            stride: u64::from(stride),
            window,
            until,
        })
    }

    /// Makes a job of the plan the first turn of its conversation.
    pub(crate) fn open(&self, job: Job) -> Job {
        let session = job.block;
        let turn = Turn { session, number: 0, said: Arc::default() };
        Job { block: session * self.stride, turn: Some(turn), ..job }
    }

    /// The turn after `job`, when the answer to it came well and there is more to say inside the window.
    pub(crate) fn next(&self, executor: &Executor, job: &Job, ended: &Ended) -> Option<Job> {
        let turn = job.turn.as_ref()?;
        let answer = ended.answer.clone().filter(|_| ended.ok)?;
        let sessions = executor.scenario.sessions.as_ref()?;
        let prompt = executor.scenario.prompts.get(job.prompt)?;
        let number = turn.number + 1;
        let question =
            prompt.turns.get(turn.number as usize).filter(|_| number < sessions.turns_of(prompt))?;
        let mut said = Vec::clone(&turn.said);
        said.extend([answer, Message::user(question)]);
        // Pauses belong to the conversation: the same on every target.
        let index = (1 << 58) | ((turn.session << 16) & ((1 << 58) - 1)) | u64::from(turn.number & 0xffff);
        let pause = self.think.pause(&mut Stream::new(self.seed, Purpose::Think, index));
        let due = ended.at + pause;
        if self.until.is_some_and(|until| due >= until) {
            return None;
        }
        Some(Job {
            block: turn.session * self.stride + u64::from(number),
            turn: Some(Turn { session: turn.session, number, said: Arc::new(said) }),
            phase: if due < self.window { RunPhase::RampUp } else { RunPhase::Measured },
            scheduled: due,
            released: due,
            ..job.clone()
        })
    }
}

/// A turn that waits for its moment. Each holds a sender of the queue it came through, so that the queue closes when
/// the last conversation is over.
pub(crate) struct Waiting {
    pub(crate) prepared: Prepared,
    pub(crate) gate: Arc<Gate>,
    pub(crate) back: mpsc::Sender<Waiting>,
}

/// Starts the task that waits for turns; returns the way to hand one to it.
pub(crate) fn keep(stretch: &Arc<Stretch>, course: Course) -> mpsc::Sender<Waiting> {
    let (sender, queue) = mpsc::channel(QUEUED_TURNS);
    stretch.tasks.spawn(wait_for_turns(stretch.clone(), course, queue));
    sender
}

async fn wait_for_turns(stretch: Arc<Stretch>, course: Course, mut queue: mpsc::Receiver<Waiting>) {
    let mut pacer = Pacer::new(stretch.executor.clock.clone());
    // By due time, then by arrival in the queue; as many as there are conversations that pause.
    let mut due: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::new();
    let mut slots: Vec<Option<Waiting>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        let next = due.peek().map(|Reverse((at, _))| *at);
        tokio::select! {
            biased;
            () = stretch.stop.cancelled() => return,
            () = pacer.wait_until(next.unwrap_or_default()), if next.is_some() => {
                let Some(Reverse((_, slot))) = due.pop() else { continue };
                free.push(slot);
                let Some(Waiting { mut prepared, gate, back }) = slots[slot].take() else { continue };
                if let Some(released) = gate.enter(&prepared.job) {
                    prepared.job.released = released;
                    let server = Server { stretch: stretch.clone(), gate, turns: Some((course, back)) };
                    stretch.tasks.spawn(serve(server, prepared));
                }
            }
            waiting = queue.recv() => {
                // Closed: nobody pauses, and every conversation is over.
                let Some(waiting) = waiting else { return };
                let slot = free.pop().unwrap_or_else(|| {
                    slots.push(None);
                    slots.len() - 1
                });
                due.push(Reverse((waiting.prepared.job.scheduled, slot)));
                slots[slot] = Some(waiting);
            }
        }
    }
}
