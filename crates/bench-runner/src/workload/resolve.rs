//! From a scenario as written to the scenario as run: ids, seeds and warm-up prompts filled in.

use llms_core::bench::{Prompt, Scenario};

use crate::random::{Purpose, Stream, system_seed};

/// Asked before the measured window when the scenario has no warm-up prompts of its own. They share no beginning
/// with each other or with the built-in scenarios, so that no prefix cache is warmed for what is measured.
const NEUTRAL: [&str; 12] = [
    "Name one colour of the rainbow.",
    "How many minutes are there in an hour?",
    "Spell the word window backwards.",
    "Is ice colder than steam? Answer yes or no.",
    "Say hello in French.",
    "Give a synonym of quick.",
    "Which month follows March?",
    "Complete the pair: salt and …",
    "Translate tree into Spanish.",
    "Pick a number from one to ten.",
    "Who wrote Hamlet?",
    "Put in order: cherry, apple, banana.",
];

/// Fills in what the scenario leaves open: prompt ids by position, each missing seed drawn from the system, neutral
/// warm-up prompts that are none of the measured ones, and the length of a rate profile as duration when neither a
/// duration nor a number of requests is given.
pub fn resolve(scenario: &Scenario) -> Scenario {
    let mut s = scenario.clone();
    if s.warmup.prompts.is_empty() && s.warmup.requests > 0 {
        let neutral = NEUTRAL.map(|text| Prompt::new("", text));
        s.warmup.prompts =
            neutral.into_iter().filter(|w| s.prompts.iter().all(|p| p.messages != w.messages)).collect();
    }
    if (s.requests, s.duration) == (None, None) {
        s.duration = s.load.profile_length();
    }
    let seeds = &mut s.seeds;
    for seed in [
        &mut seeds.arrivals,
        &mut seeds.prompts,
        &mut seeds.lengths,
        &mut seeds.order,
        &mut seeds.bootstrap,
        &mut seeds.nonce,
    ] {
        seed.get_or_insert_with(system_seed);
    }
    s.with_ids()
}

/// The cache-busting nonce of one request: 18 decimal digits, which tokenizers cut evenly, so that every nonce
/// costs the same number of tokens. Another one for each target: two targets may be one server.
pub(crate) fn nonce(seed: u64, block: u64, target: u32) -> String {
    let mut draw = Stream::new(seed, Purpose::Nonce, (block << 12) | u64::from(target & 0xfff));
    format!("{:018}", draw.below(1_000_000_000_000_000_000))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn warm_up_never_asks_what_is_measured() {
        let mut s = Scenario::new("s", [NEUTRAL[0], NEUTRAL[3], "else"]);
        s.requests = Some(1);
        let s = resolve(&s);
        assert_eq!(s.warmup.prompts.len(), NEUTRAL.len() - 2);
        s.validate().unwrap();
    }

    #[test]
    fn given_seeds_are_kept_and_missing_ones_drawn() {
        let mut s = Scenario::new("s", ["x"]);
        s.seeds.arrivals = Some(11);
        let s = resolve(&s).seeds;
        assert_eq!(s.arrivals, Some(11));
        let drawn = [s.prompts, s.order, s.bootstrap, s.nonce].map(Option::unwrap);
        assert!(drawn.iter().all(|&n| n < 1 << 53));
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn nonces_differ_between_blocks_and_targets_and_have_one_length() {
        let all: BTreeSet<String> =
            (0..50).flat_map(|block| (0..4).map(move |target| nonce(5, block, target))).collect();
        assert_eq!(all.len(), 200);
        assert!(all.iter().all(|n| n.len() == 18 && n.bytes().all(|b| b.is_ascii_digit())));
    }
}
