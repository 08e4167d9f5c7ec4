//! Tokens and dollars of a plan. Three figures each: the least that is likely, the likely one where a pilot or a recorded length
//! tells it, and the worst case that a budget would set aside.

use bench_analysis::cost::{Price, Prices};
use bench_runner::{
    Schedule, most_input,
    workload::{made_prompt, planned_tokens},
};
use llms_core::{
    ChatRequest, Message,
    bench::{Prompt, Scenario, TargetInfo, TokenCounter},
};
use rust_decimal::{Decimal, prelude::FromPrimitive};
use serde::Serialize;

use super::Forecast;

/// Bytes of a token of English text, where no tokenizer counts.
const BYTES_A_TOKEN: f64 = 4.0;
/// Requests whose lengths are drawn one by one; beyond, their mean is taken.
const DRAWN: u64 = 20_000;
/// Requests whose texts are made for the worst case.
const MADE: u64 = 200;

/// Tokens of all requests of one target, warm-up and ramp-up included.
#[derive(Clone, Debug, Default)]
pub(super) struct Volume {
    known: bool,
    input: f64,
    /// `None` with images or documents.
    input_most: Option<f64>,
    output: Option<f64>,
    output_most: Option<f64>,
    counted_by: String,
    /// The worst case of one request.
    largest: (u64, Option<u64>),
}

/// What one request takes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    input: f64,
    most: Option<u64>,
    output: Option<f64>,
    output_most: Option<u64>,
}

/// Tokens and dollars of one target.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TargetVolume {
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) endpoint: Option<String>,
    pub(super) input_tokens: Option<u64>,
    /// As budgets reckon: a token a byte.
    pub(super) input_tokens_at_most: Option<u64>,
    /// Where a pilot or recorded lengths tell.
    pub(super) output_tokens: Option<u64>,
    pub(super) output_tokens_at_most: Option<u64>,
    /// What counted the input.
    pub(super) counted_by: String,
    /// The input alone.
    pub(super) usd_at_least: Option<Decimal>,
    /// With the answers expected.
    pub(super) usd_expected: Option<Decimal>,
    /// The expected input, and every answer as long as its limit.
    pub(super) usd_full_answers: Option<Decimal>,
    /// What a budget would set aside.
    pub(super) usd_at_most: Option<Decimal>,
    pub(super) price_source: Option<String>,
    pub(super) price_date: Option<String>,
    /// Why there are no dollars.
    pub(super) no_cost: Option<String>,
    /// The worst case of the largest request.
    #[serde(skip)]
    largest_usd: Option<Decimal>,
}

/// Least, full and worst sums, and the worst of one request.
pub(super) type Sum = (Option<Decimal>, Option<Decimal>, Option<Decimal>, Option<Decimal>);

impl Volume {
    /// Of `requests` measured requests of a resolved scenario, its warm-up and its ramp-up.
    pub(super) fn of(
        scenario: &Scenario,
        schedule: &Schedule,
        counter: Option<&dyn TokenCounter>,
        requests: Option<u64>,
        answer: Option<f64>,
    ) -> Self {
        let exact = scenario.tokenizer.as_deref();
        let counted_by = match (exact, scenario.synthetic.is_some() || scenario.load.trace().is_some()) {
            (Some(name), _) => format!("{name}, without chat template"),
            (None, true) => "lengths asked for".to_owned(),
            (None, false) => format!("{BYTES_A_TOKEN} bytes a token; --tokenizer counts"),
        };
        let mut volume = Self { counted_by, largest: (0, Some(0)), ..Self::default() };
        let Some(requests) = requests else { return volume };
        volume.known = true;
        (volume.input_most, volume.output, volume.output_most) = (Some(0.0), Some(0.0), Some(0.0));
        let warm = |n: u64| scenario.warmup.prompts.iter().cycle().take(n as usize);
        for prompt in warm(u64::from(scenario.warmup.requests)) {
            volume.add(&size(scenario, prompt, counter, answer), 1.0);
        }
        let all = requests + schedule.ramp_up_blocks();
        let listed: Vec<Vec<Size>> =
            scenario.prompts.iter().map(|p| turns(scenario, p, counter, answer)).collect();
        // The scale of what is not looked at one by one.
        let looked = all.min(DRAWN);
        let scale = all as f64 / looked.max(1) as f64;
        let mut bytes = 6.0;
        for (i, block) in (0..looked).zip(schedule.blocks()) {
            let sizes = match listed.get(block.prompt) {
                Some(sizes) if !scenario.prompts.is_empty() => sizes.as_slice(),
                _ => &[made(scenario, block.prompt, i, &mut bytes, counter, answer)],
            };
            for size in sizes {
                volume.add(size, scale);
            }
        }
        volume
    }

