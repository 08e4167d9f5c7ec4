//! What an Ollama server tells beside answers: which models it has, what one of them can do, which are loaded; and
//! loading, unloading and pulling one. For health probes, tools and tests; no measurement goes through here.
//!
//! Nothing here happens by itself: in particular no model is pulled unless [`Server::pull`] is called.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use llms_core::{
    CallContext, ErrorCode, Result,
    wire::{Framer as _, Prepared, Reply, Transport, ndjson::NdjsonFramer},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{config::Config, error, wire::Refusal};

/// Longest wait for an answer of [`Server`] where the caller's context has no deadline; pulling has none.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer read: `show` repeats licence, template and tensors of a model.
const MAX_BODY: usize = 16 << 20;
/// Largest refusal read.
const MAX_REFUSAL: usize = 64 << 10;

/// One Ollama server, asked for what is beside answers. Cheap to clone.
#[derive(Debug)]
pub struct Server<T: ?Sized = dyn Transport> {
    config: Arc<Config>,
    transport: Arc<T>,
}

impl<T: ?Sized> Clone for Server<T> {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), transport: self.transport.clone() }
    }
}

/// A model that the server has; of `GET /api/tags`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// With its tag: `llama3.2:1b`.
    pub name: String,
    /// SHA-256 of its manifest, in hex.
    pub digest: Option<String>,
    /// Bytes on disk.
    pub size: Option<u64>,
    /// Format, family, size, quantization.
    pub details: Details,
    /// What it can do, where the server is new enough to say: see [`Shown::capabilities`].
    pub capabilities: Vec<String>,
}

/// Format, family, size and quantization of a model, in Ollama's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Details {
    /// `gguf`, …
    pub format: Option<String>,
    /// `llama`, `qwen3`, …
    pub family: Option<String>,
    /// `8.0B`, …
    pub parameter_size: Option<String>,
    /// `Q4_K_M`, …
    pub quantization_level: Option<String>,
}

/// What a model is and can do; of `POST /api/show`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// Format, family, size, quantization.
    pub details: Details,
    /// `completion`, `tools`, `thinking`, `vision`, `insert`, `embedding`, …; empty where an older server does not say.
    pub capabilities: Vec<String>,
    /// The parameters of its Modelfile, one a line: `num_ctx   4096`.
    pub parameters: Option<String>,
    /// What the model's file says of itself: `general.architecture`, `llama.context_length`, …
    pub model_info: BTreeMap<String, Value>,
}

impl Shown {
    /// Tokens of prompt and answer together that the model was made for; `None` where its file does not say. How many
    /// it is run with is another number: [`num_ctx`](Self::num_ctx), else the server's `OLLAMA_CONTEXT_LENGTH`.
    pub fn context_tokens(&self) -> Option<u64> {
        let architecture = self.model_info.get("general.architecture")?.as_str()?;
        self.model_info.get(&format!("{architecture}.context_length"))?.as_u64()
    }

    /// Tokens of prompt and answer together that its Modelfile asks for.
    pub fn num_ctx(&self) -> Option<u64> {
        let lines = self.parameters.as_deref()?.lines();
        lines.filter_map(|l| l.trim().strip_prefix("num_ctx")?.trim().parse().ok()).next_back()
    }
}

/// A model that is loaded; of `GET /api/ps`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Running {
    /// With its tag.
    pub name: String,
    /// Bytes of memory it takes, of all kinds.
    pub size: Option<u64>,
    /// Bytes of them on a GPU.
    pub size_vram: Option<u64>,
    /// When it is unloaded unless asked again, as RFC 3339.
    pub expires_at: Option<String>,
    /// Tokens of prompt and answer together that it is run with; newer servers only.
    pub context_length: Option<u64>,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// In the server's words: `pulling manifest`, `pulling 5cf0…`, `success`.
    pub status: &'a str,
    /// The layer it is about.
    pub digest: Option<&'a str>,
    /// Bytes of the layer.
    pub total: Option<u64>,
    /// Bytes of it that are there.
    pub completed: Option<u64>,
}

impl<T: Transport + ?Sized> Server<T> {
    /// The server of a configuration; its model does not matter here.
    pub fn new(config: impl Into<Arc<Config>>, transport: Arc<T>) -> Self {
        Self { config: config.into(), transport }
    }

