//! Ollama /api/chat as a pure codec
