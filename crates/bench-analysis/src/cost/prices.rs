//! Price tables: the bundled snapshot of list prices, and files of the user in the same schema.
//!
//! A table says where its prices come from and of which day they are. List prices of a vendor hold at the vendor's own
//! hosts only: a compatible server elsewhere has whatever price its owner sets, in a file of the user.

use std::collections::BTreeMap;

use llms_core::ModelInfo;
use rust_decimal::Decimal;
use serde::Deserialize;
use time::Date;
use time::macros::format_description;

/// Prices that replace the plain ones where a condition holds (a long prompt, a batch), US dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// input that is neither read from nor written to a cache
    pub input: Decimal,
    /// everything generated
    pub output: Decimal,
    /// input read from the provider's cache; unknown when absent
    #[serde(default)]
    pub cache_read: Option<Decimal>,
    /// input written to the provider's cache; unknown when absent
    #[serde(default)]
    pub cache_write: Option<Decimal>,
    /// output that was reasoning, where it has a price of its own
    #[serde(default)]
    pub reasoning: Option<Decimal>,
}

/// Prices of requests whose prompt is longer than a limit; the whole request is billed at them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "TierFile")]
pub struct Tier {
    /// they hold for prompts of more tokens than this
    pub tokens: u64,
    /// the prices
    pub rates: Rates,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierFile {
    tokens: u64,
    input: Decimal,
    output: Decimal,
    #[serde(default)]
    cache_read: Option<Decimal>,
    #[serde(default)]
    cache_write: Option<Decimal>,
    #[serde(default)]
    reasoning: Option<Decimal>,
}

impl From<TierFile> for Tier {
    fn from(f: TierFile) -> Self {
        let TierFile { tokens, input, output, cache_read, cache_write, reasoning } = f;
        Self { tokens, rates: Rates { input, output, cache_read, cache_write, reasoning } }
    }
}

/// US dollars per million tokens of one model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// registry name of the provider
    pub provider: String,
    /// model as the provider names it; `*` stands for every model of the provider
    pub model: String,
    /// input that is neither read from nor written to a cache
    pub input: Decimal,
    /// everything generated, reasoning included unless that has a price of its own
    pub output: Decimal,
    /// input read from the provider's cache; unknown when absent
    #[serde(default)]
    pub cache_read: Option<Decimal>,
    /// input written to the provider's cache; unknown when absent
    #[serde(default)]
    pub cache_write: Option<Decimal>,
    /// output that was reasoning, where it has a price of its own
    #[serde(default)]
    pub reasoning: Option<Decimal>,
    /// prompts longer than this have another price, which this table does not know
    #[serde(default)]
    pub input_tokens_max: Option<u64>,
    /// prices of long prompts, by rising limit
    #[serde(default)]
    pub above: Vec<Tier>,
    /// prices of requests in a batch, answered within a day; those of long prompts in a batch are unknown
    #[serde(default)]
    pub batch: Option<Rates>,
}

impl Price {
    /// A price of input and output alone.
    pub fn plain(provider: &str, model: &str, input: Decimal, output: Decimal) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
            input,
            output,
            cache_read: None,
            cache_write: None,
            reasoning: None,
            input_tokens_max: None,
            above: Vec::new(),
            batch: None,
        }
    }

    /// What a request with a prompt of so many tokens is billed at; `None` when the prompt is longer than the table knows.
    pub fn rates(&self, input_tokens: u64) -> Option<Rates> {
        if self.input_tokens_max.is_some_and(|max| max < input_tokens) {
            return None;
        }
        let tier = self.above.iter().rev().find(|t| t.tokens < input_tokens);
        Some(tier.map_or_else(
            || Rates {
                input: self.input,
                output: self.output,
                cache_read: self.cache_read,
                cache_write: self.cache_write,
                reasoning: self.reasoning,
            },
            |t| t.rates.clone(),
        ))
    }

    /// What the same request is billed at in a batch; `None` without batch prices, or when the prompt is so long that other
    /// prices than the plain ones hold.
    pub fn batch_rates(&self, input_tokens: u64) -> Option<&Rates> {
        let long = self.above.first().is_some_and(|t| t.tokens < input_tokens)
            || self.input_tokens_max.is_some_and(|max| max < input_tokens);
        self.batch.as_ref().filter(|_| !long)
    }

    /// Every price in it.
    fn all(&self) -> impl Iterator<Item = Decimal> + '_ {
        let of = |r: &Rates| [Some(r.input), Some(r.output), r.cache_read, r.cache_write, r.reasoning];
        let plain = [Some(self.input), Some(self.output), self.cache_read, self.cache_write, self.reasoning];
        let more = self.above.iter().map(move |t| of(&t.rates)).chain(self.batch.iter().map(of));
        std::iter::once(plain).chain(more).flatten().flatten()
    }
}

