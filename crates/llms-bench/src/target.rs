//! `provider:model[@base_url]`: what to measure.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use llms_core::{
    ChatOptions,
    bench::duration,
    config::{ConfigErrors, Env, ModelConfig, parse_base_url, shown_address},
    health::HealthProbe,
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Failure;

/// One target, from the command line or from a `[[target]]` table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// What reports call it; `provider:model`, with the host when that is not unique.
    #[serde(default)]
    pub name: Option<String>,
    /// Registry name of the provider.
    pub provider: String,
    /// The model as the provider names it.
    pub model: String,
    /// Another address than the vendor's.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Environment variable that holds the key; the only way to send a key to an address that is not the
    /// vendor's, not in its `*_BASE_URL` variable and not loopback.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Limit of one call; the scenario's when absent.
    #[serde(default, with = "duration::option")]
    pub timeout: Option<Duration>,
    /// Sampling defaults of this target; the scenario's win.
    #[serde(default)]
    pub options: ChatOptions,
    /// Extra headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How `doctor` and health checks probe it: `cheap` or `one_token`.
    #[serde(default)]
    pub health: HealthProbe,
    /// Settings only this provider knows (`organization`, `api_version`, `region`, …).
    #[serde(default)]
    pub provider_specific: BTreeMap<String, Value>,
}

impl FromStr for TargetSpec {
    type Err = String;

    /// The first `:` ends the provider, the address begins at the last `@http`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected provider:model or provider:model@http://host:port, found `{}`",
                shown_address(text)
            )
        };
        let (provider, rest) = text.split_once(':').ok_or_else(wrong)?;
        // Not the last `@` alone: model names may hold one, and so may an address, which is then refused by name.
        let address =
            rest.rfind("@http").or_else(|| rest.rfind('@').filter(|at| rest[*at..].contains("://")));
        let (model, base_url) = match address {
            Some(at) => (&rest[..at], Some(rest[at + 1..].to_owned())),
            None => (rest, None),
        };
        if base_url.is_none()
            && let Some((_, place)) = model.rsplit_once('@')
            && looks_like_an_address(place)
        {
            return Err(format!(
                "in `{}`: `{place}` looks like an address without its scheme, and the model would be asked at the vendor's; write \
                 `@http://{place}`, or name the model in a [[target]] table if it is really called so",
                shown_address(text)
            ));
        }
        if provider.trim().is_empty() || model.trim().is_empty() {
            return Err(wrong());
        }
        if let Some(url) = &base_url {
            parse_base_url(url).map_err(|e| format!("in `{}`: {e}", shown_address(text)))?;
        }
        Ok(Self {
            name: None,
            provider: provider.trim().to_owned(),
            model: model.trim().to_owned(),
            base_url,
            api_key_env: None,
            timeout: None,
            options: ChatOptions::default(),
            headers: BTreeMap::new(),
            health: HealthProbe::default(),
            provider_specific: BTreeMap::new(),
        })
    }
}

/// `host:port`, `host/path`, `localhost`, an address in numbers: what people write after an `@` when they mean a server.
fn looks_like_an_address(text: &str) -> bool {
    let (place, path) = text.split_once('/').map_or((text, false), |(place, _)| (place, true));
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let dotted =
        host.contains('.') && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    let numeric = host.parse::<std::net::IpAddr>().is_ok() || place.starts_with('[');
    host == "localhost" || numeric || is_port || (dotted && path)
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.model)?;
        if let Some(url) = &self.base_url {
            write!(f, "@{}", shown_address(url))?;
        }
        Ok(())
    }
}

/// How the name of a variable that is not set may be told: people paste the key itself there.
fn shown_variable(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if plain {
        format!("the variable {name} named by api_key_env is not set")
    } else {
        "api_key_env is not the name of a variable that is set (what it holds is not shown: it may be a key)"
            .to_owned()
    }
}

