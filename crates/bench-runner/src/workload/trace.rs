//! Reads recorded traces: Mooncake's JSON Lines, Azure's and BurstGPT's CSV, and JSON Lines of one's own.
//!
//! What is read: when each request came, how long prompt and answer were, and which blocks of the prompt were shared.
//! Rows are ordered by time; a row that cannot be read is an error that names file, line and field, never skipped.

use std::{path::Path, time::Duration};

use llms_core::{
    Error, ErrorCode, Message, Result,
    bench::{Trace, TraceFormat, TraceInput, TraceRequest, TraceRequests},
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{csv, hash::hex, prompts};

/// Reads the file of a trace and fills in its requests and their hash. A relative file lies below `base`.
///
/// # Errors
/// `invalid_config` with file, line and field.
pub fn read_trace(trace: &mut Trace, base: &Path) -> Result<()> {
    let path = base.join(&trace.file);
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .map_err(|e| wrong(format!("cannot read the trace `{name}`")).with_source(e))?;
    fill(trace, &text, &name)
}

/// Fills in a trace from the text of its file; `name` stands in messages.
///
/// # Errors
/// `invalid_config` with name, line and field.
pub fn parse_trace(trace: &mut Trace, text: &str, name: &str) -> Result<()> {
    fill(trace, text, name)
}

fn fill(trace: &mut Trace, text: &str, name: &str) -> Result<()> {
    let format = match trace.format {
        Some(format) => format,
        None => guess(text).ok_or_else(|| {
            wrong(format!(
                "{name}:1: expected JSON Lines with timestamp or offset_ms, or CSV with the columns of Azure \
                 (TIMESTAMP, ContextTokens, GeneratedTokens) or BurstGPT (Timestamp, Request tokens, Response \
                 tokens); else say which format it is"
            ))
        })?,
    };
    let mut rows = match format {
        TraceFormat::Mooncake | TraceFormat::Jsonl => json_lines(text, name, format)?,
        TraceFormat::Azure => {
            table(text, name, ["TIMESTAMP", "ContextTokens", "GeneratedTokens"], clock_text)?
        }
        TraceFormat::BurstGpt => {
            table(text, name, ["Timestamp", "Request tokens", "Response tokens"], seconds)?
        }
    };
    rows.sort_by_key(|(at, _)| *at);
    let first = rows.first().map_or(0, |(at, _)| *at);
    let start = i128::try_from(trace.start.as_nanos()).unwrap_or(i128::MAX);
    let end = trace.length.map_or(i128::MAX, |l| start.saturating_add_unsigned(l.as_nanos()));
    let requests: Vec<TraceRequest> = rows
        .into_iter()
        .filter(|(at, _)| (start..end).contains(&(at - first)))
        .map(|(at, request)| {
            let offset = u64::try_from(at - first - start).unwrap_or(u64::MAX);
            TraceRequest { offset: Duration::from_nanos(offset), ..request }
        })
        .collect();
    if requests.is_empty() {
        return Err(wrong(format!(
            "expected at least one request in the part of `{name}` to play, found none"
        )));
    }
    trace.format = Some(format);
    trace.sha256 = Some(fingerprint(&requests));
    trace.requests = TraceRequests::new(requests);
    Ok(())
}

fn wrong(message: String) -> Error {
    Error::new("trace.read", ErrorCode::InvalidConfig, message)
}

fn guess(text: &str) -> Option<TraceFormat> {
    let first = text.lines().find(|l| !l.trim().is_empty())?.trim_start_matches('\u{feff}');
    if first.trim_start().starts_with('{') {
        let row: Map<String, Value> = serde_json::from_str(first).ok()?;
        let mooncake = row.contains_key("input_length");
        return Some(if mooncake { TraceFormat::Mooncake } else { TraceFormat::Jsonl });
    }
    let columns: Vec<&str> = first.split(',').map(str::trim).collect();
    let has = |name: &str| columns.contains(&name);
    match () {
        () if has("ContextTokens") => Some(TraceFormat::Azure),
        () if has("Request tokens") => Some(TraceFormat::BurstGpt),
        () => None,
    }
}

/// SHA-256 over one JSON line per request.
fn fingerprint(requests: &[TraceRequest]) -> String {
    let mut hash = Sha256::new();
    for request in requests {
        hash.update(serde_json::to_vec(request).expect("invariant: plain data with text keys"));
        hash.update(b"\n");
    }
    hex(&hash.finalize())
}

/// A row: nanoseconds on the file's own clock, and the request with its offset still open.
type Row = (i128, TraceRequest);

/// A request of recorded lengths. Providers accept no fewer than 1 token of either: failed requests, which some traces
/// record with 0, are played as the shortest there are.
fn sized(input: TraceInput, output: Option<u64>) -> TraceRequest {
    let output_tokens = output.map(|n| u32::try_from(n.max(1)).unwrap_or(u32::MAX));
    TraceRequest { offset: Duration::ZERO, input, output_tokens }
}

fn tokens(n: u64) -> u32 {
    u32::try_from(n.max(1)).unwrap_or(u32::MAX)
}

fn table(
    text: &str,
    name: &str,
    columns: [&str; 3],
    moment: impl Fn(&str) -> Option<i128>,
) -> Result<Vec<Row>> {
    let rows = csv::parse(text).map_err(|line| {
        wrong(format!("{name}:{line}: expected a closing quote, found the end of the file"))
    })?;
    let mut rows = rows.into_iter();
    let (at, header) = rows.next().ok_or_else(|| wrong(format!("{name}:1: expected a header line")))?;
    let find = |column: &str| {
        header.iter().position(|h| h.trim() == column).ok_or_else(|| {
            wrong(format!("{name}:{at}: expected a column `{column}`, found {}", header.join(",")))
        })
    };
    let [when, input, output] = [find(columns[0])?, find(columns[1])?, find(columns[2])?];
    rows.map(|(line, row)| {
        let field = |index: usize| row.get(index).map_or("", |f| f.trim());
        let bad = |index: usize, expected: &str| {
            let (column, found) = (&header[index], field(index));
            wrong(format!("{name}:{line}: {column}: expected {expected}, found `{found}`"))
        };
        // Some exports write counts as 374.0.
        let count = |index: usize| {
            let number =
                field(index).parse::<f64>().ok().filter(|n| n.fract() == 0.0 && (0.0..=4e9).contains(n));
            number.map(|n| n as u64).ok_or_else(|| bad(index, "a number of tokens"))
        };
        let at = moment(field(when)).ok_or_else(|| bad(when, "a time"))?;
        Ok((at, sized(TraceInput::Tokens(tokens(count(input)?)), Some(count(output)?))))
    })
    .collect()
}

/// Seconds from the start, possibly with a fraction.
fn seconds(text: &str) -> Option<i128> {
    let s = text.parse::<f64>().ok().filter(|s| (0.0..=1e10).contains(s))?;
    Some((s * 1e9).round() as i128)
}

/// `2023-11-16 18:15:46.6805900`, with or without an offset from UTC (`+00:00`, `Z`).
fn clock_text(text: &str) -> Option<i128> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut ymd = date.split('-');
    let mut part = || ymd.next()?.parse::<u16>().ok();
    let (year, month, day) = (part()?, part()?, part()?);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    let (time, offset) = match time.find(['+', '-', 'Z']) {
        Some(at) => (&time[..at], &time[at..]),
        None => (time, ""),
    };
    let mut hms = time.split(':');
    let (hour, minute): (i128, i128) = (hms.next()?.parse().ok()?, hms.next()?.parse().ok()?);
    let (second, fraction) = {
        let s = hms.next()?;
        s.split_once('.').unwrap_or((s, ""))
    };
    if hms.next().is_some() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let second: i128 = second.parse().ok()?;
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let east: i128 = match offset {
        "" | "Z" => 0,
        _ => {
            let (h, m) = offset[1..].split_once(':').unwrap_or((&offset[1..], "0"));
            let minutes = h.parse::<i128>().ok()? * 60 + m.parse::<i128>().ok()?;
            if offset.starts_with('-') { -minutes } else { minutes }
        }
    };
    let days = i128::from(date.to_julian_day());
    Some((((days * 24 + hour) * 60 + minute - east) * 60 + second) * 1_000_000_000 + nanos)
}

