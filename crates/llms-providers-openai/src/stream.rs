//! Answers of every API: the decoder of the configured one, and whole bodies.
//!
//! Third step of the flow. The work is done in the `stream.rs` of each API's module; text completions are read by that
//! of chat completions.

use std::sync::Arc;

use llms_core::{
    ChatResponse, EventSink, Outcome, Result, Stamp,
    wire::{self, Frame, Hooks},
};

use crate::{api::Api, chat, config::Config, responses};

/// Reads the frames of one streamed answer.
#[derive(Debug)]
pub struct Decoder(Inner);

#[derive(Debug)]
enum Inner {
    Chat(chat::stream::Decoder),
    Responses(responses::stream::Decoder),
}

impl Decoder {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self(match config.api {
            Api::Chat | Api::Completions => Inner::Chat(chat::stream::Decoder::new(config)),
            Api::Responses => Inner::Responses(responses::stream::Decoder::new(config)),
        })
    }
}

impl wire::Decoder for Decoder {
    #[inline]
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        match &mut self.0 {
            Inner::Chat(d) => d.frame(frame, stamp, sink),
            Inner::Responses(d) => d.frame(frame, stamp, sink),
        }
    }

    fn is_complete(&self) -> bool {
        match &self.0 {
            Inner::Chat(d) => d.is_complete(),
            Inner::Responses(d) => d.is_complete(),
        }
    }

    fn finish(&mut self) -> Result<Outcome> {
        match &mut self.0 {
            Inner::Chat(d) => d.finish(),
            Inner::Responses(d) => d.finish(),
        }
    }

    fn hooks(&self, report: &mut Hooks<'_>) {
        match &self.0 {
            Inner::Chat(d) => d.hooks(report),
            Inner::Responses(d) => d.hooks(report),
        }
    }
}

/// A whole answer.
///
/// # Errors
/// `malformed_response`, the classified error of an error object inside a 200, `empty_response`, `invalid_response` for a
/// response that is not finished.
pub(crate) fn whole(config: &Config, body: &[u8], report: &mut Hooks<'_>) -> Result<ChatResponse> {
    match config.api {
        Api::Chat | Api::Completions => chat::stream::whole(config, body, report),
        Api::Responses => responses::stream::whole(config, body, report),
    }
}
