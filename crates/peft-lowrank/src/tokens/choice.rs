use std::collections::BTreeSet;

use peft_core::{AdapterError, Site, SiteKind};
use serde_json::{Map, Value};

use crate::config::fault;

/// The setting.
const KEY: &str = "trainable_token_indices";

/// Which tokens of which tables are trained: PEFT's `trainable_token_indices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChoice {
    /// These of the table of a model's tokens.
    Input(Vec<usize>),
    /// Those of tables, and of heads, by the ends of their names.
    Named(Vec<(String, Vec<usize>)>),
}

impl TokenChoice {
    /// What a setting says: a list of numbers, names with lists, or numbers with commas between them; none
    /// where it says nothing.
    ///
    /// # Errors
    /// For anything else, and for a token that is named twice.
    pub fn of(value: &Value) -> Result<Option<Self>, AdapterError> {
        let choice = match value {
            Value::Null => return Ok(None),
            Value::Object(tables) => Self::Named(named(tables)?),
            one => Self::Input(tokens(one)?),
        };
        let lists: Vec<&Vec<usize>> = match &choice {
            Self::Input(tokens) => vec![tokens],
            Self::Named(tables) => tables.iter().map(|(_, tokens)| tokens).collect(),
        };
        for list in &lists {
            let distinct: BTreeSet<&usize> = list.iter().collect();
            if distinct.len() != list.len() {
                return Err(fault(
                    format!("{KEY} = {value} names a token twice"),
                    "name each once",
                ));
            }
        }
        Ok(lists.iter().any(|list| !list.is_empty()).then_some(choice))
    }

    /// The tokens of a site of a name, if it is one of those that are named.
    pub fn tokens_of(&self, path: &str) -> Option<&[usize]> {
        match self {
            Self::Input(tokens) => is_of_tokens(path).then_some(tokens),
            Self::Named(tables) => tables
                .iter()
                .find(|(name, _)| answers(path, name))
                .map(|(_, tokens)| tokens.as_slice()),
        }
    }

    /// The sites of a model whose tokens are trained.
    ///
    /// # Errors
    /// If a name is that of no table and no linear layer, or a token is not in it.
    pub fn sites(&self, sites: &[Site]) -> Result<Vec<String>, AdapterError> {
        let found: Vec<(&Site, &[usize])> = match self {
            Self::Input(tokens) => {
                let is_table =
                    |site: &&Site| site.kind == SiteKind::Embedding && is_of_tokens(&site.path);
                let table = sites.iter().find(is_table);
                let table = table.ok_or_else(|| {
                    fault(
                        format!("{KEY}: the model has no table of tokens"),
                        "leave it out",
                    )
                })?;
                vec![(table, tokens)]
            }
            Self::Named(tables) => {
                let mut found = Vec::new();
                for (name, tokens) in tables {
                    let of_kind =
                        |site: &&Site| site.kind == SiteKind::Embedding || site.kind.is_linear();
                    let site = sites
                        .iter()
                        .filter(of_kind)
                        .find(|site| answers(&site.path, name));
                    let site = site.ok_or_else(|| {
                        fault(
                            format!("{KEY}: no table of the model is called `{name}`"),
                            "name a table of tokens, such as embed_tokens, or the head",
                        )
                    })?;
                    found.push((site, tokens.as_slice()));
                }
                found
            }
        };
        for (site, tokens) in &found {
            let [inputs, outputs] = site.matrix();
            let entries = match site.kind {
                SiteKind::Embedding => inputs,
                _ => outputs,
            };
            if let Some(token) = tokens.iter().find(|token| **token >= entries) {
                return Err(fault(
                    format!(
                        "{KEY}: `{}` has {entries} tokens, and none of number {token}",
                        site.path
                    ),
                    "give numbers below that; new tokens need a base whose tables were made longer",
                ));
            }
        }
        Ok(found.iter().map(|(site, _)| site.path.clone()).collect())
    }
}

/// Whether a table is that of a model's tokens, by its name: it may have others of positions and segments.
fn is_of_tokens(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    !(name.contains("position") || name.contains("type") || name == "wpe")
}

/// Whether a name is that of a module, or the end of it.
fn answers(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn named(tables: &Map<String, Value>) -> Result<Vec<(String, Vec<usize>)>, AdapterError> {
    tables
        .iter()
        .map(|(name, value)| Ok((name.clone(), tokens(value)?)))
        .collect()
}

fn tokens(value: &Value) -> Result<Vec<usize>, AdapterError> {
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let read: Option<Vec<usize>> = match value {
        Value::Array(list) => list.iter().map(number).collect(),
        Value::String(text) => text
            .split(',')
            .map(|part| part.trim().parse().ok())
            .collect(),
        one => number(one).map(|token| vec![token]),
    };
    read.ok_or_else(|| {
        fault(
            format!("{KEY} = {value} is no list of tokens"),
            "give the numbers of tokens, as in 5,7,9, or of several tables, as in \
             { embed_tokens = [5, 7], lm_head = [9] }",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sites() -> Vec<Site> {
        let table = |path: &str, entries| Site {
            path: path.into(),
            kind: SiteKind::Embedding,
            shape: vec![entries, 4],
        };
        vec![
            table("model.embed_tokens", 10),
            table("model.positions", 6),
            Site::linear("model.layers.0.query", 4, 4),
            Site::linear("lm_head", 4, 12),
        ]
    }

    #[test]
    fn tokens_are_those_of_the_first_table_or_of_named_ones() {
        let of = |value| TokenChoice::of(&value).unwrap();
        assert_eq!(of(Value::Null), None);
        assert_eq!(of(json!([])), None);
        assert_eq!(of(json!("3, 9")), of(json!([3, 9])));
        assert_eq!(of(json!(3)), of(json!([3])));
        let first = of(json!([3, 9])).unwrap();
        assert_eq!(first.sites(&sites()).unwrap(), ["model.embed_tokens"]);
        let both = of(json!({ "embed_tokens": [1], "lm_head": [11, 2] })).unwrap();
        let found = both.sites(&sites()).unwrap();
        assert_eq!(found, ["model.embed_tokens", "lm_head"]);
        assert_eq!(both.tokens_of("lm_head"), Some(&[11, 2][..]));
        assert_eq!(both.tokens_of("model.layers.0.query"), None);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let none: &[Value] = &[
            json!([1, 1]),
            json!([-1]),
            json!([1.5]),
            json!("a"),
            json!(true),
            json!({ "lm_head": "x" }),
        ];
        for value in none {
            let error = TokenChoice::of(value).unwrap_err().to_string();
            assert!(error.contains(KEY), "{error}");
        }
        let sites_of = |value| TokenChoice::of(&value).unwrap().unwrap().sites(&sites());
        let error = sites_of(json!([10])).unwrap_err().to_string();
        assert!(
            error.contains("10 tokens") && error.contains("number 10"),
            "{error}"
        );
        let error = sites_of(json!({ "wte": [1] })).unwrap_err().to_string();
        assert!(error.contains("`wte`"), "{error}");
    }
}
