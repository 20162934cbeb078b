//! JSON objects from files: bounded in size, and without repeated keys.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::bounded;
use crate::error::{FormatError, Result, shorten};

/// The largest JSON file that is read.
pub(crate) const JSON_LIMIT: u64 = 16 << 20;

/// A JSON object in file order; a repeated key is an error.
///
/// Parsers differ in which of two equal keys wins, so a file with both means different things to
/// different programs.
pub(crate) struct UniqueMap<V>(pub IndexMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map = IndexMap::new();
                while let Some(key) = access.next_key::<String>()? {
                    let value = access.next_value()?;
                    if map.contains_key(&key) {
                        let key = shorten(&key);
                        return Err(A::Error::custom(format_args!(
                            "the key `{key}` occurs twice"
                        )));
                    }
                    map.insert(key, value);
                }
                Ok(UniqueMap(map))
            }
        }

        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

/// Parses a JSON object read from `path`.
pub(crate) fn parse_object<V>(path: &Path, bytes: &[u8]) -> Result<IndexMap<String, V>>
where
    V: for<'de> Deserialize<'de>,
{
    let bytes = crate::python_json::standard(bytes);
    let parsed: UniqueMap<V> = serde_json::from_slice(&bytes).map_err(|e| FormatError::Json {
        path: path.to_owned(),
        reason: shorten(&e.to_string()),
    })?;
    Ok(parsed.0)
}

/// Reads and parses a JSON object.
pub(crate) fn read_object<V>(path: &Path) -> Result<IndexMap<String, V>>
where
    V: for<'de> Deserialize<'de>,
{
    parse_object(path, &bounded::read(path, "the JSON file", JSON_LIMIT)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_refused_and_order_kept() {
        let path = Path::new("x.json");
        let map: IndexMap<String, u8> = parse_object(path, br#"{"b":1,"a":2}"#).unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["b", "a"]);
        let error = parse_object::<u8>(path, br#"{"b":1,"b":2}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("x.json") && error.contains("`b` occurs twice"),
            "{error}"
        );
    }
}
