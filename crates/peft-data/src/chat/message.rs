//! Conversations: what is said, and by whom.

use serde_json::{Map, Value, json};

/// What is wrong with a conversation, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) fix: &'static str,
}

/// One turn, as templates see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The keys that the template gets: `role`, `content` and whatever else there is.
    pub(crate) keys: Map<String, Value>,
}

/// What the same thing is called; templates know one name or another.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl Message {
    /// A turn of text.
    pub fn new(role: &str, content: &str) -> Self {
        let keys = [("role", role), ("content", content)];
        let keys = keys.map(|(key, text)| (key.to_owned(), json!(text)));
        Self {
            keys: keys.into_iter().collect(),
        }
    }

    /// Who speaks.
    pub fn role(&self) -> &str {
        self.keys.get("role").and_then(Value::as_str).unwrap_or("")
    }

    /// What is said; `None` in a turn that only calls tools.
    pub fn content(&self) -> Option<&str> {
        self.keys.get("content").and_then(Value::as_str)
    }

    /// Whether all that is said is the content.
    pub(crate) fn is_plain(&self) -> bool {
        let others = self
            .keys
            .keys()
            .filter(|key| *key != "role" && *key != "content");
        self.content().is_some() && others.count() == 0
    }

    pub(crate) fn with_content(&self, content: String) -> Self {
        let mut message = self.clone();
        message.keys.insert("content".to_owned(), content.into());
        message
    }

    /// Reads `{"role", "content"}` or ShareGPT's `{"from", "value"}`. Keys of null are removed, roles
    /// brought to their usual names, texts in parts joined.
    pub(crate) fn read(value: Value) -> Result<Self, Problem> {
        let Value::Object(mut keys) = value else {
            return Err(problem("expected a turn as an object, found another value"));
        };
        keys.retain(|_, value| !value.is_null());
        let first = |keys: &mut Map<String, Value>, names: [&str; 2]| {
            let name = names.into_iter().find(|name| keys.contains_key(*name))?;
            keys.shift_remove(name)
        };
        let role = match first(&mut keys, ["role", "from"]) {
            Some(Value::String(role)) => normal_role(&role)?,
            Some(_) => return Err(problem("expected a speaker's name as `role`")),
            None => return Err(problem("a turn has neither `role` nor `from`")),
        };
        let content = match first(&mut keys, ["content", "value"]) {
            Some(content) => Some(text(content)?),
            None => None,
        };
        let calls = keys.contains_key("tool_calls");
        if content.is_none() && !calls && !REASONING.iter().any(|key| keys.contains_key(*key)) {
            return Err(problem("a turn has neither `content` nor `value`"));
        }
        if let Some(thoughts) = REASONING.iter().find_map(|key| keys.get(*key)).cloned() {
            for key in REASONING {
                keys.entry(key).or_insert_with(|| thoughts.clone());
            }
        }
        let mut all = Map::new();
        all.insert("role".to_owned(), role.into());
        if let Some(content) = content {
            all.insert("content".to_owned(), content.into());
        }
        all.extend(keys);
        Ok(Self { keys: all })
    }
}

/// A role by its usual name.
fn normal_role(role: &str) -> Result<String, Problem> {
    Ok(match role.trim().to_lowercase().as_str() {
        "human" | "user" => "user",
        "gpt" | "bot" | "model" | "chatgpt" | "assistant" => "assistant",
        "observation" | "tool" => "tool",
        "system" => "system",
        "function_call" => {
            return Err(Problem {
                what: "a turn of `function_call`, which templates do not know".to_owned(),
                fix: "write it as a turn of the assistant with `tool_calls`",
            });
        }
        _ => role,
    }
    .to_owned())
}

/// Content that is text, in one piece or in parts.
fn text(content: Value) -> Result<String, Problem> {
    let other = |what: String| Problem {
        what,
        fix: "only text is read: write the content as text, or remove the row",
    };
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let mut all = String::new();
            for part in parts {
                match (part.get("type").and_then(Value::as_str), part.get("text")) {
                    (Some("text") | None, Some(Value::String(text))) => all.push_str(text),
                    (kind, _) => {
                        let kind = crate::error::shorten(kind.unwrap_or("unknown"));
                        return Err(other(format!(
                            "expected text as content, found a part of type `{kind}`"
                        )));
                    }
                }
            }
            Ok(all)
        }
        _ => Err(other(
            "expected text as content, found another value".to_owned(),
        )),
    }
}

fn problem(what: &str) -> Problem {
    Problem {
        what: what.to_owned(),
        fix: "write each turn as {\"role\": \"user\", \"content\": \"…\"}",
    }
}

/// All that a template is given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// The turns.
    pub messages: Vec<Message>,
    /// Descriptions of the tools that may be called, as a JSON list; null if there are none.
    pub tools: Value,
    /// Documents to answer from, as a JSON list; null if there are none.
    pub documents: Value,
    /// Whatever else a template asks for, such as `enable_thinking`.
    pub arguments: Map<String, Value>,
}

impl Conversation {
    /// Of turns of text.
    pub fn new(messages: Vec<Message>) -> Self {
        Self {
            messages,
            ..Self::default()
        }
    }
}
