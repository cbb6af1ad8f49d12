//! Whether a connection is among those that `Hf-Only` names.

use holdfast_protocol::wire::Condition;
use serde_json::Value;

use super::Session;

impl Session {
    /// Whether the connection meets a condition. `device`, `user` and `endpoint` are its own; any other name is that of
    /// an attribute. What is missing never matches, nor does a connection that is nobody's.
    pub fn matches(&self, condition: &Condition) -> bool {
        let Some(identity) = &self.identity else { return false };
        let value = condition.value.as_str();
        match condition.name.as_str() {
            "device" => identity.device.as_deref() == Some(value),
            "user" => *identity.user == *value,
            "endpoint" => *self.endpoint.name == *value,
            name => {
                let attribute = identity.attributes.as_ref().and_then(|attributes| attributes.get(name));
                match attribute {
                    Some(Value::Array(items)) => items.iter().any(|item| is(item, value)),
                    Some(attribute) => is(attribute, value),
                    None => false,
                }
            }
        }
    }
}

/// Numbers and booleans compare as JSON text; objects, lists within lists and `null` equal nothing.
fn is(attribute: &Value, value: &str) -> bool {
    match attribute {
        Value::String(text) => text == value,
        Value::Number(number) => number.to_string() == value,
        Value::Bool(true) => value == "true",
        Value::Bool(false) => value == "false",
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
