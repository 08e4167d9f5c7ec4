//! Analysis to terminal text, Markdown and JSON
