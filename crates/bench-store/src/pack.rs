//! The scalars of one record as a row of bytes: everything but its chunk stamps, which stand in columns.
//!
//! A row is a number of flags (which fields are there), then the fields that are, in a fixed order: whole numbers and distances
//! of stamps with seven bits a byte, strings once a block and by their number afterwards. What is rare (errors, connection
//! phases) stands as JSON, so that new fields of these need no new format.
//!
//! `write` and `read` mirror each other line by line; both name every field, so that one added to the record does not
//! compile before it is stored.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use llms_core::{
    FinishReason, Stamp, Usage,
    bench::{ErrorRecord, RecordOutcome, RequestRecord, RunPhase, TokenCounts},
    observe::{ConnectionInfo, Reported, Span},
    time::Timestamp,
    wire::StampSource,
};
use serde::{Deserialize, Serialize};

/// Strings of a block by their number.
#[derive(Default)]
pub(crate) struct Strings(HashMap<Box<str>, u64>);

impl Strings {
    /// Forgets them: a block is read on its own.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Phases of a connection that was opened within the call.
#[derive(Default, Serialize, Deserialize)]
struct Opened {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dns: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_resumed: Option<bool>,
}

const PHASES: [RunPhase; 4] = [RunPhase::Warmup, RunPhase::RampUp, RunPhase::Measured, RunPhase::Replayed];
const FINISHES: [FinishReason; 4] =
    [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls, FinishReason::ContentFilter];
const SOURCES: [StampSource; 2] = [StampSource::Kernel, StampSource::User];

/// Appends `record` without its chunks to `rows`.
///
/// # Errors
/// When a rare part cannot be written as JSON.
pub(crate) fn write(record: &RequestRecord, strings: &mut Strings, rows: &mut Vec<u8>) -> Result<(), String> {
    let RequestRecord {
        request_id,
        target,
        block,
        position,
        attempt,
        prompt,
        phase,
        session,
        turn,
        scheduled,
        released,
        sent,
        connection,
        resent,
        written,
        headers,
        status,
        first_byte,
        first_answer,
        chunks: _,
        end,
        tokens: TokenCounts { usage, tokenizer, chars },
        finish_reason,
        model,
        bytes_out,
        bytes_in,
        reads,
        reported,
        outcome,
    } = record;
    let mut row = Row { flags: 0, bits: 0, out: rows, strings, before: *scheduled };
    // The flags come first and are known last: room for all of them.
    let at = row.out.len();
    row.out.extend_from_slice(&[0; 8]);

    row.text(request_id);
    row.string(prompt);
    row.number(u64::from(*target));
    row.number(*block);
    row.number(u64::from(*position));
    row.number(u64::from(*attempt));
    row.number(place(&PHASES, phase));
    row.maybe(*session);
    row.maybe(turn.map(u64::from));
    row.number(scheduled.as_nanos());
    row.instant(Some(*released));
    row.instant(*sent);
    row.instant(*written);
    row.stamp(*headers);
    row.stamp(*first_byte);
    row.instant(*end);
    row.maybe(status.map(u64::from));
    row.maybe(first_answer.map(u64::from));
    row.maybe(*bytes_out);
    row.maybe(*bytes_in);
    row.maybe(reads.map(u64::from));
    row.flag(*resent);
    row.connection(connection)?;
    row.number(*chars);
    row.maybe(*tokenizer);
    row.usage(*usage);
    row.flag(finish_reason.is_some());
    if let Some(reason) = finish_reason {
        row.number(place(&FINISHES, reason));
        if let FinishReason::Other(word) = reason {
            row.string(word);
        }
    }
    row.flag(model.is_some());
    if let Some(model) = model {
        row.string(model);
    }
    row.number(reported.len() as u64);
    for (key, value) in reported {
        row.string(key);
        match value {
            Reported::Number(x) => {
                row.out.push(0);
                row.out.extend_from_slice(&x.to_bits().to_le_bytes());
            }
            Reported::Text(text) => {
                row.out.push(1);
                row.text(text);
            }
        }
    }
    let failure = if let RecordOutcome::Failed(e) = outcome { Some(e) } else { None };
    row.flag(*outcome == RecordOutcome::Censored);
    row.json(failure)?;

    let flags = row.flags.to_le_bytes();
    rows[at..at + 8].copy_from_slice(&flags);
    Ok(())
}

/// Where `item` stands among `all`; their number when it does not.
fn place<T: PartialEq>(all: &[T], item: &T) -> u64 {
    all.iter().position(|known| known == item).unwrap_or(all.len()) as u64
}

/// A row while it is written.
struct Row<'a> {
    flags: u64,
    bits: u32,
    out: &'a mut Vec<u8>,
    strings: &'a mut Strings,
    /// The instant written last, of which the next is a distance.
    before: Timestamp,
}

