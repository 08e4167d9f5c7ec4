//! Where the stamps of one answer go: preallocated storage, nothing computed while the answer comes.

use llms_core::{
    ChatResponse, EventSink, FinishReason, Outcome, Stamp, StreamEvent, Usage, bench::ChunkStamp,
    event::Collector,
};

/// Collects what a record needs of one answer; keeps the answer itself only when somebody will check it.
pub(crate) struct RecordingSink {
    pub(crate) chunks: Vec<ChunkStamp>,
    pub(crate) first_answer: Option<u32>,
    pub(crate) chars: u64,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish_reason: Option<FinishReason>,
    pub(crate) model: Option<String>,
    /// Chunks to expect.
    room: usize,
    /// Boxed: most runs keep no answers.
    answer: Option<Box<Collector>>,
}

impl RecordingSink {
    /// Room for `chunks` chunks, made when the first of them comes; `keep` the answer for a validator.
    pub(crate) fn new(chunks: usize, keep: bool) -> Self {
        Self {
            chunks: Vec::new(),
            first_answer: None,
            chars: 0,
            usage: None,
            finish_reason: None,
            model: None,
            room: chunks,
            answer: keep.then(Box::default),
        }
    }

    /// Takes over what the end of the call said; it wins over what came earlier.
    pub(crate) fn complete(&mut self, outcome: Outcome) {
        self.usage = match (self.usage, outcome.usage) {
            (Some(early), Some(late)) => Some(early.merge(late)),
            (early, late) => late.or(early),
        };
        self.finish_reason = outcome.finish_reason.or(self.finish_reason.take());
        self.model = outcome.model.or(self.model.take());
    }

    /// An answer that came whole: counted, no chunks.
    pub(crate) fn whole(&mut self, response: &ChatResponse) {
        let reasoning = response.reasoning.as_deref().unwrap_or_default();
        self.chars = (response.text.chars().count() + reasoning.chars().count()) as u64;
        self.usage = response.usage;
        self.finish_reason.clone_from(&response.finish_reason);
        self.model.clone_from(&response.model);
    }

    /// The streamed answer joined, if it was kept.
    pub(crate) fn take_answer(&mut self) -> Option<ChatResponse> {
        self.answer.take().map(|answer| answer.finish())
    }
}

impl EventSink for RecordingSink {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        if event.is_token() {
            if self.first_answer.is_none() && event.is_answer_token() {
                self.first_answer = u32::try_from(self.chunks.len()).ok();
            }
            if self.chunks.capacity() == 0 {
                // Not before: a stream that waits for its first token needs no room.
                self.chunks.reserve_exact(self.room);
            }
            self.chunks.push(ChunkStamp { stamp, tokens: None });
        }
        match &event {
            StreamEvent::Text(text) | StreamEvent::Reasoning(text) => {
                self.chars += text.chars().count() as u64;
            }
            StreamEvent::Usage(usage) => self.usage = Some(self.usage.unwrap_or_default().merge(*usage)),
            StreamEvent::Finish(reason) => self.finish_reason = Some(reason.clone()),
            StreamEvent::Start { model: Some(model), .. } => self.model = Some(model.to_string()),
            _ => {}
        }
        if let Some(answer) = &mut self.answer {
            answer.event(event, stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use llms_core::time::Timestamp;

    use super::*;

    #[test]
    fn only_tokens_are_chunks_and_reasoning_is_no_answer() {
        let mut sink = RecordingSink::new(4, true);
        let events = [
            StreamEvent::Start { id: None, model: Some("m-1".into()) },
            StreamEvent::Reasoning("hmm".into()),
            StreamEvent::Text("".into()),
            StreamEvent::Text("né".into()),
            StreamEvent::Usage(Usage { input_tokens: Some(3), ..Usage::default() }),
            StreamEvent::Usage(Usage { output_tokens: Some(2), ..Usage::default() }),
            StreamEvent::Finish(FinishReason::Stop),
        ];
        for (i, event) in (0..).zip(events) {
            sink.event(event, Stamp::user(Timestamp::from_nanos(i), 0));
        }
        let at: Vec<u64> = sink.chunks.iter().map(|c| c.stamp.user.as_nanos()).collect();
        assert_eq!((at, sink.first_answer, sink.chars), (vec![1, 3], Some(1), 5));
        sink.complete(Outcome { finish_reason: Some(FinishReason::Length), ..Outcome::default() });
        assert_eq!(sink.finish_reason, Some(FinishReason::Length));
        assert_eq!(sink.usage.map(|u| (u.input_tokens, u.output_tokens)), Some((Some(3), Some(2))));
        assert_eq!(sink.model.as_deref(), Some("m-1"));
        assert_eq!(sink.take_answer().unwrap().text, "né");
    }
}
