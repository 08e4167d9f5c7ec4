//! Prompt prefixes and the cache of them: what a request shares with earlier ones.
//!
//! A prompt becomes a chain of hashes, one for each block of 16 tokens (64 bytes of text), and one for each end of a
//! content block, which a request may mark. Only hashes are kept, and no more than the profile's cache holds.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use llms_core::{
    ChatRequest, Message,
    chat::{CacheAt, CacheTtl},
    time::Timestamp,
};
use serde_json::Value;

use crate::profile::PrefixCache;

/// Tokens of a block.
pub(crate) const BLOCK_TOKENS: u32 = 16;
/// Bytes of text that make a block.
const BLOCK_BYTES: usize = BLOCK_TOKENS as usize * 4;
/// Blocks of a prompt that are looked at: a million tokens.
const MAX_BLOCKS: usize = 1 << 16;
/// Ends of content blocks before a mark that are tried, as Anthropic documents it.
const LOOK_BACK: usize = 20;
/// Seconds that a prefix marked for the longer time is kept.
const LONG: Duration = Duration::from_secs(3600);

/// How long a marked prefix is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Short,
    Long,
}

/// The end of a content block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    hash: u64,
    tokens: u32,
    marked: Option<Keep>,
}

/// A prompt as a chain of hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    hash: u64,
    pending: Vec<u8>,
    bytes: usize,
    blocks: Vec<u64>,
    ends: Vec<End>,
}

/// Tokens of a prompt found in the cache, and added to it by a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cached {
    pub read: u32,
    pub write: u32,
}

fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    hash ^= (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash
}

