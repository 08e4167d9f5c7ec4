//! The attributes that are the same for every call to one model, made once.

use std::sync::Arc;

use llms_core::ModelInfo;
use opentelemetry::{KeyValue, StringValue};
use url::Url;

use crate::table::key;

/// Attributes of one model, for [`Metrics`](crate::Metrics). Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelLabels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: StringValue,
    model: StringValue,
    /// `provider`, `model`.
    contract: [KeyValue; 2],
    /// `gen_ai.operation.name`, provider, request model, address, port: what all GenAI metrics carry.
    gen_ai: Vec<KeyValue>,
    /// Names of spans.
    span: String,
    /// `provider.generate`, `provider.stream`, `provider.check_health`.
    operations: [StringValue; 3],
}

/// What is done with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Generate,
    Stream,
    Health,
}

impl ModelLabels {
    /// Of the model that `info` describes.
    pub fn of(info: &ModelInfo) -> Self {
        let provider = StringValue::from(Arc::<str>::from(info.provider.as_str()));
        let model = StringValue::from(Arc::<str>::from(info.model.as_str()));
        let url = info.endpoint.as_deref().and_then(|e| Url::parse(e).ok());
        let host = url.as_ref().and_then(Url::host_str);
        let mut gen_ai = vec![
            KeyValue::new(key::GEN_AI_OPERATION, "chat"),
            KeyValue::new(key::GEN_AI_PROVIDER, provider_name(&info.provider, host)),
            KeyValue::new(key::REQUEST_MODEL, model.clone()),
        ];
        if let (Some(url), Some(host)) = (&url, host) {
            gen_ai.push(KeyValue::new(key::SERVER_ADDRESS, Arc::<str>::from(host)));
            if let Some(port) = url.port_or_known_default() {
                gen_ai.push(KeyValue::new(key::SERVER_PORT, i64::from(port)));
            }
        }
        let operation = |verb| StringValue::from(Arc::<str>::from(format!("{}.{verb}", info.provider)));
        Self(Arc::new(Inner {
            contract: [
                KeyValue::new(key::PROVIDER, provider.clone()),
                KeyValue::new(key::MODEL, model.clone()),
            ],
            gen_ai,
            span: format!("chat {}", info.model),
            operations: [operation("generate"), operation("stream"), operation("check_health")],
            provider,
            model,
        }))
    }

    pub(crate) fn provider(&self) -> &StringValue {
        &self.0.provider
    }

    pub(crate) fn model(&self) -> &StringValue {
        &self.0.model
    }

    pub(crate) fn contract(&self) -> &[KeyValue] {
        &self.0.contract
    }

    pub(crate) fn contract_and(&self, more: KeyValue) -> [KeyValue; 3] {
        let [provider, model] = self.0.contract.clone();
        [provider, model, more]
    }

    pub(crate) fn gen_ai(&self) -> &[KeyValue] {
        &self.0.gen_ai
    }

    /// The GenAI attributes with those that only the end of a call knows.
    pub(crate) fn gen_ai_and(&self, more: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
        let mut all = Vec::with_capacity(self.0.gen_ai.len() + 3);
        all.extend_from_slice(&self.0.gen_ai);
        all.extend(more);
        all
    }

    pub(crate) fn span_name(&self) -> &str {
        &self.0.span
    }

    pub(crate) fn operation(&self, operation: Operation) -> &StringValue {
        &self.0.operations[operation as usize]
    }
}

/// Hosts whose services the conventions name, whichever of our providers speaks to them.
const HOSTS: &[(&str, &str)] = &[
    ("openai.azure.com", "azure.ai.openai"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("models.ai.azure.com", "azure.ai.inference"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    ("api.cohere.com", "cohere"),
    ("api.moonshot.ai", "moonshot_ai"),
];

/// The conventions' name of a provider: by host where that is known, else by our registry name, else that itself
/// (custom values are allowed: `ollama`, `mock`).
fn provider_name(provider: &str, host: Option<&str>) -> StringValue {
    let at = |suffix: &str| {
        host.and_then(|h| h.strip_suffix(suffix)).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if let Some((_, name)) = HOSTS.iter().find(|(suffix, _)| at(suffix)) {
        return (*name).into();
    }
    match provider {
        "bedrock" => "aws.bedrock".into(),
        "azure" | "azure-openai" => "azure.ai.openai".into(),
        "gemini" => "gcp.gemini".into(),
        other => Arc::<str>::from(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provider: &str, endpoint: Option<&str>, expected: &str) {
        let info = ModelInfo {
            provider: provider.into(),
            model: "m".into(),
            endpoint: endpoint.map(Into::into),
            capabilities: llms_core::Capabilities::default(),
        };
        let labels = ModelLabels::of(&info);
        let shown: Vec<_> =
            labels.gen_ai()[1..].iter().map(|kv| format!("{}={}", kv.key, kv.value)).collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[test]
    fn providers_carry_the_names_of_the_conventions() {
        let openai = "gen_ai.provider.name=openai gen_ai.request.model=m server.address=api.openai.com \
                      server.port=443";
        check("openai", Some("https://api.openai.com/v1"), openai);
        check("openai", None, "gen_ai.provider.name=openai gen_ai.request.model=m");
        check("anthropic", None, "gen_ai.provider.name=anthropic gen_ai.request.model=m");
        check("bedrock", None, "gen_ai.provider.name=aws.bedrock gen_ai.request.model=m");
        let azure = "gen_ai.provider.name=azure.ai.openai gen_ai.request.model=m \
                     server.address=me.openai.azure.com server.port=443";
        check("openai", Some("https://me.openai.azure.com/"), azure);
        let ollama = "gen_ai.provider.name=ollama gen_ai.request.model=m server.address=127.0.0.1 \
                      server.port=11434";
        check("ollama", Some("http://127.0.0.1:11434"), ollama);
        let stranger = "gen_ai.provider.name=openai gen_ai.request.model=m server.address=notapi.x.ai \
                        server.port=80";
        check("openai", Some("http://notapi.x.ai"), stranger);
    }
}