    fn add(&mut self, size: &Size, times: f64) {
        let sum = |sum: Option<f64>, part: Option<f64>| Some(sum? + part? * times);
        self.input += size.input * times;
        self.input_most = sum(self.input_most, size.most.map(|n| n as f64));
        self.output = sum(self.output, size.output);
        self.output_most = sum(self.output_most, size.output_most.map(|n| n as f64));
        self.largest.0 = self.largest.0.max(size.most.unwrap_or(0));
        self.largest.1 = self.largest.1.zip(size.output_most).map(|(a, b)| a.max(b));
    }

    /// Whether every request has a worst case.
    pub(super) fn is_bounded(&self) -> bool {
        !self.known || self.input_most.is_some()
    }

    /// On one target.
    pub(super) fn on(&self, info: &TargetInfo, prices: &Prices) -> TargetVolume {
        let whole = |x: f64| x.round() as u64;
        let known = |x: Option<f64>| x.filter(|_| self.known).map(whole);
        let mut found = TargetVolume {
            name: info.name.clone(),
            provider: info.model.provider.clone(),
            model: info.model.model.clone(),
            endpoint: info.model.endpoint.clone(),
            input_tokens: known(Some(self.input)),
            input_tokens_at_most: known(self.input_most),
            output_tokens: known(self.output),
            output_tokens_at_most: known(self.output_most),
            counted_by: self.counted_by.clone(),
            usd_at_least: None,
            usd_expected: None,
            usd_full_answers: None,
            usd_at_most: None,
            price_source: None,
            price_date: None,
            no_cost: None,
            largest_usd: None,
        };
        match prices.find(&info.model, info.simulated) {
            Err(why) => found.no_cost = Some(why),
            Ok((table, price)) => {
                found.price_source = Some(format!("{}, {}:{}", table.source, price.provider, price.model));
                found.price_date = Some(table.date.to_string());
                if self.known {
                    let usd = |input: Option<f64>, output: Option<f64>| {
                        Some(dollars(price, price.input, input?, output?))
                    };
                    // A budget reckons with the dearest class.
                    let dear = price.cache_write.map_or(price.input, |w| w.max(price.input));
                    found.usd_at_least = usd(Some(self.input), Some(0.0));
                    found.usd_expected = usd(Some(self.input), self.output);
                    found.usd_full_answers = usd(Some(self.input), self.output_most);
                    found.usd_at_most =
                        self.input_most.zip(self.output_most).map(|(i, o)| dollars(price, dear, i, o));
                    found.largest_usd =
                        self.largest.1.map(|o| dollars(price, dear, self.largest.0 as f64, o as f64));
                }
            }
        }
        found
    }

    /// Tokens of all targets as a budget reckons them.
    pub(super) fn tokens_total(&self, targets: usize) -> Sum {
        let decimal = |x: Option<f64>| Decimal::from_f64((x? * targets as f64).round());
        let known = |x: Option<f64>| x.filter(|_| self.known);
        let both = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        (
            decimal(known(Some(self.input))),
            decimal(known(both(Some(self.input), self.output_most))),
            decimal(known(both(self.input_most, self.output_most))),
            self.largest.1.map(|o| Decimal::from(self.largest.0 + o)),
        )
    }
}

fn dollars(price: &Price, input_price: Decimal, input: f64, output: f64) -> Decimal {
    let tokens = |n: f64| Decimal::from_f64(n.round()).unwrap_or_default();
    let usd = tokens(input) * input_price + tokens(output) * price.output;
    (usd / Decimal::from(1_000_000)).normalize()
}

/// Dollars over all targets.
pub(super) fn total(targets: &[TargetVolume]) -> Sum {
    let sum = |of: fn(&TargetVolume) -> Option<Decimal>| targets.iter().map(of).sum::<Option<Decimal>>();
    let largest = targets.iter().filter_map(|t| t.largest_usd).max();
    (sum(|t| t.usd_at_least), sum(|t| t.usd_full_answers), sum(|t| t.usd_at_most), largest)
}

