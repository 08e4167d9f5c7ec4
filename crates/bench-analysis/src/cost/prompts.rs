//! What is known of prompts without keeping their text: characters by part, and hashes of their beginnings.
//!
//! A prompt is rendered as providers cache it: tools, system, then messages. Its text is cut into blocks of [`BLOCK`]
//! characters; the hash of block k covers everything up to its end, so two prompts share a beginning of k blocks exactly when
//! their k-th hashes agree (up to 64-bit collisions).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use llms_core::bench::{Prompt, PromptPart, Scenario, TokenCounter};
use llms_core::chat::Message;

/// Characters of a block: about 16 tokens of English.
pub(crate) const BLOCK: usize = 64;

/// One prompt.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// characters of each part, in the order of [`PromptPart::ALL`]
    pub(crate) chars: [u64; 5],
    /// the hash of everything up to the end of each block
    pub(crate) blocks: Vec<u64>,
    /// characters of later turns' user texts
    pub(crate) turns: Vec<u64>,
    max_tokens: Option<u32>,
}

impl Sheet {
    pub(crate) fn total(&self) -> u64 {
        self.chars.iter().sum()
    }
}

/// The prompts of a scenario, by id.
#[derive(Debug, Default)]
pub(crate) struct Book {
    ids: HashMap<String, u32>,
    pub(crate) sheets: Vec<Sheet>,
    /// why some prompts are not in it
    pub(crate) why_not: String,
}

impl Book {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let why_not = if scenario.synthetic.is_some() {
            "prompts were made from lengths: they have no parts"
        } else if scenario.load.trace().is_some() {
            "prompts came with a trace: the run keeps their ids only"
        } else {
            "the run keeps no text of these prompts"
        };
        let mut book = Self { why_not: why_not.to_owned(), ..Self::default() };
        for prompt in &scenario.prompts {
            let has_text = prompt.messages.iter().any(|m| !m.text().is_empty());
            if has_text {
                book.ids.insert(prompt.id.clone(), book.sheets.len() as u32);
                book.sheets.push(sheet(scenario, prompt));
            }
        }
        book
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.ids.get(id).copied()
    }

    pub(crate) fn max_tokens(&self, prompt: u32) -> Option<u32> {
        self.sheets.get(prompt as usize)?.max_tokens
    }

    /// The same sheets, their parts counted in tokens instead of characters.
    pub(crate) fn counted(scenario: &Scenario, counter: &dyn TokenCounter) -> Self {
        let mut book = Self::of(scenario);
        for prompt in &scenario.prompts {
            if let Some(i) = book.find(&prompt.id) {
                let sheet = &mut book.sheets[i as usize];
                sheet.chars = [0; 5];
                for (part, text) in parts(scenario, prompt) {
                    sheet.chars[index(part)] += counter.count(&text);
                }
                sheet.turns = prompt.turns.iter().map(|t| counter.count(t)).collect();
            }
        }
        book
    }
}

fn index(part: PromptPart) -> usize {
    PromptPart::ALL.iter().position(|p| *p == part).expect("invariant: all parts are in ALL")
}

/// The texts of a prompt in the order they are sent, each with its part.
fn parts(scenario: &Scenario, prompt: &Prompt) -> Vec<(PromptPart, String)> {
    let request = scenario.request(prompt, None);
    let mut found: Vec<(PromptPart, String)> = request
        .tools
        .iter()
        .map(|t| (PromptPart::Tools, format!("{} {} {}", t.name, t.description, t.parameters)))
        .collect();
    let last_user = request.messages.iter().rposition(|m| matches!(m, Message::User { .. }));
    for (i, message) in request.messages.iter().enumerate() {
        let part = match message {
            Message::System { .. } => PromptPart::System,
            Message::Tool { .. } => PromptPart::Retrieval,
            Message::User { .. } if Some(i) == last_user => PromptPart::User,
            _ => PromptPart::History,
        };
        found.push((part, message.text().clone()));
    }
    found
}

fn sheet(scenario: &Scenario, prompt: &Prompt) -> Sheet {
    let mut chars = [0; 5];
    let mut blocks = Vec::new();
    let (mut hasher, mut filled) = (DefaultHasher::new(), 0);
    for (part, text) in parts(scenario, prompt) {
        // a part never runs on into the next: "ab" + "c" is not "a" + "bc"
        (index(part) as u8).hash(&mut hasher);
        for c in text.chars() {
            chars[index(part)] += 1;
            c.hash(&mut hasher);
            filled += 1;
            if filled == BLOCK {
                blocks.push(hasher.finish());
                filled = 0;
            }
        }
    }
    Sheet {
        chars,
        blocks,
        turns: prompt.turns.iter().map(|t| t.chars().count() as u64).collect(),
        max_tokens: prompt.max_tokens,
    }
}
