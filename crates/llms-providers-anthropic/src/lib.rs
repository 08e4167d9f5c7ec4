//! Anthropic Messages as a pure codec
