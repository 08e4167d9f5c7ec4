//! `prefix_cacheable` and `cache_missed`: input that an earlier request began with too, and that was paid in full.
//!
//! A request can read from a cache what it shares, from its first character on, with a *different* prompt of the run (asking
//! the same prompt again is the benchmark's doing) asked within the cache's lifetime; with one prompt only, its tools and system
//! message; in a conversation, all of the turn before. Below the providers' minimum of 1024 tokens nothing is cached.
//! Saving: missed reads × (input − read price) − writes × (write − input price).

use std::collections::HashMap;

use llms_core::bench::{Effort, HintCategory, Measured, PromptPart};

use super::Scene;
use super::draft::{Draft, Look, dollars, evidence, per_request};
use crate::cost::break_even_reads;
use crate::cost::ledger::{Entry, Ledger};
use crate::cost::prompts::{BLOCK, Sheet};
use rust_decimal::prelude::ToPrimitive;

/// Fewest tokens of a prefix that OpenAI and Anthropic cache (models differ up to 4096).
const LEAST_TOKENS: f64 = 1024.0;

/// Tokens that an attempt could have read from and had to write to a cache.
#[derive(Clone, Copy, Default)]
struct Could {
    read: f64,
    write: f64,
}

pub(crate) fn cacheable(scene: &Scene<'_>, target: usize) -> Look {
    look(scene, target, true)
}

pub(crate) fn missed(scene: &Scene<'_>, target: usize) -> Look {
    look(scene, target, false)
}

fn look(scene: &Scene<'_>, target: usize, unused: bool) -> Look {
    let ledger = &scene.ledgers[target];
    if ledger.cache_bust {
        // the run kept caches from answering on purpose
        return Look::Nothing;
    }
    let could = match could(scene, ledger) {
        Ok(c) => c,
        Err(why) => return if unused { Look::Cannot(why) } else { Look::Nothing },
    };
    let entries = &ledger.entries;
    let used = entries.iter().filter_map(|e| e.tokens).map(|t| t.cache_read + t.cache_write).sum::<u64>();
    let missing: Vec<f64> = entries
        .iter()
        .zip(&could)
        .map(|(e, c)| (c.read - e.tokens.map_or(0.0, |t| t.cache_read as f64)).max(0.0))
        .collect();
    let mut usd = vec![0.0; entries.len()];
    let mut ratios = None;
    if let Ok(price) = &ledger.price {
        for (i, (e, c)) in entries.iter().zip(&could).enumerate() {
            let Some(rates) = e.input().and_then(|n| price.rates(n)) else { continue };
            let Some(read) = rates.cache_read else {
                if 0.0 < missing[i] {
                    return Look::Cannot("the price of cached input is not in the table".to_owned());
                }
                continue;
            };
            let write = rates.cache_write.unwrap_or(rates.input).max(rates.input);
            let written = e.tokens.map_or(0.0, |t| t.cache_write as f64);
            usd[i] = dollars(missing[i], rates.input - read)
                - dollars((c.write - written).max(0.0), write - rates.input);
            ratios = (write / rates.input).to_f64().zip((read / rates.input).to_f64());
        }
    }
    let effect = match per_request(scene, ledger, &missing) {
        Measured::Value(e) => e,
        Measured::Absent { absent } => return Look::Cannot(absent),
    };
    let input: f64 = entries.iter().filter_map(Entry::input).map(|i| i as f64).sum();
    let reads: f64 = could.iter().map(|c| c.read).sum();
    let hits: f64 = entries.iter().filter_map(|e| e.tokens).map(|t| t.cache_read as f64).sum();
    let n = entries.len();
    let mut proof = vec![
        evidence("achievable share of input from a cache", reads / input.max(1.0), "1", n),
        evidence("share of input read from a cache", hits / input.max(1.0), "1", n),
    ];
    if let Some(even) = ratios.and_then(|(w, r)| break_even_reads(w, r)) {
        proof.push(evidence("reads of a prefix from which caching pays", even, "1", 1));
    }
    let (title, implementation) = if unused {
        (
            "put the common beginning of prompts into the provider's cache",
            "keep tools and system message the same to the byte and first, what varies last; mark the end of the common part where the provider wants it (Anthropic, Bedrock: cache_control / cachePoint)",
        )
    } else {
        (
            "more of the input could come from the cache",
            "look for what differs early in the prompt (dates, ids, order of tools), for pauses beyond the cache's lifetime, and for requests spread over several caches (prompt_cache_key)",
        )
    };
    Look::Measured(Box::new(
        Draft {
            categories: vec![HintCategory::InputOptimization, HintCategory::CostOptimization],
            title: title.to_owned(),
            description: format!(
                "{:.0} % of the input was in an earlier prompt too, from its first character on; {:.0} % was read from a cache",
                100.0 * reads / input.max(1.0),
                100.0 * hits / input.max(1.0)
            ),
            implementation: implementation.to_owned(),
            evidence: proof,
            effort: Effort::Medium,
            refuted_by: "a later run whose cached share reaches the achievable one without a lower bill, or whose missed input is as small as the lower end of this interval".to_owned(),
            enough: (used == 0) == unused,
            ..Draft::of_effect(effect, "tokens")
        }
        .saving(scene, ledger, &usd),
    ))
}

