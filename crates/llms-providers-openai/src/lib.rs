//! OpenAI chat completions and everything compatible, as a pure codec
