//! A client of few lines on a blocking socket: it shares nothing with the code under test.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bench_mock::server::{Protocol, Server};
use serde_json::{Value, json};

/// How the connection stood after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The body was complete.
    Complete,
    /// The connection was closed before.
    Closed,
    /// The connection was reset before.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.text()))
    }
}

pub(crate) struct Client {
    socket: TcpStream,
    buf: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, buf: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Appends one read; how the connection ended otherwise.
    fn more(&mut self) -> Result<(), End> {
        let mut chunk = [0; 4096];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                self.buf.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Err(End::Reset),
            Err(e) => panic!("{e}"),
        }
    }

    /// Waits until `n` bytes of the answer are there; `false` when the connection ended before.
    pub(crate) fn wait_for(&mut self, n: usize) -> bool {
        while self.buf.len() < n {
            if self.more().is_err() {
                return false;
            }
        }
        true
    }

    /// Reads one answer; `None` with the way the connection ended when not even a head came.
    pub(crate) fn read(&mut self, head_only: bool) -> Result<Answer, End> {
        let head_end = loop {
            if let Some(at) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.buf.drain(..head_end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|l| l.split_once(": "))
            .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
            .collect();
        let (mut body, mut end) = (Vec::new(), End::Complete);
        if head_only {
        } else if let Some(length) = headers.get("content-length") {
            let length: usize = length.parse().unwrap();
            while end == End::Complete && self.buf.len() < length {
                end = self.more().err().unwrap_or(End::Complete);
            }
            body = self.buf.drain(..length.min(self.buf.len())).collect();
        } else if headers.contains_key("transfer-encoding") {
            loop {
                match self.chunk() {
                    Ok(chunk) if chunk.is_empty() => break,
                    Ok(chunk) => body.extend(chunk),
                    Err(e) => {
                        end = e;
                        break;
                    }
                }
            }
        } else {
            while self.more().is_ok() {}
            body = std::mem::take(&mut self.buf);
        }
        Ok(Answer { status, headers, body, end })
    }

    fn chunk(&mut self) -> Result<Vec<u8>, End> {
        let line = loop {
            if let Some(at) = self.buf.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            self.more()?;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&self.buf[..line]).unwrap(), 16).unwrap();
        while self.buf.len() < line + 2 + size + 2 {
            self.more()?;
        }
        let chunk = self.buf[line + 2..line + 2 + size].to_vec();
        assert_eq!(&self.buf[line + 2 + size..line + 4 + size], b"\r\n");
        self.buf.drain(..line + 4 + size);
        Ok(chunk)
    }

    pub(crate) fn call(&mut self, request: &[u8]) -> Result<Answer, End> {
        self.write(request);
        self.read(false)
    }
}

/// A request with a JSON body, on a connection of its own.
pub(crate) fn send(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let post = String::from_utf8(post(path, "admin", body)).unwrap();
    let request = post.replacen("POST", method, 1);
    Client::connect(server.addr()).call(request.as_bytes()).unwrap()
}

/// A POST with a JSON body; Anthropic's paths get its version header.
pub(crate) fn post(path: &str, id: &str, body: &Value) -> Vec<u8> {
    let version = if path.starts_with("/v1/messages") { "anthropic-version: 2023-06-01\r\n" } else { "" };
    post_with(path, id, version, body)
}

/// A POST with a JSON body and more header lines.
pub(crate) fn post_with(path: &str, id: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: mock\r\nx-request-id: {id}\r\ncontent-type: application/json\r\n\
         {headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn get(server: &Server, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: mock\r\n\r\n");
    Client::connect(server.addr()).call(request.as_bytes()).unwrap()
}

/// A chat request of a protocol: "hello" to `model`, with more body fields.
pub(crate) fn chat(protocol: Protocol, model: &str, id: &str, stream: bool, more: &Value) -> Vec<u8> {
    let text = json!([{"role": "user", "content": "hello"}]);
    let (path, mut body) = match protocol {
        Protocol::OpenAi => {
            let options = json!({"include_usage": true});
            let mut body = json!({"model": model, "messages": text, "stream": stream});
            if stream {
                body["stream_options"] = options;
            }
            ("/v1/chat/completions".to_owned(), body)
        }
        Protocol::Anthropic => (
            "/v1/messages".to_owned(),
            json!({"model": model, "max_tokens": 4096, "messages": text, "stream": stream}),
        ),
        Protocol::Bedrock => (
            format!("/model/{model}/converse{}", if stream { "-stream" } else { "" }),
            json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}),
        ),
        Protocol::Ollama => {
            ("/api/chat".to_owned(), json!({"model": model, "messages": text, "stream": stream}))
        }
    };
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    post(&path, id, &body)
}

/// The tool `get_weather` as each protocol's body fields offer it.
pub(crate) fn offer(protocol: Protocol) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let function = json!({"name": "get_weather", "description": "d", "parameters": schema});
    match protocol {
        Protocol::OpenAi | Protocol::Ollama => json!({"tools": [{"type": "function", "function": function}]}),
        Protocol::Anthropic => {
            json!({"tools": [{"name": "get_weather", "description": "d", "input_schema": schema}]})
        }
        Protocol::Bedrock => {
            let spec = json!({"name": "get_weather", "description": "d", "inputSchema": {"json": schema}});
            json!({"toolConfig": {"tools": [{"toolSpec": spec}]}})
        }
    }
}
