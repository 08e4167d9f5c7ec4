//! Flags of how load is put on a service and when it ends, besides the plain ones: their form, and what they mean.

use std::time::Duration;

use bench_analysis::{
    cost::{PriceMeter, Prices},
    stop::{
        ErrorRateRule, PrecisionOptions, PrecisionRule, SaturationOptions, SaturationRule, declared_looks,
    },
};
use clap::{Args, ValueEnum};
use llms_core::bench::{
    Arrivals, Budget, Load, Origin, RatePiece, Scenario, StopRule, Target, ThinkLaw, duration, metric,
    rate::Curve,
};
use rust_decimal::Decimal;

use crate::exit::Failure;

/// Looks that a precision rule declares.
const LOOKS: u32 = 10;

/// Shape of the load.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Load")]
pub struct ShapeArgs {
    /// Shape of gamma arrivals: below 1 bursty, 1 Poisson, above 1 more even. Means --arrivals gamma.
    #[arg(long, value_name = "SHAPE", allow_negative_numbers = true)]
    pub burstiness: Option<f64>,
    /// The rate rises from 0 (users join one by one) over this time before the window, on top of its duration.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub ramp_up: Option<Duration>,
    /// Rates from the start of the window on: RATE@TIME, FROM-TO@TIME (linear) or FROM~TO@TIME (exponential), separated by
    /// commas: 10@30s,10-40@1m,0@10s. After the last one --request-rate, if given.
    #[arg(long, value_name = "PIECES", value_parser = profile, conflicts_with = "concurrency")]
    pub rate_profile: Option<Profile>,
    /// Mean pause of a user between answer and next request, under --concurrency.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "request_rate")]
    pub think_time: Option<Duration>,
    /// Law of these pauses.
    #[arg(long, value_enum, requires = "think_time")]
    pub think_law: Option<ThinkLawArg>,
}

/// When a run ends before its plan does.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Most that may be spent, US dollars: the worst case of each request is set aside before it is sent. Needs --max-tokens
    /// and a price for every target.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    pub max_cost: Option<Decimal>,
    /// Most tokens that may be used, input and output together, in the same way.
    #[arg(long, value_name = "N")]
    pub max_tokens_total: Option<u64>,
    /// End when a quantile is known well enough: METRIC:pQ:X%, such as ttft:p95:5%. Looks at ten declared points of the run.
    #[arg(long, value_name = "WISH", value_parser = precision)]
    pub precision: Option<Precision>,
    /// End when the server cannot keep up with --request-rate.
    #[arg(long)]
    pub stop_saturated: bool,
    /// End when more than this share of requests fails, beyond chance.
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub stop_error_rate: Option<f64>,
}

/// Pieces of a rate over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile(Vec<RatePiece>);

/// Law of the pauses of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ThinkLawArg {
    /// All alike.
    Constant,
    /// Exponential.
    Exponential,
}

/// A quantile, and how well it shall be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    metric: String,
    quantile: f64,
    relative: f64,
}

fn profile(text: &str) -> Result<Profile, String> {
    text.split(',').map(piece).collect::<Result<_, _>>().map(Profile)
}

fn piece(text: &str) -> Result<RatePiece, String> {
    let wrong =
        || format!("expected RATE@TIME, FROM-TO@TIME or FROM~TO@TIME, such as 10-40@1m, found `{text}`");
    let (rates, time) = text.trim().split_once('@').ok_or_else(wrong)?;
    let time = duration::parse(time)?;
    let number = |t: &str| t.trim().parse::<f64>().map_err(|_| wrong());
    let piece = match (rates.split_once('-'), rates.split_once('~')) {
        (Some((from, to)), _) => RatePiece::ramp(time, number(from)?, number(to)?, Curve::Linear),
        (None, Some((from, to))) => RatePiece::ramp(time, number(from)?, number(to)?, Curve::Exponential),
        (None, None) => RatePiece::step(time, number(rates)?),
    };
    piece.validate().map(|()| piece).map_err(|e| format!("`{text}`: {e}"))
}

fn precision(text: &str) -> Result<Precision, String> {
    let wrong = || format!("expected METRIC:pQ:X%, such as ttft:p95:5%, found `{text}`");
    let parts: Vec<&str> = text.split(':').collect();
    let [name, quantile, width] = parts[..] else { return Err(wrong()) };
    let known = metric::find(name).is_some_and(|m| m.per_request);
    if !known {
        return Err(format!("no metric of a request is called `{name}`; try ttft, e2e or tpot"));
    }
    let percent = |t: &str| t.parse::<f64>().ok().filter(|p| *p > 0.0 && *p < 100.0).map(|p| p / 100.0);
    let quantile = quantile.strip_prefix('p').and_then(percent).ok_or_else(wrong)?;
    let relative = width.strip_suffix('%').and_then(percent).ok_or_else(wrong)?;
    Ok(Precision { metric: name.to_owned(), quantile, relative })
}

