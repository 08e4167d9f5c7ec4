//! From method and path to what is wanted.

use super::{
    config::Protocol,
    dialect::{Again, Api, Reply, azure_words},
};
use crate::profile::FaultKind;

/// What a request wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Chat(Target),
    /// Anthropic's count.
    CountTokens,
    /// Bedrock's count, with the model.
    BedrockCount(String),
    /// OpenAI's count for a response.
    InputTokens,
    /// A stored response: the mock stores none.
    Response(String),
    /// Models of OpenAI or Anthropic, all or one.
    Models(Option<String>),
    OllamaTags,
    OllamaPs,
    OllamaShow,
    OllamaPull,
    OllamaEmbed,
    OllamaVersion,
    OllamaRoot,
    Truth,
    Profiles,
    /// Nothing is there; whose manner of saying so.
    Nowhere(Protocol),
}

/// A place that generates, and what the path says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub api: Api,
    /// The model, where the path names it (Bedrock, Azure).
    pub model: Option<String>,
    /// Bedrock says it by path, the others in the body.
    pub stream: Option<bool>,
    pub azure: bool,
}

impl Target {
    /// A refusal of this kind, in the words of who is asked.
    pub(super) fn refusal(&self, kind: FaultKind, model: &str, request_id: &str, again: Again) -> Reply {
        let reply = self.api.refusal(kind, model, request_id, again);
        if self.azure { azure_words(kind, reply, again.after) } else { reply }
    }
}

/// Finds the route of a path without query.
pub(super) fn route(method: &str, path: &str) -> Route {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (method, parts.as_slice()) {
        ("GET" | "HEAD", [""]) => Route::OllamaRoot,
        ("GET", ["mock", "truth"]) => Route::Truth,
        ("GET", ["mock", "profiles"]) => Route::Profiles,
        (_, ["model", ..]) => bedrock(method, &parts),
        (_, ["api", rest @ ..]) => ollama(method, rest),
        (_, ["v1", "messages", rest @ ..]) => match (method, rest) {
            ("POST", []) => chat(Api::Messages),
            ("POST", ["count_tokens"]) => Route::CountTokens,
            _ => Route::Nowhere(Protocol::Anthropic),
        },
        ("POST", ["openai", "deployments", name, rest @ ..]) => azure(name, rest),
        (_, ["openai", "v1", rest @ ..] | ["v1" | "openai", rest @ ..]) => {
            openai(method, rest, parts[0] == "openai")
        }
        // Clients whose base URL lacks the version.
        ("POST", rest @ (["chat", "completions"] | ["completions" | "responses"])) => {
            openai(method, rest, false)
        }
        _ => Route::Nowhere(Protocol::OpenAi),
    }
}

fn chat(api: Api) -> Route {
    Route::Chat(Target { api, model: None, stream: None, azure: false })
}

fn openai(method: &str, rest: &[&str], azure: bool) -> Route {
    let chat = |api| Route::Chat(Target { api, model: None, stream: None, azure });
    match (method, rest) {
        ("POST", ["chat", "completions"]) => chat(Api::Chat),
        ("POST", ["completions"]) => chat(Api::Completions),
        ("POST", ["responses"]) => chat(Api::Responses),
        ("POST", ["responses", "input_tokens"]) => Route::InputTokens,
        ("GET" | "DELETE", ["responses", id]) | ("POST", ["responses", id, "cancel"]) => {
            Route::Response(percent_decode(id))
        }
        ("GET", ["models"]) => Route::Models(None),
        ("GET", ["models", id @ ..]) => Route::Models(Some(percent_decode(&id.join("/")))),
        _ => Route::Nowhere(Protocol::OpenAi),
    }
}

fn azure(name: &str, rest: &[&str]) -> Route {
    let api = match rest {
        ["chat", "completions"] => Api::Chat,
        ["completions"] => Api::Completions,
        _ => return Route::Nowhere(Protocol::OpenAi),
    };
    Route::Chat(Target { api, model: Some(percent_decode(name)), stream: None, azure: true })
}