impl TargetSpec {
    /// The model configuration; `timeout` where the target has none of its own.
    ///
    /// # Errors
    /// When `api_key_env` names a variable that is not set.
    pub fn to_config(&self, timeout: Duration, env: &Env<'_>) -> Result<ModelConfig, Failure> {
        let mut config = ModelConfig::new(&self.provider, &self.model);
        config.base_url.clone_from(&self.base_url);
        config.timeout = self.timeout.unwrap_or(timeout);
        config.options = self.options.clone();
        config.headers.clone_from(&self.headers);
        config.health = self.health;
        config.provider_specific.clone_from(&self.provider_specific);
        if let Some(variable) = &self.api_key_env {
            let key = env(variable).ok_or_else(|| {
                let what = shown_variable(variable);
                Failure::usage(format!("target {self}: {what}; export it or remove api_key_env"))
            })?;
            config.api_key = Some(SecretString::from(key));
        }
        Ok(config)
    }
}

/// Names for all targets: what the user gave, else `provider:model`, made unique by host and then by number.
///
/// # Errors
/// When two targets were given the same name.
pub fn unique_names(targets: &[TargetSpec]) -> Result<Vec<String>, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let mut names: Vec<String> = targets
        .iter()
        .map(|t| t.name.clone().unwrap_or_else(|| format!("{}:{}", t.provider, t.model)))
        .collect();
    let clash = |names: &[String], i: usize| names.iter().enumerate().any(|(j, n)| j != i && *n == names[i]);
    let clashing: Vec<usize> = (0..names.len()).filter(|&i| clash(&names, i)).collect();
    for &i in &clashing {
        let t = &targets[i];
        match (&t.name, &t.base_url) {
            (Some(name), _) => errors.push(format!("target[{i}].name"), "expected a name used once", name),
            (None, Some(url)) => {
                let host = url.split("://").nth(1).unwrap_or(url).trim_end_matches('/');
                names[i] = format!("{}@{}", names[i], shown_address(host));
            }
            (None, None) => {}
        }
    }
    errors.into_result()?;
    for i in 1..names.len() {
        let (before, rest) = names.split_at_mut(i);
        let base = rest[0].clone();
        let mut number = 2;
        while before.contains(&rest[0]) {
            rest[0] = format!("{base}#{number}");
            number += 1;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, provider: &str, model: &str, url: Option<&str>) {
        let t: TargetSpec = text.parse().unwrap();
        assert_eq!((t.provider.as_str(), t.model.as_str(), t.base_url.as_deref()), (provider, model, url));
        assert_eq!(t.to_string(), text);
    }

    #[test]
    fn spellings() {
        check("openai:gpt-4o", "openai", "gpt-4o", None);
        check(
            "ollama:llama3.2:1b@http://127.0.0.1:11434",
            "ollama",
            "llama3.2:1b",
            Some("http://127.0.0.1:11434"),
        );
        check(
            "bedrock:arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0",
            "bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0",
            None,
        );
        check("openai:m@v2@https://h/v1", "openai", "m@v2", Some("https://h/v1"));
    }

    #[test]
    fn an_address_without_its_scheme_is_no_part_of_a_model() {
        for place in [
            "127.0.0.1:8398",
            "localhost",
            "localhost:8398/v1",
            "gpu-7:8000",
            "vllm.example.com/v1",
            "[::1]:80",
            "10.0.0.7",
        ] {
            let error = format!("openai:m@{place}").parse::<TargetSpec>().unwrap_err();
            assert!(error.contains(&format!("@http://{place}")), "{error}");
        }
        for model in ["m@v2", "publishers/google/models/x@20240101", "claude-3-5@1.2.3-beta", "m@latest"] {
            check(&format!("openai:{model}"), "openai", model, None);
        }
    }

    #[test]
    fn wrong_ones_say_what_was_expected() {
        for text in [
            "gpt-4o",
            ":m",
            "openai:",
            "openai:@http://x",
            "openai:m@http://user:pw@h",
            "openai:m@http://h?q",
        ] {
            assert!(text.parse::<TargetSpec>().unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn names_are_made_unique() {
        let targets: Vec<TargetSpec> = ["openai:m@http://a:1", "openai:m@http://b:2", "ollama:x", "ollama:x"]
            .iter()
            .map(|t| t.parse().unwrap())
            .collect();
        assert_eq!(
            unique_names(&targets).unwrap(),
            ["openai:m@a:1", "openai:m@b:2", "ollama:x", "ollama:x#2"]
        );
    }
}