impl ShapeArgs {
    /// Changes the load of a scenario.
    ///
    /// # Errors
    /// A flag that does not fit the load.
    pub fn apply(&self, load: &mut Load) -> Result<(), Failure> {
        if let Some(Profile(pieces)) = &self.rate_profile {
            if matches!(load, Load::Closed { .. }) {
                *load = Load::open(0.0, Arrivals::Poisson);
            }
            *load = load.clone().shaped(pieces.iter().copied());
        }
        if let Some(time) = self.ramp_up {
            *load = load.clone().ramped(time);
        }
        match (self.burstiness, &mut *load) {
            (Some(burstiness), Load::Open { arrivals, .. }) => *arrivals = Arrivals::Gamma { burstiness },
            (Some(_), Load::Closed { .. }) => {
                return Err(Failure::usage(
                    "--burstiness: only arrivals have one; use it with --request-rate",
                ));
            }
            (None, _) => {}
        }
        if let Some(mean) = self.think_time {
            let law = match self.think_law {
                Some(ThinkLawArg::Exponential) => ThinkLaw::Exponential,
                Some(ThinkLawArg::Constant) | None => ThinkLaw::Constant,
            };
            if matches!(load, Load::Open { .. }) {
                return Err(Failure::usage(
                    "--think-time: under open loop nobody waits; use it with --concurrency",
                ));
            }
            *load = load.clone().thinking(mean, law);
        }
        Ok(())
    }
}

impl LimitArgs {
    /// The budget asked for.
    ///
    /// # Errors
    /// A limit that cannot be kept: without a price, or without a limit of tokens.
    pub fn budget(
        &self,
        scenario: &Scenario,
        targets: &[Target],
        prices: &Prices,
    ) -> Result<Budget, Failure> {
        let limited = self.max_cost.is_some() || self.max_tokens_total.is_some();
        if limited && scenario.options.max_tokens.is_none() {
            return Err(Failure::usage(
                "--max-cost and --max-tokens-total need --max-tokens: without it an answer has no worst case",
            ));
        }
        let usd = match self.max_cost {
            None => None,
            Some(limit) if limit <= Decimal::ZERO => {
                return Err(Failure::usage(format!("--max-cost: expected dollars above 0, found {limit}")));
            }
            Some(limit) => {
                let meter = PriceMeter::new(targets, prices)
                    .map_err(|e| Failure::usage(format!("--max-cost cannot be kept: {e} (--prices)")))?;
                Some((limit, std::sync::Arc::new(meter) as _))
            }
        };
        Ok(Budget { usd, tokens: self.max_tokens_total })
    }

    /// The rules asked for, one set for each call.
    ///
    /// # Errors
    /// A wish that the plan cannot meet, and how many requests would.
    pub fn rules(
        &self,
        scenario: &Scenario,
        planned: Option<u64>,
    ) -> Result<impl Fn() -> Vec<Box<dyn StopRule>> + Send + Sync + 'static, Failure> {
        let mut error_rate = None;
        if let Some(share) = self.stop_error_rate {
            let rule = ErrorRateRule::new(share, 0.95);
            error_rate = Some(rule.map_err(|e| Failure::usage(format!("--stop-error-rate: {e}")))?);
        }
        let mut known = None;
        if let Some(wish) = &self.precision {
            let Some(planned) = planned else {
                return Err(Failure::usage(
                    "--precision needs --num-requests or an open loop: its looks are declared before the run",
                ));
            };
            let options = PrecisionOptions {
                metric: wish.metric.clone(),
                origin: origin(scenario),
                streamed: scenario.streaming,
                quantile: wish.quantile,
                relative: wish.relative,
                confidence: 0.95,
                looks: declared_looks((planned / 20).max(20).min(planned), planned, LOOKS),
            };
            let rule =
                PrecisionRule::new(options).map_err(|e| Failure::usage(format!("--precision: {e}")))?;
            known = Some(rule);
        }
        let saturation = self
            .stop_saturated
            .then(|| SaturationRule::new(SaturationOptions::default()))
            .transpose()
            .map_err(|e| Failure::usage(format!("--stop-saturated: {e}")))?;
        Ok(move || {
            let mut rules: Vec<Box<dyn StopRule>> = Vec::new();
            if let Some(rule) = &error_rate {
                rules.push(Box::new(rule.clone()));
            }
            if let Some(rule) = &known {
                rules.push(Box::new(rule.clone()));
            }
            if let Some(rule) = &saturation {
                rules.push(Box::new(rule.clone()));
            }
            rules
        })
    }
}

fn origin(scenario: &Scenario) -> Origin {
    scenario.load.headline_origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_rate() {
        let Profile(pieces) = profile("10@30s, 10-40@1m,40~5@2m,0@500ms").unwrap();
        let read: Vec<_> =
            pieces.iter().map(|p| (p.duration.as_millis(), p.from, p.end_rate(), p.curve)).collect();
        assert_eq!(
            read,
            [
                (30_000, 10.0, 10.0, Curve::Linear),
                (60_000, 10.0, 40.0, Curve::Linear),
                (120_000, 40.0, 5.0, Curve::Exponential),
                (500, 0.0, 0.0, Curve::Linear)
            ]
        );
        for wrong in ["", "10", "@3s", "10@soon", "a-b@1s", "-5@1s", "5~0@1s"] {
            assert!(profile(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn how_well_a_quantile_shall_be_known() {
        let wish = precision("ttft:p95:5%").unwrap();
        assert_eq!((wish.metric.as_str(), wish.quantile, wish.relative), ("ttft", 0.95, 0.05));
        for wrong in ["ttft", "ttft:p95", "ttft:95:5%", "ttft:p95:5", "ttft:p0:5%", "nothing:p95:5%"] {
            assert!(precision(wrong).is_err(), "{wrong}");
        }
    }
}
