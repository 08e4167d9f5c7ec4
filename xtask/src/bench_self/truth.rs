//! A client's records held against the truth log of the server: distances in milliseconds, pure but for reading the files.
//!
//! The two logs share `CLOCK_MONOTONIC`. A write took place between two instants; a stamp is wrong by its distance from
//! that bracket. Chunks that one read brought share its stamp: their gaps are unknown and are counted, not measured.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

/// Distances from the truth, unsigned unless said otherwise, in ms.
#[derive(Default)]
pub(crate) struct Account {
    /// Arrival as reported (the kernel's stamp where there is one), chunks alone in their read.
    pub(crate) arrival: Vec<f64>,
    /// The same by the stamp of user space.
    pub(crate) user: Vec<f64>,
    /// Time to the first token as reported.
    pub(crate) ttft: Vec<f64>,
    /// Gaps whose ends lie in different reads.
    pub(crate) gap: Vec<f64>,
    /// From sending to the last token, as a share of the truth.
    pub(crate) e2e_share: Vec<f64>,
    /// `sent` to the server's arrival by its kernel stamp; signed.
    pub(crate) sent: Vec<f64>,
    /// Released to sent: the client's own lateness.
    pub(crate) send_lag: Vec<f64>,
    /// Gaps within one read.
    merged: u64,
    gaps: u64,
    /// Answers that failed, or whose chunks are not those that the server wrote.
    pub(crate) wrong: u64,
    pub(crate) answers: u64,
    /// First release to last end, in seconds.
    pub(crate) window_s: f64,
}

impl Account {
    /// Share of gaps that lie within one read.
    pub(crate) fn merged_share(&self) -> Option<f64> {
        (self.gaps > 0).then(|| self.merged as f64 / self.gaps as f64)
    }
}

/// One answer as the server wrote it: arrival, and the bracket of each token's write.
struct Written {
    arrival: u64,
    tokens: Vec<(u64, u64)>,
}

/// Reads both files and holds one against the other. `truth` is absent when nothing of the server's is wanted.
pub(crate) fn hold(records: &Path, truth: Option<&Path>) -> Result<Account, String> {
    let mut written = HashMap::new();
    if let Some(path) = truth {
        lines(path, |v| {
            let id = v["request_id"].as_str().unwrap_or_default().to_owned();
            let writes = v["writes"].as_array().into_iter().flatten();
            let tokens = writes
                .flat_map(|w| {
                    let n = w[2].as_u64().unwrap_or(0) as usize;
                    std::iter::repeat_n((w[0].as_u64().unwrap_or(0), w[1].as_u64().unwrap_or(0)), n)
                })
                .collect();
            written.insert(id, Written { arrival: v["arrival_ns"].as_u64().unwrap_or(0), tokens });
        })?;
    }
    let mut account = Account::default();
    let (mut first, mut last) = (u64::MAX, 0);
    lines(records, |v| {
        if v["phase"] == "warmup" {
            return;
        }
        account.answers += 1;
        let start = v["start_ns"].as_u64();
        let released = v["released_ns"].as_u64().or(start);
        if let (Some(start), Some(released)) = (start, released) {
            account.send_lag.push(ms(start, released));
            first = first.min(released);
        }
        last = last.max(v["end_ns"].as_u64().unwrap_or(0));
        let failed = !v["error"].is_null();
        account.wrong += u64::from(failed);
        if truth.is_some() && !failed {
            let id = v["request_id"].as_str().unwrap_or_default();
            let told = start.zip(written.get(id));
            if told.is_none_or(|(start, w)| !account.one(&v, start, w)) {
                account.wrong += 1;
            }
        }
    })?;
    account.window_s = last.saturating_sub(first) as f64 / 1e9;
    Ok(account)
}