fn json_lines(text: &str, name: &str, format: TraceFormat) -> Result<Vec<Row>> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line): (usize, &str)| {
            let row: Map<String, Value> = serde_json::from_str(line.trim_start_matches('\u{feff}'))
                .map_err(|e| wrong(format!("{name}:{n}: expected a JSON object")).with_source(e))?;
            let row = Fields { row, place: format!("{name}:{n}") };
            if format == TraceFormat::Mooncake { row.mooncake() } else { row.plain() }
        })
        .collect()
}

struct Fields {
    row: Map<String, Value>,
    place: String,
}

impl Fields {
    fn bad(&self, field: &str, expected: &str) -> Error {
        let found = self.row.get(field).map_or_else(|| "nothing".to_owned(), Value::to_string);
        let found: String = found.chars().take(80).collect();
        wrong(format!("{}: {field}: expected {expected}, found {found}", self.place))
    }

    fn count(&self, field: &str) -> Result<u64> {
        let n = self.row.get(field).and_then(Value::as_u64);
        n.ok_or_else(|| self.bad(field, "a number of tokens"))
    }

    /// Milliseconds, as a number.
    fn millis(&self, field: &str) -> Result<i128> {
        let ms = self.row.get(field).and_then(Value::as_f64).filter(|ms| (0.0..=1e13).contains(ms));
        ms.map(|ms| (ms * 1e6).round() as i128).ok_or_else(|| self.bad(field, "milliseconds, 0 or more"))
    }

