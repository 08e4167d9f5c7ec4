//! Tools the model may call.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tool offered to the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// Unique within a request; letters, digits, `_` and `-`.
    pub name: String,
    /// When to use it, for the model to read.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of the arguments, an object schema.
    pub parameters: Value,
}

impl ToolDefinition {
    /// A tool with a JSON Schema for its arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        Self { name: name.into(), description: description.into(), parameters }
    }
}

/// A call the model asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Identifies the call in the answer; made up by the codec (`call_0`, …) where the wire has none.
    pub id: String,
    /// [`ToolDefinition::name`].
    pub name: String,
    /// The arguments as the JSON text the model wrote; may be invalid JSON, models do that.
    pub arguments: String,
}

impl ToolCall {
    /// The arguments parsed; an empty text counts as `{}`.
    pub fn parse_arguments(&self) -> serde_json::Result<Value> {
        if self.arguments.trim().is_empty() {
            Ok(Value::Object(serde_json::Map::new()))
        } else {
            serde_json::from_str(&self.arguments)
        }
    }
}
