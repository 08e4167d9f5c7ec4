//! What the server remembers from one request to the next, beyond what profiles do: bodies that failed once, and the
//! models that a local server would have loaded.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;

use crate::{
    ask::{Ask, Keep},
    flaky::Failed,
};

/// Models loaded at a time; the one that would expire first goes.
const MAX_LOADED: usize = 64;
/// How long a model stays loaded unless told otherwise.
const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// What "for ever" looks like.
const FOR_EVER: Duration = Duration::from_secs(292 * 365 * 86_400);

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Recall {
    pub(super) failed: Failed,
    loaded: Mutex<BTreeMap<String, OffsetDateTime>>,
}

impl Recall {
    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.failed.clear();
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A model was used: it stays loaded as long as the request says.
    pub(super) fn used(&self, ask: &Ask, now: OffsetDateTime) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, until| now < *until);
        let name = tagged(&ask.model);
        match ask.keep {
            Keep { seconds: Some(0.0), .. } => _ = loaded.remove(&name),
            Keep { seconds, .. } => {
                let keep = seconds
                    .map_or(KEEP_ALIVE, |s| Duration::try_from_secs_f64(s).unwrap_or(FOR_EVER).min(FOR_EVER));
                loaded.insert(name, now + keep);
            }
        }
        if loaded.len() > MAX_LOADED {
            let first = loaded.iter().min_by_key(|(_, until)| **until).map(|(name, _)| name.clone());
            first.and_then(|name| loaded.remove(&name));
        }
    }

    /// Models loaded now, and until when.
    pub(super) fn loaded(&self, now: OffsetDateTime) -> Vec<(String, OffsetDateTime)> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.iter().filter(|(_, until)| now < **until).map(|(n, until)| (n.clone(), *until)).collect()
    }
}

/// The name with the tag that a local server adds.
pub(super) fn tagged(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_expire_as_the_request_says() {
        let (recall, now) = (Recall::default(), OffsetDateTime::UNIX_EPOCH);
        let used = |name: &str, seconds| {
            let keep = Keep { seconds, only: false };
            recall.used(&Ask { model: name.to_owned(), keep, ..Ask::default() }, now);
        };
        used("a", None);
        used("b:1b", Some(10.0));
        used("c", Some(-1.0));
        let names = |s: u64| {
            let loaded = recall.loaded(now + Duration::from_secs(s));
            loaded.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["a:latest", "b:1b", "c:latest"]);
        assert_eq!(names(11), ["a:latest", "c:latest"]);
        assert_eq!(names(1_000_000_000), ["c:latest"]);
        used("a", Some(0.0));
        assert_eq!(names(0), ["b:1b", "c:latest"]);
        recall.clear();
        assert_eq!(names(0), Vec::<String>::new());
    }
}
