//! From method and path to what is wanted.

use super::config::Protocol;

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Chat {
        protocol: Protocol,
        /// The model, where the path names it (Bedrock, Azure).
        model: Option<String>,
        /// Bedrock says it by path, the others in the body.
        stream: Option<bool>,
        azure: bool,
    },
    CountTokens,
    /// Models of OpenAI or Anthropic, all or one.
    Models(Option<String>),
    OllamaTags,
    OllamaPs,
    OllamaShow,
    OllamaVersion,
    OllamaRoot,
    Truth,
    Profiles,
    /// Nothing is there; whose manner of saying so.
    Nowhere(Protocol),
}

/// Finds the route of a path without query.
pub(super) fn route(method: &str, path: &str) -> Route {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let chat = |protocol| Route::Chat { protocol, model: None, stream: None, azure: false };
    match (method, parts.as_slice()) {
        (
            "POST",
            ["v1" | "openai", "chat", "completions"]
            | ["chat", "completions"]
            | ["openai", "v1", "chat", "completions"],
        ) => chat(Protocol::OpenAi),
        ("POST", ["openai", "deployments", name, "chat", "completions"]) => Route::Chat {
            protocol: Protocol::OpenAi,
            model: Some(percent_decode(name)),
            stream: None,
            azure: true,
        },
        ("POST", ["v1", "messages"]) => chat(Protocol::Anthropic),
        ("POST", ["v1", "messages", "count_tokens"]) => Route::CountTokens,
        ("GET", ["v1", "models"] | ["openai", "v1", "models"]) => Route::Models(None),
        ("GET", ["v1", "models", id @ ..] | ["openai", "v1", "models", id @ ..]) => {
            Route::Models(Some(percent_decode(&id.join("/"))))
        }
        ("POST", ["model", id @ .., action @ ("converse" | "converse-stream")]) if !id.is_empty() => {
            Route::Chat {
                protocol: Protocol::Bedrock,
                model: Some(percent_decode(&id.join("/"))),
                stream: Some(*action == "converse-stream"),
                azure: false,
            }
        }
        ("POST", ["api", "chat"]) => chat(Protocol::Ollama),
        ("GET", ["api", "tags"]) => Route::OllamaTags,
        ("GET", ["api", "ps"]) => Route::OllamaPs,
        ("POST", ["api", "show"]) => Route::OllamaShow,
        ("GET", ["api", "version"]) => Route::OllamaVersion,
        ("GET" | "HEAD", [""]) => Route::OllamaRoot,
        ("GET", ["mock", "truth"]) => Route::Truth,
        ("GET", ["mock", "profiles"]) => Route::Profiles,
        (_, ["model", ..]) => Route::Nowhere(Protocol::Bedrock),
        (_, ["api", ..]) => Route::Nowhere(Protocol::Ollama),
        (_, ["v1", "messages", ..]) => Route::Nowhere(Protocol::Anthropic),
        _ => Route::Nowhere(Protocol::OpenAi),
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code =
            code.and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| u8::from_str_radix(c, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_do_not_collide() {
        let chat = |path: &str| match route("POST", path) {
            Route::Chat { protocol, model, stream, azure } => (protocol, model, stream, azure),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(chat("/v1/chat/completions"), (Protocol::OpenAi, None, None, false));
        assert_eq!(chat("/chat/completions"), (Protocol::OpenAi, None, None, false));
        let azure = chat("/openai/deployments/my%20gpt/chat/completions");
        assert_eq!(azure, (Protocol::OpenAi, Some("my gpt".into()), None, true));
        assert_eq!(chat("/v1/messages"), (Protocol::Anthropic, None, None, false));
        let bedrock = chat("/model/anthropic.claude-v1%3A0/converse-stream");
        assert_eq!(bedrock, (Protocol::Bedrock, Some("anthropic.claude-v1:0".into()), Some(true), false));
        let arn = chat("/model/arn:aws:bedrock:us-east-1:1:inference-profile/us.x/converse");
        assert_eq!(arn.1.as_deref(), Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.x"));
        assert_eq!(chat("/api/chat"), (Protocol::Ollama, None, None, false));
        assert_eq!(route("GET", "/v1/models/a%2Fb"), Route::Models(Some("a/b".into())));
        assert_eq!(route("GET", "/api/chat"), Route::Nowhere(Protocol::Ollama));
        assert_eq!(route("GET", "/"), Route::OllamaRoot);
        assert_eq!(percent_decode("100%"), "100%");
    }
}