impl Row<'_> {
    fn flag(&mut self, is: bool) {
        self.flags |= u64::from(is) << self.bits;
        self.bits += 1;
    }

    fn number(&mut self, mut n: u64) {
        while 0x80 <= n {
            self.out.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.out.push(n as u8);
    }

    fn maybe(&mut self, n: Option<u64>) {
        self.flag(n.is_some());
        if let Some(n) = n {
            self.number(n);
        }
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Its number; the first time the next free one and the string.
    fn string(&mut self, text: &str) {
        let free = self.strings.0.len() as u64;
        if let Some(number) = self.strings.0.get(text).copied() {
            self.number(number);
        } else {
            self.strings.0.insert(text.into(), free);
            self.number(free);
            self.text(text);
        }
    }

    fn distance(&mut self, at: Timestamp) {
        self.number(zigzag(at.as_nanos().wrapping_sub(self.before.as_nanos())));
        self.before = at;
    }

    fn instant(&mut self, at: Option<Timestamp>) {
        self.flag(at.is_some());
        if let Some(at) = at {
            self.distance(at);
        }
    }

    fn stamp(&mut self, stamp: Option<Stamp>) {
        self.flag(stamp.is_some());
        let Some(Stamp { user, kernel, read }) = stamp else {
            self.bits += 1;
            return;
        };
        self.distance(user);
        self.maybe(kernel.map(|k| zigzag(user.as_nanos().wrapping_sub(k.as_nanos()))));
        self.number(u64::from(read));
    }

    fn json<T: Serialize>(&mut self, part: Option<&T>) -> Result<(), String> {
        self.flag(part.is_some());
        if let Some(part) = part {
            let text = serde_json::to_string(part).map_err(|e| format!("cannot write a record: {e}"))?;
            self.text(&text);
        }
        Ok(())
    }

    fn connection(&mut self, connection: &ConnectionInfo) -> Result<(), String> {
        let ConnectionInfo { reused, dns, tcp, tls, tls_resumed, protocol, stamps } = connection;
        self.maybe(reused.map(u64::from));
        self.flag(protocol.is_some());
        if let Some(protocol) = protocol {
            self.string(protocol);
        }
        self.maybe(stamps.map(|s| place(&SOURCES, &s)));
        let (dns, tcp, tls, tls_resumed) = (*dns, *tcp, *tls, *tls_resumed);
        let opened = dns.is_some() || tcp.is_some() || tls.is_some() || tls_resumed.is_some();
        self.json(opened.then_some(Opened { dns, tcp, tls, tls_resumed }).as_ref())
    }

    fn usage(&mut self, usage: Option<Usage>) {
        self.flag(usage.is_some());
        let Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens,
            audio_input_tokens,
            audio_output_tokens,
            total_tokens,
        } = usage.unwrap_or_default();
        for n in [
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens,
            audio_input_tokens,
            audio_output_tokens,
            total_tokens,
        ] {
            self.maybe(n);
        }
    }
}