    /// The version of the server: `0.9.3`. `GET /api/version`.
    ///
    /// # Errors
    /// The classified refusal; `malformed_response` where something else answers.
    pub async fn version(&self, ctx: &CallContext) -> Result<String> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let uri = &self.config.endpoints.version;
        Ok(self.get::<Version>("ollama.version", uri, ctx).await?.version)
    }

    /// The models that the server has. `GET /api/tags`.
    ///
    /// # Errors
    /// As [`version`](Self::version).
    pub async fn list(&self, ctx: &CallContext) -> Result<Vec<Listed>> {
        let uri = &self.config.endpoints.tags;
        Ok(self.get::<Models<Listed>>("ollama.list", uri, ctx).await?.models.unwrap_or_default())
    }

    /// The models that are loaded. `GET /api/ps`.
    ///
    /// # Errors
    /// As [`version`](Self::version).
    pub async fn running(&self, ctx: &CallContext) -> Result<Vec<Running>> {
        let uri = &self.config.endpoints.ps;
        Ok(self.get::<Models<Running>>("ollama.running", uri, ctx).await?.models.unwrap_or_default())
    }

    /// What a model is and can do. `POST /api/show`.
    ///
    /// # Errors
    /// `model_not_available` where the server has no such model; as [`version`](Self::version).
    pub async fn show(&self, model: &str, ctx: &CallContext) -> Result<Shown> {
        self.post("ollama.show", &self.config.endpoints.show, model, &json!({"model": model}), ctx).await
    }

    /// Loads a model, so that the next request need not wait for it. It stays as long as the configuration's
    /// `keep_alive` says, else as the server does.
    ///
    /// # Errors
    /// `model_not_available` where the server has no such model; as [`version`](Self::version).
    pub async fn load(&self, model: &str, ctx: &CallContext) -> Result<()> {
        let mut body = json!({"model": model, "stream": false});
        if let Some(keep) = self.config.options.extra.get("keep_alive") {
            body["keep_alive"] = keep.clone();
        }
        self.set("ollama.load", model, &body, ctx).await
    }

    /// Unloads a model, once the requests it is working on are done: the next request is a cold start.
    ///
    /// # Errors
    /// `model_not_available` where the server has no such model; as [`version`](Self::version).
    pub async fn unload(&self, model: &str, ctx: &CallContext) -> Result<()> {
        let body = json!({"model": model, "keep_alive": 0, "stream": false});
        self.set("ollama.unload", model, &body, ctx).await
    }

    /// Downloads a model to the server, which may be many gigabytes. `POST /api/pull`. What is there already is not
    /// downloaded again; a pull that was broken off goes on where it was.
    ///
    /// # Errors
    /// `model_not_available` where the registry has no such model, `stream_error` for any other failure that the server
    /// reports, `stream_truncated` where its report ends without `success`.
    pub async fn pull(
        &self,
        model: &str,
        ctx: &CallContext,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<()> {
        const OP: &str = "ollama.pull";
        ctx.run(OP, async {
            let body = json!({"model": model, "stream": true});
            let uri = &self.config.endpoints.pull;
            let mut reply = self.send(OP, Method::POST, uri, model, Some(&body), ctx).await?;
            let mut framer = NdjsonFramer::with_max_frame(MAX_REFUSAL);
            let mut done = false;
            while poll_fn(|cx| reply.body.poll_read(cx, framer.buffer())).await?.is_some() {
                while let Some(frame) = framer.next_frame()? {
                    done |= self.pulled(model, frame.data, progress)?;
                }
            }
            if let Some(frame) = framer.finish()? {
                done |= self.pulled(model, frame.data, progress)?;
            }
            if done {
                return Ok(());
            }
            let message =
                "the report of the pull ended without `success`; pull again, it goes on where it was";
            Err(error::new(OP, ErrorCode::StreamTruncated, message))
        })
        .await
        .map_err(attributed)
    }

    /// One line of a pull; whether it is the last.
    fn pulled(
        &self,
        model: &str,
        line: &str,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<bool> {
        const OP: &str = "ollama.pull";
        #[derive(Deserialize)]
        struct Line {
            #[serde(default)]
            status: String,
            digest: Option<String>,
            total: Option<u64>,
            completed: Option<u64>,
            error: Option<Value>,
        }
        let parsed: Line = serde_json::from_str(line)
            .map_err(|e| error::malformed(&self.config, OP, "a line of a pull's report", &e))?;
        if parsed.error.is_some() {
            let missing = line.contains("file does not exist") || line.contains("not found");
            let code = if missing { ErrorCode::ModelNotAvailable } else { ErrorCode::Stream };
            let said = error::in_answer(&self.config, OP, line, code);
            return Err(error::new(OP, said.code(), format!("`{model}` was not pulled: {}", said.message())));
        }
        progress(Progress {
            status: &parsed.status,
            digest: parsed.digest.as_deref(),
            total: parsed.total,
            completed: parsed.completed,
        });
        Ok(parsed.status == "success")
    }

    /// A request that loads or unloads: a prompt without text.
    async fn set(&self, op: &'static str, model: &str, body: &Value, ctx: &CallContext) -> Result<()> {
        let limited = if ctx.deadline.is_some() { ctx } else { &ctx.ending_within(self.config.timeout) };
        self.post::<Value>(op, &self.config.endpoints.generate, model, body, limited).await.map(drop)
    }

    async fn get<A: DeserializeOwned>(&self, op: &'static str, uri: &Uri, ctx: &CallContext) -> Result<A> {
        self.ask(op, Method::GET, uri, "", None, ctx).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        op: &'static str,
        uri: &Uri,
        model: &str,
        body: &Value,
        ctx: &CallContext,
    ) -> Result<A> {
        self.ask(op, Method::POST, uri, model, Some(body), ctx).await
    }

    /// One question, one JSON answer.
    async fn ask<A: DeserializeOwned>(
        &self,
        op: &'static str,
        method: Method,
        uri: &Uri,
        model: &str,
        body: Option<&Value>,
        ctx: &CallContext,
    ) -> Result<A> {
        let limited = if ctx.deadline.is_some() { ctx } else { &ctx.ending_within(TIMEOUT) };
        let read = async {
            let mut reply = self.send(op, method, uri, model, body, ctx).await?;
            let mut text = Vec::new();
            read(&mut reply, &mut text, MAX_BODY).await?;
            // An error object parses as nearly any answer: all fields of it are absent.
            let text = String::from_utf8_lossy(&text);
            if serde_json::from_str::<Refusal>(&text).is_ok() {
                return Err(error::in_answer(&self.config, op, &text, ErrorCode::InvalidResponse));
            }
            serde_json::from_str(&text)
                .map_err(|e| error::malformed(&self.config, op, "an answer of Ollama", &e))
        };
        limited.run(op, read).await.map_err(attributed)
    }

    /// Sends, and turns a refusal into its error.
    async fn send(
        &self,
        op: &'static str,
        method: Method,
        uri: &Uri,
        model: &str,
        body: Option<&Value>,
        ctx: &CallContext,
    ) -> Result<Reply> {
        let mut headers = self.config.headers.clone();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if body.is_none() {
            headers.remove(header::CONTENT_TYPE);
        }
        let body = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let prepared = Prepared { method, uri: uri.clone(), headers, body };
        // What is asked here is no part of an observed call.
        let unobserved = CallContext { observer: None, ..ctx.clone() };
        let mut reply = self.transport.send(prepared, &unobserved).await?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        let mut text = Vec::new();
        // A refusal whose text breaks off is that refusal all the same.
        let _ = read(&mut reply, &mut text, MAX_REFUSAL).await;
        Err(error::classify_for(&self.config, (op, uri, model), reply.status, &reply.headers, &text))
    }
}

#[derive(Deserialize)]
struct Models<M> {
    /// Absent or null in the answer of a server without any.
    models: Option<Vec<M>>,
}

/// The body of `GET /api/tags`.
pub(crate) fn models(body: &[u8]) -> serde_json::Result<Vec<Listed>> {
    Ok(serde_json::from_slice::<Models<Listed>>(body)?.models.unwrap_or_default())
}

async fn read(reply: &mut Reply, text: &mut Vec<u8>, limit: usize) -> Result<()> {
    while poll_fn(|cx| reply.body.poll_read(cx, text)).await?.is_some() {
        if text.len() > limit {
            let message = format!("expected a body of at most {limit} bytes, got a longer one");
            return Err(error::new("ollama.read", ErrorCode::MalformedResponse, message));
        }
    }
    Ok(())
}

/// Errors of the transport know no provider.
fn attributed(error: llms_core::Error) -> llms_core::Error {
    if error.provider().is_some() { error } else { error.with_provider(crate::PROVIDER) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_lengths_are_found() {
        let shown: Shown = serde_json::from_value(json!({
            "parameters": "stop                           \"x\"\nnum_ctx                        4096",
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960, "llama.context_length": 1},
        }))
        .unwrap();
        assert_eq!((shown.context_tokens(), shown.num_ctx()), (Some(40960), Some(4096)));
        let empty = Shown::default();
        assert_eq!((empty.context_tokens(), empty.num_ctx()), (None, None));
    }
}
