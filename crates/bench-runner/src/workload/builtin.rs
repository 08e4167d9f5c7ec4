//! The built-in scenarios: small, free of any provider's peculiarities, and the same for everybody.

use std::time::Duration;

use llms_core::{
    ChatOptions, ToolDefinition,
    bench::{Load, Prompt, Scenario, Warmup},
};
use serde_json::json;

use super::passage;

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        simple(),
        complex(),
        comparison(),
        tool_calling(),
        streaming(),
        long_context(),
        development(),
        load(),
    ]
}

fn named(name: &str, description: &str, prompts: &[(&str, &str)], max_tokens: u32) -> Scenario {
    Scenario {
        description: description.to_owned(),
        prompts: prompts.iter().map(|(id, text)| Prompt::new(*id, *text)).collect(),
        options: ChatOptions { max_tokens: Some(max_tokens), ..ChatOptions::default() },
        ..Scenario::new(name, [""; 0])
    }
}

/// Short questions with short answers: latency without much generation.
fn simple() -> Scenario {
    Scenario {
        load: Load::closed(4),
        requests: Some(100),
        ..named(
            "simple",
            "Short questions, short answers: latency with hardly any generation",
            &[
                ("capital", "What is the capital of France?"),
                ("arithmetic", "What is 2+2?"),
                ("list-sort", "How do I sort a list in Python? Answer in one line."),
                ("machine-learning", "What is machine learning? Answer in one sentence."),
                ("renewable", "Name three benefits of renewable energy."),
            ],
            50,
        )
    }
}

/// Long explanations.
fn complex() -> Scenario {
    Scenario {
        load: Load::closed(4),
        requests: Some(60),
        timeout: Duration::from_mins(2),
        ..named(
            "complex",
            "Long explanations: generation dominates",
            &[
                ("quantum-mechanics", "Explain the principles of quantum mechanics in detail."),
                ("blockchain", "Explain in detail how a blockchain reaches consensus, and where it fails."),
                ("business-plan", "Write a detailed business plan for a small bakery with home delivery."),
                (
                    "marketing",
                    "Develop a marketing strategy for an electric bicycle, by channel and quarter.",
                ),
                ("renewable", "Describe the benefits of renewable energy and what stands in its way."),
            ],
            500,
        )
    }
}

/// The mix that `compare` uses when nothing else is named.
fn comparison() -> Scenario {
    Scenario {
        load: Load::closed(10),
        requests: Some(100),
        ..named(
            "comparison",
            "A mix of short and medium tasks, to compare providers",
            &[
                ("capital", "What is the capital of France?"),
                ("quantum", "Explain quantum computing simply."),
                ("haiku", "Write a haiku about technology."),
                ("renewable", "What are the benefits of renewable energy?"),
                ("list-sort", "Show how to sort a list of dictionaries by a key in Python."),
                ("machine-learning", "Explain machine learning to a ten-year-old."),
                ("robot-story", "Write a short story about a robot that learns to paint."),
                ("data-insights", "What insights does this data give: 1, 2, 3, 4, 5?"),
            ],
            200,
        )
    }
}

/// Questions that only a tool can answer.
fn tool_calling() -> Scenario {
    let text = |description: &str| json!({"type": "string", "description": description});
    Scenario {
        requires_tools: true,
        tools: vec![
            ToolDefinition::new(
                "get_weather",
                "Current weather of a city",
                json!({
                    "type": "object",
                    "properties": {"city": text("Name of the city"), "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
                    "required": ["city"]
                }),
            ),
            ToolDefinition::new(
                "convert_currency",
                "Converts an amount of money at today's rate",
                json!({
                    "type": "object",
                    "properties": {
                        "amount": {"type": "number"},
                        "from": text("ISO 4217 code"),
                        "to": text("ISO 4217 code")
                    },
                    "required": ["amount", "from", "to"]
                }),
            ),
        ],
        load: Load::closed(4),
        requests: Some(60),
        ..named(
            "tool-calling",
            "Questions that need a tool: time until the call is complete",
            &[
                ("weather", "What is the weather in Lisbon right now?"),
                ("weather-unit", "How warm is it in Oslo at the moment, in fahrenheit?"),
                ("currency", "How many euros do I get for 250 US dollars today?"),
                ("both", "I fly to Tokyo with 800 euros: how is the weather there, and what is that in yen?"),
            ],
            200,
        )
    }
}

/// Medium-long streamed answers.
fn streaming() -> Scenario {
    Scenario {
        load: Load::closed(8),
        requests: Some(100),
        ..named(
            "streaming",
            "Streamed answers of medium length: first token, pace and stalls",
            &[
                ("ai-story", "Write a short story about artificial intelligence."),
                ("robot-story", "Write a short story about a robot that learns to paint."),
                ("lighthouse", "Describe a day in the life of a lighthouse keeper a hundred years ago."),
                ("train", "Describe a long train journey through the mountains, stop by stop."),
                ("recipe", "Explain, step by step, how to bake a sourdough bread."),
            ],
            200,
        )
    }
}

/// Long documents with one question.
fn long_context() -> Scenario {
    let prompts = [
        ("report-2k", 40, "Which station reported the lowest value? Answer with its number."),
        ("report-8k", 160, "Which station reported the highest value? Answer with its number."),
        ("report-7k", 150, "Summarise the report in three sentences."),
        ("report-16k", 320, "How many stations reported a fault? Answer with a number."),
    ];
    Scenario {
        prompts: prompts
            .into_iter()
            .map(|(id, stations, question)| {
                Prompt::new(id, format!("{}\n\n{question}", passage::station_report(stations)))
            })
            .collect(),
        load: Load::closed(2),
        requests: Some(40),
        timeout: Duration::from_mins(3),
        ..named("long-context", "Documents of about 2,000 to 16,000 tokens: how prefill time grows", &[], 100)
    }
}

/// A quick look while developing.
fn development() -> Scenario {
    Scenario {
        load: Load::closed(2),
        requests: Some(10),
        timeout: Duration::from_secs(30),
        warmup: Warmup { requests: 1, prompts: Vec::new() },
        ..named(
            "development",
            "A few requests, to see whether everything works; too few for percentiles",
            &[
                ("arithmetic", "What is 2+2?"),
                ("haiku", "Write a haiku about technology."),
                ("capital", "What is the capital of France?"),
            ],
            50,
        )
    }
}

/// Arrivals that wait for nobody.
fn load() -> Scenario {
    Scenario {
        load: Load::poisson(20.0).capped(50),
        duration: Some(Duration::from_mins(1)),
        ..named(
            "load",
            "Open loop: 20 Poisson arrivals per second, whatever the server does",
            &[
                ("arithmetic", "What is 2+2?"),
                ("capital", "What is the capital of France?"),
                ("quantum", "Explain quantum computing simply."),
                ("haiku", "Write a haiku about technology."),
                ("data-insights", "What insights does this data give: 1, 2, 3, 4, 5?"),
            ],
            100,
        )
    }
}
