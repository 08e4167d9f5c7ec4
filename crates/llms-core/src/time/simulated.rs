//! A clock that moves only when nothing else can happen.
//!
//! `std` only: a map of deadlines, one timer woken at a time, so that a trace is the same on every run.
//! [`VirtualClock::block_on`] drives a current-thread runtime without time and I/O whose park hook advances
//! the clock; an hour of simulated load takes well under a second.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use time::OffsetDateTime;

use super::{Clock, Sleep, Timestamp};

#[derive(Debug, Default)]
struct State {
    now: Timestamp,
    next_id: u64,
    /// Ordered by deadline, then by registration: simultaneous timers fire in the order they were set.
    timers: BTreeMap<(Timestamp, u64), Waker>,
}

/// Simulated time, shared by cloning.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    state: Arc<Mutex<State>>,
}

impl VirtualClock {
    /// A clock at [`Timestamp::ZERO`].
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves to the earliest deadline and wakes that one timer. `false` when no timer is pending.
    pub fn advance(&self) -> bool {
        let mut state = self.lock();
        let Some(((deadline, _), waker)) = state.timers.pop_first() else { return false };
        state.now = state.now.max(deadline);
        drop(state);
        waker.wake();
        true
    }

    /// Number of timers waiting.
    pub fn pending(&self) -> usize {
        self.lock().timers.len()
    }

    /// Runs `future` and whatever it spawns on this thread, with time passing only while every task waits.
    ///
    /// # Panics
    /// When the runtime cannot be built. A future that waits for something other than this clock hangs.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let clock = self.clone();
        tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || {
                clock.advance();
            })
            .build()
            .expect("a runtime without drivers needs no resources")
            .block_on(future)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// The Unix epoch plus the simulated time: labels repeat exactly.
    fn wall(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_nanos(self.now().as_nanos())
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        Box::pin(VirtualSleep { clock: self.clone(), deadline, id: None })
    }

    fn is_real(&self) -> bool {
        false
    }
}

struct VirtualSleep {
    clock: VirtualClock,
    deadline: Timestamp,
    id: Option<u64>,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        if state.now >= self.deadline {
            if let Some(id) = self.id.take() {
                state.timers.remove(&(self.deadline, id));
            }
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            state.next_id += 1;
            state.next_id
        });
        state.timers.insert((self.deadline, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.clock.lock().timers.remove(&(self.deadline, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_hour_passes_at_once_and_in_order() {
        let clock = VirtualClock::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        clock.block_on(async {
            let mut tasks = Vec::new();
            for (name, secs) in [("late", 3600), ("early", 1), ("tie-1", 60), ("tie-2", 60)] {
                let (clock, order) = (clock.clone(), order.clone());
                tasks.push(tokio::spawn(async move {
                    clock.sleep_until(Timestamp::ZERO + Duration::from_secs(secs)).await;
                    order.lock().unwrap().push(name);
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(*order.lock().unwrap(), ["early", "tie-1", "tie-2", "late"]);
        assert_eq!(clock.now(), Timestamp::ZERO + Duration::from_hours(1));
        assert_eq!(clock.pending(), 0);
    }

    #[test]
    fn a_dropped_sleep_leaves_no_timer() {
        let clock = VirtualClock::new();
        clock.block_on(async {
            tokio::select! {
                biased;
                () = clock.sleep_until(Timestamp::from_nanos(5)) => {}
                () = clock.sleep_until(Timestamp::from_nanos(9)) => panic!("the later timer fired first"),
            }
        });
        assert_eq!((clock.now(), clock.pending()), (Timestamp::from_nanos(5), 0));
    }

    #[test]
    fn a_difference_is_never_negative() {
        let (a, b) = (Timestamp::from_nanos(5), Timestamp::from_nanos(7));
        assert_eq!(b.since(a), Some(Duration::from_nanos(2)));
        assert_eq!(a.since(b), None);
    }
}
