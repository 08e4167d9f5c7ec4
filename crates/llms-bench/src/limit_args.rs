//! Flags of when a run ends before its plan does: budgets, a precision that is enough, a server that cannot keep up.

use bench_analysis::{
    cost::{PriceMeter, Prices},
    stop::{
        ErrorRateRule, PrecisionOptions, PrecisionRule, SaturationOptions, SaturationRule, declared_looks,
    },
};
use clap::Args;
use llms_core::bench::{Budget, Origin, Scenario, StopRule, Target, metric};
use rust_decimal::Decimal;

use crate::exit::Failure;

/// Looks that a precision rule declares.
const LOOKS: u32 = 10;

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

/// A quantile, and how well it shall be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// Name of a metric of one request.
    pub metric: String,
    /// In (0, 1).
    pub quantile: f64,
    /// Half the interval over the value.
    pub relative: f64,
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
        if limited && !has_worst_case(scenario) {
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
                looks: looks(planned),
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

/// Where a rule looks, for a plan of so many requests.
pub(crate) fn looks(planned: u64) -> Vec<u64> {
    declared_looks((planned / 20).max(20).min(planned), planned, LOOKS)
}

/// Whether every request has a limit of generated tokens.
pub(crate) fn has_worst_case(scenario: &Scenario) -> bool {
    let made = match (scenario.load.trace(), &scenario.synthetic) {
        (Some(trace), _) => {
            trace.requests.get().is_some_and(|all| all.iter().all(|r| r.output_tokens.is_some()))
        }
        (_, Some(synthetic)) => synthetic.output.is_some(),
        _ => !scenario.prompts.is_empty() && scenario.prompts.iter().all(|p| p.max_tokens.is_some()),
    };
    scenario.options.max_tokens.is_some() || made
}

fn origin(scenario: &Scenario) -> Origin {
    scenario.load.headline_origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_well_a_quantile_shall_be_known() {
        let wish = precision("ttft:p95:5%").unwrap();
        assert_eq!((wish.metric.as_str(), wish.quantile, wish.relative), ("ttft", 0.95, 0.05));
        for wrong in ["ttft", "ttft:p95", "ttft:95:5%", "ttft:p95:5", "ttft:p0:5%", "nothing:p95:5%"] {
            assert!(precision(wrong).is_err(), "{wrong}");
        }
    }
}
