//! Options of the raw floor, and of the program that sets the `direct` transport against it.

#![allow(dead_code, reason = "each of the two programs has options that the other has not")]

use std::path::PathBuf;

/// What to send, how often, where to.
pub(crate) struct Args {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) streams: usize,
    pub(crate) requests: u64,
    pub(crate) model: String,
    pub(crate) tokens: u32,
    /// `floor` only.
    pub(crate) records: Option<PathBuf>,
    /// `streams` only: `body`, `sse` or `chat`.
    pub(crate) reads_as: String,
    /// `streams` only: without kernel stamps.
    pub(crate) user_stamps: bool,
}

const USAGE: &str = "usage: [--url http://HOST:PORT/PATH] [--streams N] [--requests N] [--model NAME] [--tokens N] \
    [--records FILE] [--as body|sse|chat] [--stamps kernel|user]";

impl Args {
    /// From the command line.
    pub(crate) fn parse() -> Result<Self, String> {
        let mut this = Self {
            host: String::new(),
            path: String::new(),
            streams: 100,
            requests: 100,
            model: "mock".into(),
            tokens: 128,
            records: None,
            reads_as: "body".into(),
            user_stamps: false,
        };
        this.set_url("http://127.0.0.1:8399/v1/chat/completions")?;
        let mut words = std::env::args().skip(1);
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("expected a value behind {option}; {USAGE}"))?;
            let number =
                || value.parse::<u32>().map_err(|_| format!("expected a number behind {option}; {USAGE}"));
            match option.as_str() {
                "--url" => this.set_url(&value)?,
                "--streams" => this.streams = number()? as usize,
                "--requests" => this.requests = u64::from(number()?),
                "--model" => this.model = value,
                "--tokens" => this.tokens = number()?,
                "--as" => this.reads_as = value,
                "--stamps" => this.user_stamps = value == "user",
                "--records" => this.records = Some(value.into()),
                _ => return Err(format!("unknown option {option}; {USAGE}")),
            }
        }
        Ok(this)
    }

    fn set_url(&mut self, url: &str) -> Result<(), String> {
        let rest =
            url.strip_prefix("http://").ok_or_else(|| format!("expected http://, found {url}; {USAGE}"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        (self.host, self.path) = (host.to_owned(), format!("/{path}"));
        Ok(())
    }

    /// A streamed chat request in OpenAI's form.
    pub(crate) fn request(&self, id: u64) -> String {
        let body = format!(
            "{{\"model\":\"{}\",\"messages\":[{{\"role\":\"user\",\"content\":\"floor {id}\"}}],\"stream\":true,\"max_tokens\":{}}}",
            self.model, self.tokens
        );
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nauthorization: Bearer floor\r\nx-request-id: floor-{id}\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.host,
            body.len()
        )
    }
}
