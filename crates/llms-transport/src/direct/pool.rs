//! Idle connections, by origin: last in, first out, bounded in number and age.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use llms_core::time::Timestamp;

use super::socket::Socket;
use crate::target::Origin;

/// Room kept for an origin that has no idle connection at present: it will have one when an answer ends.
const SPARE: usize = 64;

struct Idle<S> {
    socket: S,
    since: Timestamp,
}

/// Generic for its tests only.
pub(super) struct Pool<S = Socket> {
    /// Oldest in front. An origin without idle connections has no entry, or one of little room.
    idle: Mutex<HashMap<Origin, VecDeque<Idle<S>>>>,
    max_per_host: usize,
    timeout: Duration,
}

impl<S> Pool<S> {
    pub(super) fn new(max_per_host: usize, timeout: Duration) -> Self {
        Self { idle: Mutex::new(HashMap::new()), max_per_host, timeout }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, VecDeque<Idle<S>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection used last, unless all are too old.
    pub(super) fn take(&self, origin: &Origin, now: Timestamp) -> Option<S> {
        let mut idle = self.lock();
        let of_origin = idle.get_mut(origin)?;
        let newest = of_origin.pop_back()?;
        let fresh = now.saturating_since(newest.since) <= self.timeout;
        // When the newest is too old, so are the others.
        let keep = fresh && (!of_origin.is_empty() || of_origin.capacity() <= SPARE);
        let stale = if keep { None } else { idle.remove(origin) };
        drop(idle);
        drop(stale);
        fresh.then_some(newest.socket)
    }

    /// Keeps a connection, unless there are enough; closes those that have become too old.
    pub(super) fn put(&self, origin: Origin, socket: S, now: Timestamp) {
        if self.max_per_host == 0 {
            return;
        }
        let mut dropped = Vec::new();
        let mut idle = self.lock();
        let of_origin = idle.entry(origin).or_default();
        while let Some(oldest) = of_origin.front()
            && (of_origin.len() >= self.max_per_host || now.saturating_since(oldest.since) > self.timeout)
        {
            dropped.extend(of_origin.pop_front());
        }
        of_origin.push_back(Idle { socket, since: now });
        // Sockets are closed outside the lock.
        drop(idle);
        drop(dropped);
    }

    /// Idle connections to one origin.
    pub(super) fn count(&self, origin: &Origin) -> usize {
        self.lock().get(origin).map_or(0, VecDeque::len)
    }

    /// Idle connections to all origins.
    pub(super) fn len(&self) -> usize {
        self.lock().values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(authority: &'static str) -> Origin {
        Origin { tls: false, authority: http::uri::Authority::from_static(authority) }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn the_connection_used_last_is_used_first() {
        let (pool, a, b) = (Pool::new(8, Duration::from_secs(10)), origin("a"), origin("b"));
        for (n, secs) in [(1, 0), (2, 1), (3, 2)] {
            pool.put(a.clone(), n, at(secs));
        }
        assert_eq!(pool.take(&b, at(3)), None);
        assert_eq!([3, 2, 1].map(Some), [at(3); 3].map(|now| pool.take(&a, now)));
        assert_eq!((pool.take(&a, at(3)), pool.len()), (None, 0));
    }

    #[test]
    fn old_connections_go() {
        let (pool, a) = (Pool::new(8, Duration::from_secs(10)), origin("a"));
        pool.put(a.clone(), 1, at(0));
        pool.put(a.clone(), 2, at(5));
        pool.put(a.clone(), 3, at(11));
        assert_eq!(pool.count(&a), 2);
        assert_eq!((pool.take(&a, at(30)), pool.len()), (None, 0));
    }

    #[test]
    fn beyond_the_bound_the_oldest_goes() {
        let (pool, a) = (Pool::new(2, Duration::from_secs(10)), origin("a"));
        (1..=3).for_each(|n| pool.put(a.clone(), n, at(0)));
        assert_eq!([3, 2].map(Some), [at(0); 2].map(|now| pool.take(&a, now)));
        assert_eq!(pool.take(&a, at(0)), None);
        let none = Pool::new(0, Duration::from_secs(10));
        none.put(a.clone(), 1, at(0));
        assert_eq!(none.len(), 0);
    }
}