/// What is wrong with a price file.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// not JSON of the schema
    #[error("expected a price file of schema 1 (see data/prices.json): {0}")]
    Format(#[from] serde_json::Error),
    /// another schema number
    #[error("expected price file schema 1, found {0}; use a newer version of the tool")]
    Schema(u32),
    /// the date does not read
    #[error("expected a date such as 2026-11-22, found `{0}`")]
    Date(String),
    /// a price below zero
    #[error("expected prices of 0 or more for {0}:{1}")]
    Negative(String, String),
    /// limits of long prompts out of order
    #[error("expected rising numbers of `tokens` in `above` of {0}:{1}")]
    Tiers(String, String),
    /// one model twice
    #[error("expected each model once, found {0}:{1} twice")]
    Twice(String, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    source: String,
    date: String,
    #[serde(default)]
    licence: Option<String>,
    #[serde(default)]
    unit: Option<String>,
    models: Vec<Price>,
}

/// One price file.
#[derive(Debug, Clone)]
pub struct PriceTable {
    /// where the prices come from
    pub source: String,
    /// the day they are of
    pub date: Date,
    /// licence of the data
    pub licence: Option<String>,
    /// list prices of vendors: they hold at the vendors' own hosts only
    pub list_prices: bool,
    models: BTreeMap<(String, String), Price>,
}

impl PriceTable {
    /// Reads a price file of the user. Its prices hold wherever the model is reached.
    ///
    /// # Errors
    /// [`PriceError`] with what was expected.
    pub fn parse(json: &str) -> Result<Self, PriceError> {
        let file: File = serde_json::from_str(json)?;
        if file.schema != 1 {
            return Err(PriceError::Schema(file.schema));
        }
        if let Some(unit) = file.unit.filter(|u| u != "US dollars per million tokens") {
            let custom = serde::de::Error::custom(format!(
                "unit must be `US dollars per million tokens`, found `{unit}`"
            ));
            return Err(PriceError::Format(custom));
        }
        let date = Date::parse(&file.date, format_description!("[year]-[month]-[day]"))
            .map_err(|_| PriceError::Date(file.date.clone()))?;
        let mut models = BTreeMap::new();
        for price in file.models {
            let key = (price.provider.clone(), price.model.clone());
            if price.all().any(|p| p < Decimal::ZERO) {
                return Err(PriceError::Negative(key.0, key.1));
            }
            if !price.above.is_sorted_by(|a, b| a.tokens < b.tokens) {
                return Err(PriceError::Tiers(key.0, key.1));
            }
            if models.insert(key.clone(), price).is_some() {
                return Err(PriceError::Twice(key.0, key.1));
            }
        }
        Ok(Self { source: file.source, date, licence: file.licence, list_prices: false, models })
    }

    /// The snapshot that comes with the crate: list prices of OpenAI, Anthropic and Bedrock.
    pub fn bundled() -> Self {
        let table =
            Self::parse(include_str!("../../data/prices.json")).expect("invariant: the bundled file parses");
        Self { list_prices: true, ..table }
    }

    /// The price of a model: by its exact name, without a trailing date or `-latest`, then by `*`.
    pub fn find(&self, provider: &str, model: &str) -> Option<&Price> {
        let get = |name: &str| self.models.get(&(provider.to_owned(), name.to_owned()));
        // a Bedrock ARN ends in the model id
        let id = model.rsplit('/').next().unwrap_or(model);
        get(model).or_else(|| get(id)).or_else(|| get(undated(id))).or_else(|| get("*"))
    }

    /// Number of models.
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether it has no model.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

/// `gpt-4o-2024-08-06` → `gpt-4o`, `claude-x-20251001` → `claude-x`, `claude-x-latest` → `claude-x`.
fn undated(model: &str) -> &str {
    let model = model.strip_suffix("-latest").unwrap_or(model);
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    if let Some((head, tail)) = model.rsplit_once('-') {
        if digits(tail, 8) {
            return head;
        }
        // YYYY-MM-DD
        if digits(tail, 2)
            && let Some((head, month)) = head.rsplit_once('-')
            && digits(month, 2)
            && let Some((head, year)) = head.rsplit_once('-')
            && digits(year, 4)
        {
            return head;
        }
    }
    model
}

/// Several tables, asked in order: the user's first, the bundled one last.
#[derive(Debug, Clone)]
pub struct Prices {
    tables: Vec<PriceTable>,
}

impl Default for Prices {
    fn default() -> Self {
        Self { tables: vec![PriceTable::bundled()] }
    }
}

impl Prices {
    /// No prices at all.
    pub fn none() -> Self {
        Self { tables: Vec::new() }
    }

    /// Puts a table in front of those already there.
    pub fn with(mut self, table: PriceTable) -> Self {
        self.tables.insert(0, table);
        self
    }

    /// The price of a model with the table it stands in.
    ///
    /// # Errors
    /// The sentence why there is none.
    pub fn find(&self, model: &ModelInfo, simulated: bool) -> Result<(&PriceTable, &Price), String> {
        let mut elsewhere = None;
        for table in &self.tables {
            if let Some(price) = table.find(&model.provider, &model.model) {
                if table.list_prices
                    && !simulated
                    && !is_vendors_host(&model.provider, model.endpoint.as_deref())
                {
                    elsewhere = model.endpoint.as_deref();
                    continue;
                }
                return Ok((table, price));
            }
        }
        Err(match elsewhere {
            Some(endpoint) => format!(
                "the list price of {}:{} holds at the vendor only, not at {endpoint}; give a price file",
                model.provider, model.model
            ),
            None => format!("no price for {}:{}; give a price file", model.provider, model.model),
        })
    }
}

/// Whether an endpoint is one of the vendor's own hosts; no endpoint means the vendor's default.
fn is_vendors_host(provider: &str, endpoint: Option<&str>) -> bool {
    let Some(endpoint) = endpoint else { return true };
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, r)| r);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = host.split(':').next().unwrap_or(host);
    let domain = match provider {
        "openai" => "openai.com",
        "anthropic" => "anthropic.com",
        "bedrock" => "amazonaws.com",
        _ => return false,
    };
    host == domain || host.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provider: &str, model: &str, input: Option<&str>) {
        let table = PriceTable::bundled();
        let found = table.find(provider, model).map(|p| p.input);
        assert_eq!(found, input.map(|i| i.parse().unwrap()), "{provider}:{model}");
    }

    #[test]
    fn models_are_found_by_name_date_and_arn() {
        check("openai", "gpt-4o-mini", Some("0.15"));
        check("openai", "gpt-4o-mini-2099-01-31", Some("0.15"));
        check("anthropic", "claude-haiku-4-5-20251001", Some("1"));
        check("anthropic", "claude-haiku-4-5-latest", Some("1"));
        check("bedrock", "arn:aws:bedrock:us-east-1:1:foundation-model/amazon.nova-lite-v1:0", Some("0.06"));
        check("openai", "claude-haiku-4-5", None);
        check("ollama", "llama3.2", None);
    }

    #[test]
    fn list_prices_hold_at_the_vendor_only() {
        for (endpoint, ours) in [
            ("https://api.openai.com/v1", true),
            ("https://eu.api.openai.com:443/v1", true),
            ("http://127.0.0.1:8080/v1", false),
            ("https://notopenai.com/v1", false),
            ("https://api.openai.com.evil.example/v1", false),
        ] {
            assert_eq!(is_vendors_host("openai", Some(endpoint)), ours, "{endpoint}");
        }
    }

    #[test]
    fn a_users_table_comes_first_and_may_use_a_star() {
        let mine = r#"{"schema":1,"source":"mine","date":"2026-01-02","models":[
            {"provider":"ollama","model":"*","input":"0","output":"0.0"}]}"#;
        let prices = Prices::default().with(PriceTable::parse(mine).unwrap());
        let info = ModelInfo {
            provider: "ollama".into(),
            model: "llama3.2".into(),
            endpoint: Some("http://127.0.0.1:11434".into()),
            capabilities: llms_core::Capabilities::default(),
        };
        let (table, price) = prices.find(&info, false).unwrap();
        assert_eq!((table.source.as_str(), price.input), ("mine", Decimal::ZERO));
        assert!(Prices::default().find(&info, false).unwrap_err().contains("no price for ollama:llama3.2"));
    }

    #[test]
    fn wrong_files_are_refused_by_what_was_expected() {
        for text in [
            "[]",
            r#"{"schema":2,"source":"x","date":"2026-01-02","models":[]}"#,
            r#"{"schema":1,"source":"x","date":"2nd of May","models":[]}"#,
            r#"{"schema":1,"source":"x","date":"2026-01-02","unit":"EUR","models":[]}"#,
            r#"{"schema":1,"source":"x","date":"2026-01-02","models":[{"provider":"a","model":"b","input":"-1","output":"1"}]}"#,
            r#"{"schema":1,"source":"x","date":"2026-01-02","models":[{"provider":"a","model":"b","inputs":"1","output":"1"}]}"#,
        ] {
            assert!(PriceTable::parse(text).unwrap_err().to_string().starts_with("expected"), "{text}");
        }
    }
}
