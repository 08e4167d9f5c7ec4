//! The codecs under test. All hold both secrets; no environment is read, no socket opened.

use std::{collections::BTreeMap, sync::LazyLock};

use llms_core::config::ModelConfig;

use crate::secret::{HEADER, KEY};

/// OpenAI's APIs and Azure.
#[derive(Debug)]
pub struct OpenAi {
    pub chat: llms_providers_openai::Codec,
    pub completions: llms_providers_openai::Codec,
    pub responses: llms_providers_openai::Codec,
    pub azure: llms_providers_openai::Codec,
}

/// Ollama's two endpoints.
#[derive(Debug)]
pub struct Ollama {
    pub chat: llms_providers_ollama::Codec,
    pub generate: llms_providers_ollama::Codec,
}

/// A configuration with both secrets.
pub fn config(provider: &str, url: &str) -> ModelConfig {
    let mut config = ModelConfig::new(provider, "a-model").with_api_key(KEY).with_base_url(url);
    config.headers = BTreeMap::from([("x-team".to_owned(), HEADER.to_owned())]);
    config
}

fn no_environment(_: &str) -> Option<String> {
    None
}

/// OpenAI.
pub static OPENAI: LazyLock<OpenAi> = LazyLock::new(|| {
    use llms_providers_openai::{Codec, Config};
    let compatible = config("openai", "http://127.0.0.1:9/v1");
    let azure = config("openai", "https://fuzz.openai.azure.com");
    OpenAi {
        chat: Codec::new(Config::chat(&compatible, &no_environment).expect("a valid configuration")),
        completions: Codec::new(
            Config::completions(&compatible, &no_environment).expect("a valid configuration"),
        ),
        responses: Codec::new(
            Config::responses(&compatible, &no_environment).expect("a valid configuration"),
        ),
        azure: Codec::new(Config::chat(&azure, &no_environment).expect("a valid configuration")),
    }
});

/// Anthropic.
pub static ANTHROPIC: LazyLock<llms_providers_anthropic::Codec> = LazyLock::new(|| {
    use llms_providers_anthropic::{Codec, Config};
    let config = config("anthropic", "http://127.0.0.1:9");
    Codec::new(Config::new(&config, &no_environment).expect("a valid configuration"))
});

/// Ollama.
pub static OLLAMA: LazyLock<Ollama> = LazyLock::new(|| {
    use llms_providers_ollama::{Codec, Config};
    let chat = config("ollama", "http://127.0.0.1:9");
    let generate = chat.clone().with_specific("api", "generate");
    Ollama {
        chat: Codec::new(Config::new(&chat, &no_environment).expect("a valid configuration")),
        generate: Codec::new(Config::new(&generate, &no_environment).expect("a valid configuration")),
    }
});