/// Rows of a block, read from its beginning.
pub(crate) struct Rows<'a> {
    bytes: &'a [u8],
    strings: Vec<Arc<str>>,
    flags: u64,
    before: Timestamp,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, strings: Vec::new(), flags: 0, before: Timestamp::ZERO }
    }

    /// Whether all was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next record, without its chunks.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn read(&mut self) -> Result<RequestRecord, String> {
        self.flags = u64::from_le_bytes(self.take()?);
        let request_id = Arc::from(self.text()?);
        let prompt = self.string()?;
        let target = self.small()?;
        let block = self.number()?;
        let position = self.small()?;
        let attempt = self.small()?;
        let phase = self.number()?;
        let phase = *known(&PHASES, phase)?;
        let session = self.maybe()?;
        let turn = self.maybe_small()?;
        let scheduled = Timestamp::from_nanos(self.number()?);
        self.before = scheduled;
        let released = self.instant()?.ok_or("a record has no release")?;
        let sent = self.instant()?;
        let written = self.instant()?;
        let headers = self.stamp()?;
        let first_byte = self.stamp()?;
        let end = self.instant()?;
        let status = self.maybe_small()?;
        let first_answer = self.maybe_small()?;
        let bytes_out = self.maybe()?;
        let bytes_in = self.maybe()?;
        let reads = self.maybe_small()?;
        let resent = self.flag();
        let connection = self.connection()?;
        let chars = self.number()?;
        let tokenizer = self.maybe()?;
        let usage = self.usage()?;
        let finish_reason = if self.flag() {
            let n = self.number()?;
            Some(match known(&FINISHES, n) {
                Ok(reason) => reason.clone(),
                Err(_) => FinishReason::Other(self.string()?.as_ref().to_owned()),
            })
        } else {
            None
        };
        let model = if self.flag() { Some(self.string()?.as_ref().to_owned()) } else { None };
        let mut reported = BTreeMap::new();
        for _ in 0..self.number()? {
            let key = self.string()?.as_ref().to_owned();
            let value = match self.take::<1>()? {
                [0] => Reported::Number(f64::from_bits(u64::from_le_bytes(self.take()?))),
                _ => Reported::Text(self.text()?.to_owned()),
            };
            reported.insert(key, value);
        }
        let censored = self.flag();
        let failure: Option<ErrorRecord> = self.json()?;
        Ok(RequestRecord {
            request_id,
            target,
            block,
            position,
            attempt,
            prompt,
            phase,
            session,
            turn,
            scheduled,
            released,
            sent,
            connection,
            resent,
            written,
            headers,
            status,
            first_byte,
            first_answer,
            chunks: Vec::new(),
            end,
            tokens: TokenCounts { usage, tokenizer, chars },
            finish_reason,
            model,
            bytes_out,
            bytes_in,
            reads,
            reported,
            outcome: match failure {
                Some(e) => RecordOutcome::Failed(e),
                None if censored => RecordOutcome::Censored,
                None => RecordOutcome::Ok,
            },
        })
    }

    fn flag(&mut self) -> bool {
        let is = self.flags & 1 == 1;
        self.flags >>= 1;
        is
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.bytes.split_at_checked(n).ok_or("a record ends too early")?;
        self.bytes = rest;
        Ok(head)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.bytes(N)?.try_into().expect("invariant: so many were taken"))
    }

    fn number(&mut self) -> Result<u64, String> {
        let (mut n, mut shift) = (0_u64, 0);
        loop {
            let [byte] = self.take()?;
            if shift > 63 {
                return Err("a number of a record is too long".to_owned());
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
            shift += 7;
        }
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, String> {
        T::try_from(self.number()?).map_err(|_| "a number of a record is too large".to_owned())
    }

    fn maybe(&mut self) -> Result<Option<u64>, String> {
        if self.flag() { self.number().map(Some) } else { Ok(None) }
    }

    fn maybe_small<T: TryFrom<u64>>(&mut self) -> Result<Option<T>, String> {
        if self.flag() { self.small().map(Some) } else { Ok(None) }
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let n = self.small()?;
        std::str::from_utf8(self.bytes(n)?).map_err(|_| "a string of a record is no UTF-8".to_owned())
    }

    fn string(&mut self) -> Result<Arc<str>, String> {
        let number: usize = self.small()?;
        if number == self.strings.len() {
            let new = Arc::from(self.text()?);
            self.strings.push(new);
        }
        self.strings.get(number).cloned().ok_or_else(|| "a string of a record is missing".to_owned())
    }

    fn distance(&mut self) -> Result<Timestamp, String> {
        let nanos = self.before.as_nanos().wrapping_add(unzigzag(self.number()?));
        self.before = Timestamp::from_nanos(nanos);
        Ok(self.before)
    }

    fn instant(&mut self) -> Result<Option<Timestamp>, String> {
        if self.flag() { self.distance().map(Some) } else { Ok(None) }
    }

    fn stamp(&mut self) -> Result<Option<Stamp>, String> {
        if !self.flag() {
            self.flag();
            return Ok(None);
        }
        let user = self.distance()?;
        let below = self.maybe()?;
        let kernel = below.map(|d| Timestamp::from_nanos(user.as_nanos().wrapping_sub(unzigzag(d))));
        Ok(Some(Stamp { user, kernel, read: self.small()? }))
    }

    fn json<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, String> {
        if !self.flag() {
            return Ok(None);
        }
        serde_json::from_str(self.text()?).map(Some).map_err(|e| format!("cannot read a record: {e}"))
    }

    fn connection(&mut self) -> Result<ConnectionInfo, String> {
        let reused = self.maybe()?.map(|n| n == 1);
        let protocol = if self.flag() { Some(self.string()?.as_ref().to_owned()) } else { None };
        let stamps = self.maybe()?.map(|n| known(&SOURCES, n).copied()).transpose()?;
        let Opened { dns, tcp, tls, tls_resumed } = self.json()?.unwrap_or_default();
        Ok(ConnectionInfo { reused, dns, tcp, tls, tls_resumed, protocol, stamps })
    }

    fn usage(&mut self) -> Result<Option<Usage>, String> {
        let there = self.flag();
        let usage = Usage {
            input_tokens: self.maybe()?,
            output_tokens: self.maybe()?,
            cache_read_tokens: self.maybe()?,
            cache_write_tokens: self.maybe()?,
            reasoning_tokens: self.maybe()?,
            audio_input_tokens: self.maybe()?,
            audio_output_tokens: self.maybe()?,
            total_tokens: self.maybe()?,
        };
        Ok(there.then_some(usage))
    }
}

fn known<T>(all: &[T], place: u64) -> Result<&T, String> {
    usize::try_from(place)
        .ok()
        .and_then(|i| all.get(i))
        .ok_or_else(|| "a record has an unknown word".to_owned())
}

/// Small distances in either direction are small numbers.
fn zigzag(n: u64) -> u64 {
    (n << 1) ^ ((n as i64 >> 63) as u64)
}

fn unzigzag(n: u64) -> u64 {
    (n >> 1) ^ (n & 1).wrapping_neg()
}