/// Says how a budget meets the plan.
pub(super) fn budget(flag: &str, sum: Sum, limit: Decimal, unit: &str, forecast: &mut Forecast) {
    let (least, full, most, largest) = sum;
    let say = |x: Decimal| format!("{unit}{}", x.round_dp(6).normalize());
    if let Some(largest) = largest.filter(|l| *l > limit) {
        forecast.conflicts.push(format!(
            "{flag}: the largest request sets aside up to {}; it would never be sent",
            say(largest)
        ));
    } else if let Some(least) = least.filter(|l| *l > limit) {
        forecast.conflicts.push(format!(
            "{flag}: the prompts alone come to about {}; the run would end before its plan",
            say(least)
        ));
    } else if let Some(full) = full.filter(|f| *f > limit) {
        forecast.limits.push(format!(
            "{flag}: ends the run early when answers are long (up to {} if all reach their limit)",
            say(full)
        ));
    } else if let Some(most) = most {
        let beside = if most > limit {
            "; requests in flight set their worst case aside, and wait for it near the end"
        } else {
            ""
        };
        forecast.limits.push(format!("{flag}: more than this plan takes (worst case {}){beside}", say(most)));
    } else {
        forecast.limits.push(format!("{flag}: whether the plan fits is not known before"));
    }
}

/// One prompt of a list, asked once.
fn size(
    scenario: &Scenario,
    prompt: &Prompt,
    counter: Option<&dyn TokenCounter>,
    answer: Option<f64>,
) -> Size {
    let nonce = scenario.cache_bust.then_some("000000000000000000");
    of_request(&scenario.request(prompt, nonce), counter, answer)
}

fn of_request(request: &ChatRequest, counter: Option<&dyn TokenCounter>, answer: Option<f64>) -> Size {
    let limit = request.options.max_tokens;
    let mut bytes = 0;
    let mut input = 0.0;
    let mut texts: Vec<String> = request.messages.iter().map(Message::text).collect();
    texts.extend(request.tools.iter().filter_map(|t| serde_json::to_string(t).ok()));
    for text in &texts {
        bytes += text.len();
        input += counter.map_or(0.0, |c| c.count(text) as f64);
    }
    Size {
        input: if counter.is_some() { input } else { bytes as f64 / BYTES_A_TOKEN },
        most: most_input(request),
        output: answer.map(|a| limit.map_or(a, |l| a.min(f64::from(l)))),
        output_most: limit.map(u64::from),
    }
}

/// All turns of a prompt; each holds what was said before, answers as long as they are expected, else as their limit.
fn turns(
    scenario: &Scenario,
    prompt: &Prompt,
    counter: Option<&dyn TokenCounter>,
    answer: Option<f64>,
) -> Vec<Size> {
    let first = size(scenario, prompt, counter, answer);
    let Some(sessions) = &scenario.sessions else { return vec![first] };
    let mut all = vec![first];
    for said in prompt.turns.iter().take(sessions.turns_of(prompt) as usize - 1) {
        let before = all[all.len() - 1];
        let own = counter.map_or(said.len() as f64 / BYTES_A_TOKEN, |c| c.count(said) as f64);
        let answered = before.output.or(before.output_most.map(|n| n as f64)).unwrap_or(0.0);
        all.push(Size {
            input: before.input + answered + own,
            // An answer's tokens as bytes: no more than sixteen each, and what vendors put around messages.
            most: before.most.zip(before.output_most).map(|(m, o)| m + 16 * o + said.len() as u64 + 128),
            ..before
        });
    }
    all
}

/// A prompt that is made.
fn made(
    scenario: &Scenario,
    index: usize,
    number: u64,
    bytes_a_token: &mut f64,
    counter: Option<&dyn TokenCounter>,
    answer: Option<f64>,
) -> Size {
    let (input, output) = planned_tokens(scenario, index).unwrap_or_default();
    let text = || made_prompt(scenario, None, index).map(|p| size(scenario, &p, counter, answer));
    let Some(input) = input else { return text().unwrap_or_default() };
    let around = number >= MADE;
    let from_text = if around { None } else { text() };
    if let Some(most) = from_text.and_then(|s| s.most) {
        *bytes_a_token = most as f64 / f64::from(input.max(1));
    }
    let system = scenario
        .system
        .as_deref()
        .map_or(0.0, |s| counter.map_or(s.len() as f64 / BYTES_A_TOKEN, |c| c.count(s) as f64));
    let limit = output.or(scenario.options.max_tokens);
    Size {
        input: f64::from(input) + system,
        most: from_text.map_or(Some((f64::from(input) * *bytes_a_token) as u64), |s| s.most),
        // Recorded and drawn lengths are what is expected, unless a pilot says otherwise.
        output: answer.map(|a| limit.map_or(a, |l| a.min(f64::from(l)))).or(output.map(f64::from)),
        output_most: limit.map(u64::from),
    }
}