fn could(scene: &Scene<'_>, ledger: &Ledger) -> Result<Vec<Could>, String> {
    let ttl = (scene.options.cache_ttl_s * 1e9) as u64;
    let mut found = vec![Could::default(); ledger.entries.len()];
    if let Some((tokens, groups)) = ledger.synthetic_prefix {
        if 1 < groups {
            return Err(format!("which of the {groups} common beginnings a prompt had is not on record"));
        }
        let mut last: Option<u64> = None;
        for (e, c) in ledger.entries.iter().zip(&mut found) {
            let (now, tokens) = (e.scheduled.as_nanos(), (tokens as f64).min(e.input().unwrap_or(0) as f64));
            *c = take(tokens, if last.is_some_and(|l| now - l <= ttl) { tokens } else { 0.0 });
            last = Some(now);
        }
        return Ok(found);
    }
    let depths = shared_depths(&scene.book.sheets);
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let mut turns: HashMap<(u64, u32), (u64, f64)> = HashMap::new();
    let mut known = false;
    for (e, c) in ledger.entries.iter().zip(&mut found) {
        let (Some(input), now) = (e.input().map(|i| i as f64), e.scheduled.as_nanos()) else { continue };
        let turn = e.key.1.zip(e.key.2);
        if let Some((session, turn)) = turn {
            turns.insert((session, turn), (now, input));
            if 0 < turn {
                known = true;
                let before = turns.get(&(session, turn - 1)).filter(|(at, _)| now - at <= ttl);
                *c = take(input, before.map_or(0.0, |(_, tokens)| tokens.min(input)));
                continue;
            }
        }
        let Some(prompt) = e.prompt else { continue };
        known = true;
        let sheet = &scene.book.sheets[prompt as usize];
        let shared = &sheet.blocks[..depths[prompt as usize]];
        let hit = shared.iter().take_while(|h| seen.get(h).is_some_and(|at| now - at <= ttl)).count();
        seen.extend(shared.iter().map(|h| (*h, now)));
        let tokens = |blocks: usize| input * (blocks * BLOCK) as f64 / sheet.total().max(1) as f64;
        *c = take(tokens(shared.len()), tokens(hit));
    }
    if known { Ok(found) } else { Err(scene.book.why_not.clone()) }
}

/// `all` tokens are worth caching, `there` of them are in the cache already.
fn take(all: f64, there: f64) -> Could {
    if there < LEAST_TOKENS {
        return Could { read: 0.0, write: if all < LEAST_TOKENS { 0.0 } else { all } };
    }
    Could { read: there, write: (all - there).max(0.0) }
}

/// Blocks of each prompt that another prompt begins with too.
fn shared_depths(sheets: &[Sheet]) -> Vec<usize> {
    if let [only] = sheets {
        let fixed: u64 = PromptPart::ALL
            .iter()
            .zip(only.chars)
            .filter(|(part, _)| matches!(part, PromptPart::Tools | PromptPart::System))
            .map(|(_, chars)| chars)
            .sum();
        return vec![(fixed as usize / BLOCK).min(only.blocks.len())];
    }
    let mut prompts: HashMap<u64, u32> = HashMap::new();
    for hash in sheets.iter().flat_map(|s| &s.blocks) {
        *prompts.entry(*hash).or_insert(0) += 1;
    }
    sheets.iter().map(|s| s.blocks.iter().take_while(|h| 1 < prompts[h]).count()).collect()
}
