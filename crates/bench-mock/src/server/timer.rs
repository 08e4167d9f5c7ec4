//! Wake-ups at absolute instants.
//!
//! On Linux one timerfd for the whole server, armed for the earliest instant: tens of microseconds late, where
//! the timers of the async runtime are about a millisecond. Elsewhere those of the runtime.

#[cfg(not(target_os = "linux"))]
pub(super) use fallback::Timer;
#[cfg(target_os = "linux")]
pub(super) use linux::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::BTreeMap,
        future::Future,
        io,
        os::fd::OwnedFd,
        pin::Pin,
        sync::{Arc, Mutex, MutexGuard, PoisonError},
        task::{Context, Poll, Waker},
    };

    use llms_core::time::{Clock, RealClock, Timestamp};
    use rustix::{
        fs::Timespec,
        time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
        },
    };
    use tokio::io::{Interest, unix::AsyncFd};

    #[derive(Default)]
    struct State {
        /// By instant, then in the order they were set; one for each connection that waits.
        waiting: BTreeMap<(Timestamp, u64), Waker>,
        next_id: u64,
        armed: Option<Timestamp>,
    }

    struct Inner {
        fd: AsyncFd<OwnedFd>,
        state: Mutex<State>,
    }

    /// The server's alarm clock, shared by cloning.
    #[derive(Clone)]
    pub(in crate::server) struct Timer {
        inner: Arc<Inner>,
    }

    impl Inner {
        fn lock(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn arm(&self, state: &mut State) {
            let Some((earliest, _)) = state.waiting.keys().next().copied() else { return };
            if state.armed.is_some_and(|armed| armed <= earliest) {
                return;
            }
            // 0 would disarm it.
            let nanos = earliest.as_nanos().max(1);
            let at =
                Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as _ };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let once = Itimerspec { it_interval: never, it_value: at };
            if timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &once).is_ok() {
                state.armed = Some(earliest);
            }
        }

        fn fire(&self) {
            let mut state = self.lock();
            state.armed = None;
            let now = RealClock.now();
            while let Some(first) = state.waiting.first_entry()
                && first.key().0 <= now
            {
                first.remove().wake();
            }
            self.arm(&mut state);
        }
    }

    impl Timer {
        /// Starts it; within a runtime that has I/O.
        pub(in crate::server) fn start() -> io::Result<Self> {
            let fd =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            // SAFETY: an `OwnedFd` is open, is the same descriptor on every call, and closes only when dropped.
            #[allow(unsafe_code, reason = "tokio's safe constructor is deprecated as unsound")]
            let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
            let inner = Arc::new(Inner { fd, state: Mutex::default() });
            let ticking = inner.clone();
            tokio::spawn(async move {
                while let Ok(mut ready) = ticking.fd.readable().await {
                    let mut count = [0; 8];
                    let read = ready.try_io(|fd| rustix::io::read(fd, &mut count).map_err(Into::into));
                    if read.is_ok() {
                        ticking.fire();
                    }
                }
            });
            Ok(Self { inner })
        }

        /// Completes at `deadline`, at once when it has passed.
        pub(in crate::server) fn sleep_until(&self, deadline: Timestamp) -> Sleep {
            Sleep { inner: self.inner.clone(), deadline, id: None }
        }
    }

    /// A wait for an instant; dropping it takes the alarm off.
    pub(in crate::server) struct Sleep {
        inner: Arc<Inner>,
        deadline: Timestamp,
        id: Option<u64>,
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let this = self.get_mut();
            if RealClock.now() >= this.deadline {
                return Poll::Ready(());
            }
            let mut state = this.inner.lock();
            let id = *this.id.get_or_insert_with(|| {
                state.next_id += 1;
                state.next_id
            });
            state.waiting.insert((this.deadline, id), cx.waker().clone());
            this.inner.arm(&mut state);
            Poll::Pending
        }
    }

    impl Drop for Sleep {
        fn drop(&mut self) {
            if let Some(id) = self.id {
                self.inner.lock().waiting.remove(&(self.deadline, id));
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod fallback {
    use std::{future::Future, io};

    use llms_core::time::{Clock, RealClock, Timestamp};

    /// Timers of the async runtime.
    #[derive(Clone)]
    pub(in crate::server) struct Timer;

    impl Timer {
        pub(in crate::server) fn start() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in crate::server) fn sleep_until(&self, deadline: Timestamp) -> impl Future<Output = ()> + Send {
            RealClock.sleep_until(deadline)
        }
    }
}
