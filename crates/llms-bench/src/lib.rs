//! Measure LLM providers: compare, load, report
