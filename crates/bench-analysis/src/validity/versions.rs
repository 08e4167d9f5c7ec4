//! Fingerprints and versions that a server reports of itself, numbered as they are met, and whether they changed in the run.

use std::collections::{BTreeMap, BTreeSet};

use llms_core::bench::RequestRecord;
use llms_core::observe::Reported;

use crate::population::Population;

/// Different sets told apart; a server that reports more has no version but a number for each answer.
const MOST: usize = 1024;

/// What one answer reported: key and text.
type Said = Vec<(String, String)>;

/// Everything reported so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    numbers: BTreeMap<Said, u64>,
    last: Option<(Said, u64)>,
}

impl Versions {
    /// The number of what an answer reported; `None` when it reported nothing of the kind.
    pub(crate) fn number(&mut self, record: &RequestRecord) -> Option<u64> {
        let said = || {
            record.reported.iter().filter_map(|(key, value)| match value {
                Reported::Text(text) if key.ends_with("fingerprint") || key.ends_with("version") => {
                    Some((key, text))
                }
                _ => None,
            })
        };
        said().next()?;
        if let Some((last, number)) = &self.last
            && said().eq(last.iter().map(|(key, text)| (key, text)))
        {
            return Some(*number);
        }
        let said: Said = said().map(|(key, text)| (key.clone(), text.clone())).collect();
        let known = self.numbers.len();
        let number = match self.numbers.get(&said) {
            Some(number) => *number,
            None if known < MOST => {
                self.numbers.insert(said.clone(), known as u64);
                known as u64
            }
            None => return None,
        };
        self.last = Some((said, number));
        Some(number)
    }

    /// What was another at the end than at the beginning.
    ///
    /// Vendors answer from several backends in turn; a set that stays the same is no change.
    pub(crate) fn switch(&self, population: &Population) -> Option<String> {
        let third = population.counts().0 as usize / 3;
        if third == 0 || self.numbers.is_empty() || self.numbers.len() == MOST {
            return None;
        }
        let behind = population.counts().0 as usize - third;
        let mut numbers = [BTreeSet::new(), BTreeSet::new()];
        for (i, row) in population.ok().enumerate() {
            let Some(number) = row.version else { continue };
            if i < third {
                numbers[0].insert(number);
            }
            if behind <= i {
                numbers[1].insert(number);
            }
        }
        let keys: BTreeSet<&str> = self.numbers.keys().flatten().map(|(key, _)| key.as_str()).collect();
        let seen = |part: &BTreeSet<u64>, key: &str| -> BTreeSet<&str> {
            let said = self.numbers.iter().filter(|(_, number)| part.contains(*number));
            said.flat_map(|(said, _)| said).filter(|(k, _)| k == key).map(|(_, text)| text.as_str()).collect()
        };
        keys.into_iter().find_map(|key| {
            let (early, late) = (seen(&numbers[0], key), seen(&numbers[1], key));
            let apart = !early.is_empty() && !late.is_empty() && early.is_disjoint(&late);
            apart.then(|| format!("{key} changed from {} to {}", join(&early), join(&late)))
        })
    }
}

fn join(set: &BTreeSet<&str>) -> String {
    set.iter().copied().collect::<Vec<_>>().join("/")
}
