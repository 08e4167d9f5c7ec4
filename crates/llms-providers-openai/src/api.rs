//! The three APIs of OpenAI that answer with text, and what is different about their addresses.
//!
//! Chosen in the configuration (`provider_specific.api`, or by the constructor); everything later asks [`Api`]. The
//! bodies are the business of the modules `chat`, `responses` and `completions`.

use std::fmt;

/// Which API is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/chat/completions`: messages in, one message out. Every compatible server has it.
    #[default]
    Chat,
    /// `/responses`: items in, items out; the only one that shows and takes back reasoning. OpenAI, Azure, newer vLLM,
    /// llama.cpp and others.
    Responses,
    /// `/completions`: one text in, its continuation out. OpenAI calls it legacy; benchmarks of inference servers use it.
    Completions,
}

impl Api {
    /// All of them; paths that end others come first.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Completions];

    /// The name in the configuration: `chat`, `responses`, `completions`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Completions => "completions",
        }
    }

    /// The API of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.as_str() == name)
    }

    /// The path below the base URL.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
            Self::Completions => "/completions",
        }
    }

    /// The operation as errors name it.
    pub(crate) const fn op(self) -> &'static str {
        match self {
            Self::Chat => "openai.chat",
            Self::Responses => "openai.responses",
            Self::Completions => "openai.completions",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