impl Account {
    /// Whether the record has as many chunks as were written.
    fn one(&mut self, record: &Value, start: u64, written: &Written) -> bool {
        let arrivals = stamps(&record["token_ns"]);
        let mut user = stamps(&record["user_ns"]);
        if user.is_empty() {
            user.clone_from(&arrivals);
        }
        if arrivals.len() != written.tokens.len() || user.len() != arrivals.len() {
            return false;
        }
        self.sent.push(ms(written.arrival, start));
        if let (Some(at), Some(&(before, after))) = (arrivals.first(), written.tokens.first()) {
            let truth = (ms(before, written.arrival), ms(after, written.arrival));
            self.ttft.push(outside(ms(*at, start), truth));
        }
        if let (Some(at), Some(&(before, after))) = (arrivals.last(), written.tokens.last()) {
            let truth = (ms(before, written.arrival), ms(after, written.arrival));
            self.e2e_share.push(outside(ms(*at, start), truth) / truth.0);
        }
        for (i, (at, &(before, after))) in arrivals.iter().zip(&written.tokens).enumerate() {
            let alone = (i == 0 || user[i - 1] != user[i]) && user.get(i + 1) != Some(&user[i]);
            if alone {
                let bracket = (0.0, ms(after, before));
                self.arrival.push(outside(ms(*at, before), bracket));
                self.user.push(outside(ms(user[i], before), bracket));
            }
        }
        for i in 1..arrivals.len() {
            self.gaps += 1;
            if user[i] == user[i - 1] {
                self.merged += 1;
                continue;
            }
            let (a, b) = (written.tokens[i - 1], written.tokens[i]);
            self.gap.push(outside(ms(arrivals[i], arrivals[i - 1]), (ms(b.0, a.1), ms(b.1, a.0))));
        }
        true
    }
}

fn stamps(list: &Value) -> Vec<u64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

/// From `start` to `at`, in ms; negative when `at` is earlier.
fn ms(at: u64, start: u64) -> f64 {
    (i128::from(at) - i128::from(start)) as f64 / 1e6
}

/// How far a value lies outside a bracket.
fn outside(value: f64, (least, most): (f64, f64)) -> f64 {
    (least - value).max(value - most).max(0.0)
}

fn lines(path: &Path, mut each: impl FnMut(Value)) -> Result<(), String> {
    let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    for (n, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let value =
            serde_json::from_str(&line).map_err(|e| format!("{}, line {}: {e}", path.display(), n + 1))?;
        each(value);
    }
    Ok(())
}

/// The type 7 quantile; `None` without values.
pub(crate) fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len().checked_sub(1)? as f64 * p;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    // Two that are infinite are equal too.
    Some(if low == high { low } else { low + (high - low) * at.fract() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn quantiles_of_type_7() {
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0], 1.0), Some(2.0));
        assert_eq!(quantile(&[f64::INFINITY], 0.5), Some(f64::INFINITY));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_record_against_a_truth() {
        let dir = std::env::temp_dir().join(format!("bench-self-truth-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (records, truth) = (dir.join("r"), dir.join("t"));
        // Three tokens: the first alone in its read and 1 ms late, the others in one read.
        fs::write(
            &truth,
            "{\"request_id\":\"a\",\"arrival_ns\":2000000,\"writes\":[[9000000,10000000,1],[20000000,21000000,2]]}\n",
        )
        .unwrap();
        let record = "{\"request_id\":\"a\",\"released_ns\":500000,\"start_ns\":1000000,\"token_ns\":[11000000,20500000,\
                      20500000],\"user_ns\":[12000000,22000000,22000000],\"end_ns\":23000000,\"error\":null}\n";
        fs::write(&records, record.to_owned() + "{\"request_id\":\"b\",\"start_ns\":1,\"error\":null}\n")
            .unwrap();
        let account = hold(&records, Some(&truth)).unwrap();
        assert_eq!(account.arrival, [1.0]);
        assert_eq!(account.user, [2.0]);
        // Reported 10 ms; really between 7 and 8.
        assert_eq!(account.ttft, [2.0]);
        // Reported 9.5 ms; really between 10 and 12.
        assert_eq!(account.gap, [0.5]);
        assert_eq!(account.sent, [1.0]);
        // Reported 19.5 ms; really between 18 and 19.
        assert_eq!(account.e2e_share, [0.5 / 18.0]);
        assert_eq!(account.merged_share(), Some(0.5));
        assert_eq!((account.answers, account.wrong), (2, 1), "b is not in the truth");
        fs::remove_dir_all(dir).unwrap();
    }
}