impl Prefix {
    /// Text that counts as tokens.
    fn text(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        self.bytes += rest.len();
        while !rest.is_empty() && self.blocks.len() < MAX_BLOCKS {
            let (now, later) = rest.split_at(rest.len().min(BLOCK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            rest = later;
            if self.pending.len() == BLOCK_BYTES {
                self.hash = mix(self.hash, &self.pending);
                self.blocks.push(self.hash);
                self.pending.clear();
            }
        }
    }

    /// What tells prompts apart and counts no tokens: roles, tools, images.
    fn tag(&mut self, tag: &[u8]) {
        self.hash = mix(self.hash ^ self.pending.len() as u64, tag);
    }

    /// A content block ends here.
    fn end(&mut self, marked: Option<Keep>) {
        let hash = mix(!self.hash, &self.pending);
        let tokens = u32::try_from(self.bytes / 4).unwrap_or(u32::MAX);
        self.ends.push(End { hash, tokens, marked });
    }

    /// Marks the last end.
    fn mark(&mut self, keep: Option<Keep>) {
        if let Some(end) = self.ends.last_mut()
            && keep.is_some()
        {
            end.marked = keep;
        }
    }

    /// The prompt of a request body of any of the protocols.
    pub(crate) fn of_body(body: &Value) -> Self {
        let mut prefix = Self::default();
        for tools in [&body["tools"], &body["toolConfig"]["tools"]] {
            for tool in tools.as_array().into_iter().flatten() {
                prefix.part(tool, true);
            }
        }
        for field in ["system", "instructions"] {
            prefix.content(&body[field]);
        }
        for field in ["messages", "input", "prompt"] {
            match &body[field] {
                Value::Array(messages) => {
                    for message in messages {
                        prefix.tag(message["role"].as_str().unwrap_or_default().as_bytes());
                        let content = message.get("content").unwrap_or(message);
                        prefix.content(content);
                        if let Some(calls) = message.get("tool_calls") {
                            prefix.tag(calls.to_string().as_bytes());
                        }
                        prefix.mark(control(message));
                    }
                }
                text => prefix.content(text),
            }
        }
        prefix.mark(control(body));
        prefix
    }

    fn content(&mut self, content: &Value) {
        match content {
            Value::Null => {}
            Value::Array(parts) => parts.iter().for_each(|part| self.part(part, false)),
            part => self.part(part, false),
        }
    }

    fn part(&mut self, part: &Value, tool: bool) {
        if let Some(point) = part.get("cachePoint") {
            return self.mark(Some(keep(point)));
        }
        if tool {
            self.tag(part.to_string().as_bytes());
        } else {
            self.words(part);
        }
        self.end(control(part));
    }

    fn words(&mut self, part: &Value) {
        match part {
            Value::String(text) => self.text(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.words(part)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "text" | "content" => self.words(value),
                        "cache_control" | "type" => {}
                        _ => {
                            self.tag(name.as_bytes());
                            self.tag(value.to_string().as_bytes());
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// The prompt of an in-process request.
    pub(crate) fn of_request(request: &ChatRequest) -> Self {
        let mut prefix = Self::default();
        let marked = |at: CacheAt| {
            let long = |ttl| if ttl == CacheTtl::Long { Keep::Long } else { Keep::Short };
            request.cache.iter().find(|mark| mark.at == at).map(|mark| long(mark.ttl))
        };
        for tool in &request.tools {
            prefix.tag(tool.name.as_bytes());
            prefix.tag(tool.parameters.to_string().as_bytes());
        }
        if !request.tools.is_empty() {
            prefix.end(marked(CacheAt::Tools));
        }
        let system = request.messages.iter().rposition(|m| matches!(m, Message::System { .. }));
        for (i, message) in request.messages.iter().enumerate() {
            prefix.tag(match message {
                Message::System { .. } => b"system",
                Message::User { .. } => b"user",
                Message::Assistant { .. } => b"assistant",
                Message::Tool { .. } => b"tool",
            });
            prefix.text(&message.text());
            let of_system = if system == Some(i) { marked(CacheAt::System) } else { None };
            prefix.end(marked(CacheAt::Message(i)).or(of_system));
        }
        prefix
    }
}

fn keep(mark: &Value) -> Keep {
    if mark["ttl"] == "1h" { Keep::Long } else { Keep::Short }
}

fn control(part: &Value) -> Option<Keep> {
    part.get("cache_control").filter(|c| c.is_object()).map(keep)
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    used: u64,
    tokens: u32,
    until: Option<Timestamp>,
}

/// The prefixes that one engine remembers.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<u64, Entry>,
    /// Hashes by last use; as many as `entries`.
    order: BTreeMap<u64, u64>,
    uses: u64,
    tokens: u64,
}

impl Cache {
    fn has(&self, hash: u64, now: Timestamp) -> bool {
        self.entries.get(&hash).is_some_and(|e| e.until.is_none_or(|until| now < until))
    }

    fn put(&mut self, hash: u64, tokens: u32, until: Option<Timestamp>) {
        self.uses += 1;
        let entry = Entry { used: self.uses, tokens, until };
        self.order.insert(self.uses, hash);
        if let Some(old) = self.entries.insert(hash, entry) {
            self.order.remove(&old.used);
            self.tokens -= u64::from(old.tokens);
        }
        self.tokens += u64::from(tokens);
    }

    /// How much of a prompt is in the cache, and how much a mark adds to it.
    pub(crate) fn find(&self, rules: &PrefixCache, prefix: &Prefix, now: Timestamp) -> Cached {
        if rules.automatic {
            let blocks = prefix.blocks.iter().take_while(|hash| self.has(**hash, now)).count();
            let read = blocks as u32 * BLOCK_TOKENS;
            let read = read - read % rules.step_tokens;
            return Cached { read: if read < rules.min_tokens { 0 } else { read }, write: 0 };
        }
        let Some(last) = prefix.ends.iter().rposition(|end| end.marked.is_some()) else {
            return Cached::default();
        };
        let whole = prefix.ends[last].tokens;
        if whole < rules.min_tokens {
            return Cached::default();
        }
        let near = |i: usize| prefix.ends[i..].iter().take(LOOK_BACK).any(|end| end.marked.is_some());
        let found = (0..=last).rev().find(|i| near(*i) && self.has(prefix.ends[*i].hash, now));
        let read = found.map_or(0, |i| prefix.ends[i].tokens);
        Cached { read, write: whole - read }
    }

    /// Remembers a prompt; what was used longest ago makes room.
    pub(crate) fn remember(&mut self, rules: &PrefixCache, prefix: &Prefix, now: Timestamp) {
        let until = |keep: Keep| {
            let ttl = rules.ttl_s.map(Duration::from_secs_f64)?;
            Some(now + if keep == Keep::Long { LONG.max(ttl) } else { ttl })
        };
        if rules.automatic {
            // The beginning is what others share: it is used last.
            for hash in prefix.blocks.iter().rev() {
                self.put(*hash, BLOCK_TOKENS, until(Keep::Short));
            }
        } else {
            let mut before = 0;
            for end in prefix.ends.iter().filter(|end| end.tokens >= rules.min_tokens) {
                if let Some(keep) = end.marked {
                    self.put(end.hash, end.tokens - before, until(keep));
                    before = end.tokens;
                }
            }
        }
        while self.tokens > rules.capacity_tokens {
            let Some((_, hash)) = self.order.pop_first() else { return };
            if let Some(old) = self.entries.remove(&hash) {
                self.tokens -= u64::from(old.tokens);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(s)
    }

    fn prompt(text: &str) -> Prefix {
        Prefix::of_body(&json!({"messages": [{"role": "user", "content": text}]}))
    }

    #[test]
    fn automatic_prefixes_are_found_as_far_as_they_agree() {
        let rules = PrefixCache { ttl_s: Some(60.0), ..PrefixCache::default() };
        let mut cache = Cache::default();
        let shared = "s".repeat(640);
        let first = prompt(&format!("{shared}{}", "a".repeat(640)));
        let second = prompt(&format!("{shared}{}", "b".repeat(640)));
        assert_eq!(cache.find(&rules, &first, at(0)), Cached::default());
        cache.remember(&rules, &first, at(0));
        assert_eq!(cache.find(&rules, &first, at(1)).read, 320);
        assert_eq!(cache.find(&rules, &second, at(1)).read, 160);
        assert_eq!(cache.find(&rules, &second, at(61)).read, 0, "forgotten");
        let coarse = PrefixCache { step_tokens: 128, min_tokens: 128, ..rules };
        assert_eq!(cache.find(&coarse, &second, at(1)).read, 128);
        let long = PrefixCache { min_tokens: 1024, ..rules };
        assert_eq!(cache.find(&long, &second, at(1)).read, 0);
        let other = Prefix::of_body(&json!({"messages": [{"role": "system", "content": shared}]}));
        assert_eq!(cache.find(&rules, &other, at(1)).read, 0, "another role is another prompt");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let rules = PrefixCache { capacity_tokens: 64, ..PrefixCache::default() };
        let mut cache = Cache::default();
        for text in ["a", "b", "c"] {
            cache.remember(&rules, &prompt(&text.repeat(128)), at(0));
            assert!(cache.tokens <= 64 && cache.entries.len() == cache.order.len());
        }
        let found = |text: &str| cache.find(&rules, &prompt(&text.repeat(128)), at(0)).read;
        assert_eq!((found("a"), found("b"), found("c")), (0, 32, 32));
    }

    #[test]
    fn marked_prefixes_are_written_first_and_read_later() {
        let rules = PrefixCache { min_tokens: 100, ..PrefixCache::marked() };
        let mut cache = Cache::default();
        let body = |question: &str, ttl: Option<&str>| {
            let mut control = json!({"type": "ephemeral"});
            if let Some(ttl) = ttl {
                control["ttl"] = ttl.into();
            }
            Prefix::of_body(&json!({
                "system": [{"type": "text", "text": "s".repeat(400), "cache_control": control}],
                "messages": [{"role": "user", "content": question}]
            }))
        };
        let mut ask = |prefix: &Prefix, s| {
            let cached = cache.find(&rules, prefix, at(s));
            cache.remember(&rules, prefix, at(s));
            (cached.read, cached.write)
        };
        assert_eq!(ask(&body("why?", None), 0), (0, 100));
        assert_eq!(ask(&body("how?", None), 200), (100, 0), "a use renews it");
        assert_eq!(ask(&body("how?", None), 450), (100, 0));
        assert_eq!(ask(&body("how?", None), 800), (0, 100), "five minutes are over");
        assert_eq!(ask(&body("how?", Some("1h")), 801), (100, 0));
        assert_eq!(ask(&body("how?", None), 4_000), (100, 0));
        assert_eq!(ask(&prompt(&"u".repeat(4_000)), 801), (0, 0), "not marked");
        // A conversation that grows: the mark moves, the earlier one is found.
        let turn = |n: usize| {
            let mut messages: Vec<_> = (0..n)
                .map(|i| json!({"role": "user", "content": [{"text": format!("{i}").repeat(400)}]}))
                .collect();
            messages.push(json!({"role": "user", "content": [{"text": "x".repeat(40)}, {"cachePoint": {"type": "default"}}]}));
            Prefix::of_body(&json!({"messages": messages}))
        };
        assert_eq!(ask(&turn(1), 10), (0, 110));
        assert_eq!(ask(&turn(1), 11), (110, 0));
        let mut grown = turn(1);
        grown.words(&json!("y".repeat(400)));
        grown.end(Some(Keep::Short));
        assert_eq!(ask(&grown, 12), (110, 100));
    }
}