    fn mooncake(self) -> Result<Row> {
        let at = self.millis("timestamp")?;
        let length = tokens(self.count("input_length")?);
        let output = self.count("output_length")?;
        let input = match self.row.get("hash_ids") {
            None => TraceInput::Tokens(length),
            Some(ids) => {
                let ids: Option<Vec<u64>> =
                    ids.as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect());
                let hash_ids = ids.ok_or_else(|| self.bad("hash_ids", "a list of whole numbers"))?;
                TraceInput::Blocks { tokens: length, hash_ids }
            }
        };
        Ok((at, sized(input, Some(output))))
    }

    fn plain(self) -> Result<Row> {
        let at = if self.row.contains_key("offset_ms") {
            self.millis("offset_ms")?
        } else if let Some(text) = self.row.get("timestamp").and_then(Value::as_str) {
            let moment = OffsetDateTime::parse(text, &Rfc3339);
            moment
                .map_err(|_| self.bad("timestamp", "milliseconds, or a time such as 2026-01-31T12:00:00Z"))?
                .unix_timestamp_nanos()
        } else {
            self.millis("timestamp")?
        };
        let input = if self.row.contains_key("messages") {
            let messages: Option<Vec<Message>> =
                self.row["messages"].as_array().and_then(|list| list.iter().map(prompts::message).collect());
            let messages = messages.filter(|m| !m.is_empty());
            TraceInput::Messages(messages.ok_or_else(|| self.bad("messages", "a list of { role, content }"))?)
        } else if self.row.contains_key("prompt") {
            let text = self.row["prompt"].as_str().ok_or_else(|| self.bad("prompt", "a text"))?;
            TraceInput::Messages(vec![Message::user(text)])
        } else if self.row.contains_key("input_tokens") {
            TraceInput::Tokens(tokens(self.count("input_tokens")?))
        } else {
            return Err(wrong(format!("{}: expected prompt, messages or input_tokens", self.place)));
        };
        let output =
            self.row.contains_key("output_tokens").then(|| self.count("output_tokens")).transpose()?;
        Ok((at, sized(input, output)))
    }
}