fn bedrock(method: &str, parts: &[&str]) -> Route {
    let ("POST", ["model", id @ .., action]) = (method, parts) else {
        return Route::Nowhere(Protocol::Bedrock);
    };
    let model = percent_decode(&id.join("/"));
    let chat = |api, stream| {
        let model = Some(model.clone());
        Route::Chat(Target { api, model, stream: Some(stream), azure: false })
    };
    match *action {
        _ if id.is_empty() => Route::Nowhere(Protocol::Bedrock),
        "converse" => chat(Api::Converse, false),
        "converse-stream" => chat(Api::Converse, true),
        "invoke" => chat(Api::Invoke, false),
        "invoke-with-response-stream" => chat(Api::Invoke, true),
        "count-tokens" => Route::BedrockCount(model),
        _ => Route::Nowhere(Protocol::Bedrock),
    }
}

fn ollama(method: &str, rest: &[&str]) -> Route {
    match (method, rest) {
        ("POST", ["chat"]) => chat(Api::OllamaChat),
        ("POST", ["generate"]) => chat(Api::OllamaGenerate),
        ("GET", ["tags"]) => Route::OllamaTags,
        ("GET", ["ps"]) => Route::OllamaPs,
        ("POST", ["show"]) => Route::OllamaShow,
        ("POST", ["pull"]) => Route::OllamaPull,
        ("POST", ["embed"]) => Route::OllamaEmbed,
        ("GET", ["version"]) => Route::OllamaVersion,
        _ => Route::Nowhere(Protocol::Ollama),
    }
}

pub(super) fn percent_decode(text: &str) -> String {
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

    #[track_caller]
    fn chats(path: &str, api: Api, model: Option<&str>, stream: Option<bool>, azure: bool) {
        let target = Target { api, model: model.map(str::to_owned), stream, azure };
        assert_eq!(route("POST", path), Route::Chat(target), "{path}");
    }

    #[test]
    fn the_paths_do_not_collide() {
        for base in ["/v1", ""] {
            chats(&format!("{base}/chat/completions"), Api::Chat, None, None, false);
            chats(&format!("{base}/completions"), Api::Completions, None, None, false);
            chats(&format!("{base}/responses"), Api::Responses, None, None, false);
        }
        chats("/openai/v1/responses", Api::Responses, None, None, true);
        chats("/openai/responses", Api::Responses, None, None, true);
        chats("/openai/deployments/my%20gpt/chat/completions", Api::Chat, Some("my gpt"), None, true);
        chats("/openai/deployments/d/completions", Api::Completions, Some("d"), None, true);
        chats("/v1/messages", Api::Messages, None, None, false);
        let claude = Some("anthropic.claude-v1:0");
        chats("/model/anthropic.claude-v1%3A0/converse-stream", Api::Converse, claude, Some(true), false);
        chats("/model/anthropic.claude-v1%3A0/invoke", Api::Invoke, claude, Some(false), false);
        let arn = Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.x");
        for id in [
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.x",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x",
        ] {
            chats(&format!("/model/{id}/converse"), Api::Converse, arn, Some(false), false);
            let stream = format!("/model/{id}/invoke-with-response-stream");
            chats(&stream, Api::Invoke, arn, Some(true), false);
        }
        assert_eq!(route("POST", "/model/m/count-tokens"), Route::BedrockCount("m".into()));
        chats("/api/chat", Api::OllamaChat, None, None, false);
        chats("/api/generate", Api::OllamaGenerate, None, None, false);
        assert_eq!(route("GET", "/v1/models/a%2Fb"), Route::Models(Some("a/b".into())));
        assert_eq!(route("GET", "/openai/v1/models"), Route::Models(None));
        assert_eq!(route("GET", "/v1/responses/resp_1"), Route::Response("resp_1".into()));
        assert_eq!(route("GET", "/api/chat"), Route::Nowhere(Protocol::Ollama));
        assert_eq!(route("POST", "/model/converse"), Route::Nowhere(Protocol::Bedrock));
        assert_eq!(route("GET", "/"), Route::OllamaRoot);
        assert_eq!(percent_decode("100%"), "100%");
    }
}
