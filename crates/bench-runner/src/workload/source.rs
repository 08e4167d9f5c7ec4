//! Where the prompt of a planned request comes from: the scenario's list, a recorded trace, or lengths alone.
//!
//! Synthetic texts are made when they are needed, from seeds and the number of the request, so that long prompts take
//! neither memory nor room in the result files, and every run of the same seeds sends the same bytes. With
//! `cache_bust` the words are drawn from the nonce's seed instead, anew on every run: no cache knows them, while what
//! prompts of one run share they go on sharing.

use std::{borrow::Cow, sync::Arc};

use llms_core::bench::{
    Load, Prompt, Scenario, SharedPrefix, Synthetic, TokenCounter, TraceInput, TraceRequest,
    trace::BLOCK_TOKENS,
};

use super::{lengths, words::Words};
use crate::random::{Purpose, Stream};

/// See the module.
pub(crate) struct Source {
    made: Option<Made>,
    ids: Vec<Arc<str>>,
}

/// Prompts that are made.
struct Made {
    recipe: Recipe,
    words: Words,
    counter: Option<Arc<dyn TokenCounter>>,
    words_seed: u64,
    lengths_seed: u64,
}

enum Recipe {
    Trace(Arc<[TraceRequest]>),
    Lengths(Synthetic),
}

/// Whether the prompts of a scenario are made one by one, instead of drawn from its list.
pub(crate) fn is_made(scenario: &Scenario) -> bool {
    scenario.synthetic.is_some() || scenario.load.trace().is_some()
}

/// The prompt of that request in the plan of a resolved scenario, where prompts are made one by one; `None` where they come
/// from its list.
pub fn made_prompt(
    scenario: &Scenario,
    counter: Option<Arc<dyn TokenCounter>>,
    index: usize,
) -> Option<Prompt> {
    Some(Source::new(scenario, counter).made?.prompt(index))
}

/// Tokens of that prompt and of the longest answer to it, as planned: no text is made. `None` for the first where the prompt is
/// a recorded text, and for the second where only the scenario limits the answer; `None` at all where prompts come from the
/// scenario's list.
pub fn planned_tokens(scenario: &Scenario, index: usize) -> Option<(Option<u32>, Option<u32>)> {
    if let Some(trace) = scenario.load.trace() {
        let request = trace.requests.get()?.get(index)?;
        let input = match &request.input {
            TraceInput::Messages(_) => None,
            TraceInput::Tokens(tokens) | TraceInput::Blocks { tokens, .. } => Some(*tokens),
        };
        return Some((input, request.output_tokens));
    }
    let synthetic = scenario.synthetic.as_ref()?;
    let (input, output) = drawn(synthetic, scenario.seeds.lengths.unwrap_or_default(), index);
    let shared = synthetic.prefix.map_or(0, |p| p.tokens);
    Some((Some(input.saturating_add(shared)), output))
}

/// Lengths of a request: of its own words, and the limit of its answer.
fn drawn(synthetic: &Synthetic, seed: u64, index: usize) -> (u32, Option<u32>) {
    let mut draws = Stream::new(seed, Purpose::Lengths, index as u64);
    let input = lengths::draw(&synthetic.input, &mut draws);
    let output = synthetic.output.as_ref().map(|law| lengths::draw(law, &mut draws));
    (input, output)
}

impl Source {
    /// The source of a scenario with all seeds.
    pub(crate) fn new(scenario: &Scenario, counter: Option<Arc<dyn TokenCounter>>) -> Self {
        let recipe = match (&scenario.load, &scenario.synthetic) {
            (Load::Open { trace: Some(trace), .. }, _) => trace.requests.get().cloned().map(Recipe::Trace),
            (_, Some(synthetic)) => Some(Recipe::Lengths(synthetic.clone())),
            _ => None,
        };
        let seeds = &scenario.seeds;
        // Complemented, so that the words are other ones also where both seeds are the same number.
        let seed = if scenario.cache_bust { seeds.nonce.map(|s| !s) } else { seeds.prompts };
        let made = recipe.map(|recipe| Made {
            recipe,
            words: Words::new(counter.as_deref()),
            counter,
            words_seed: seed.unwrap_or_default(),
            lengths_seed: seeds.lengths.unwrap_or_default(),
        });
        Self { made, ids: scenario.prompts.iter().map(|p| p.id.as_str().into()).collect() }
    }

    /// The prompt of that index in the plan.
    pub(crate) fn prompt<'s>(&self, scenario: &'s Scenario, index: usize) -> Cow<'s, Prompt> {
        match &self.made {
            None => Cow::Borrowed(&scenario.prompts[index]),
            Some(made) => Cow::Owned(made.prompt(index)),
        }
    }

    /// Its id.
    pub(crate) fn id(&self, index: usize) -> Arc<str> {
        match &self.made {
            None => self.ids[index].clone(),
            Some(made) => made.id(index).into(),
        }
    }

    /// Whether a nonce in front of the prompt is what keeps caches from answering: not where the words themselves are
    /// drawn anew.
    pub(crate) fn takes_nonce(&self, index: usize) -> bool {
        match &self.made {
            None => true,
            Some(Made { recipe: Recipe::Trace(requests), .. }) => {
                matches!(requests[index].input, TraceInput::Messages(_))
            }
            Some(Made { recipe: Recipe::Lengths(_), .. }) => false,
        }
    }
}

impl Made {
    fn id(&self, index: usize) -> String {
        let mark = if matches!(self.recipe, Recipe::Trace(_)) { 't' } else { 's' };
        format!("{mark}{index}")
    }

    fn prompt(&self, index: usize) -> Prompt {
        let mut own = Stream::new(self.words_seed, Purpose::Words, index as u64);
        let (text, max_tokens) = match &self.recipe {
            Recipe::Trace(requests) => {
                let request = &requests[index];
                let text = match &request.input {
                    TraceInput::Messages(messages) => {
                        let (messages, max_tokens) = (messages.clone(), request.output_tokens);
                        return Prompt { id: self.id(index), messages, max_tokens, ..Prompt::default() };
                    }
                    TraceInput::Tokens(tokens) => self.text(&[], 0, *tokens, &mut own),
                    TraceInput::Blocks { tokens, hash_ids } => {
                        self.text(hash_ids, BLOCK_TOKENS, *tokens, &mut own)
                    }
                };
                (text, request.output_tokens)
            }
            Recipe::Lengths(synthetic) => {
                let (input, output) = drawn(synthetic, self.lengths_seed, index);
                let text = match synthetic.prefix {
                    None => self.text(&[], 0, input, &mut own),
                    Some(SharedPrefix { groups, tokens }) => {
                        let group = own.below(u64::from(groups.max(1)));
                        self.text(&[group], tokens, tokens.saturating_add(input), &mut own)
                    }
                };
                (text, output)
            }
        };
        Prompt { max_tokens, ..Prompt::new(self.id(index), text) }
    }

    /// `tokens` tokens: first the blocks of these ids, `block` tokens each and the last one cut, then words of the
    /// request's own. Blocks of equal id are equal text.
    fn text(&self, ids: &[u64], block: u32, tokens: u32, own: &mut Stream) -> String {
        let mut text = String::with_capacity(tokens as usize * 6);
        let mut left = tokens;
        for &id in ids {
            let n = block.min(left);
            let mut shared = Stream::new(self.words_seed, Purpose::Prefixes, id);
            self.words.append(&mut text, n, &mut shared);
            left -= n;
        }
        self.words.append(&mut text, left, own);
        if let Some(counter) = &self.counter {
            self.words.mend(&mut text, tokens, &**counter, own);
        }
        text
    }
}
