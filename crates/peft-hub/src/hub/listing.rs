//! What a model on the hub consists of, and which of it is wanted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::gguf;
use super::id::{is_commit, plain};

/// Configuration and vocabularies.
const SMALL: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "chat_template.jinja",
    "chat_template.json",
];
/// Weights in the order of preference: one file, or the list of several.
const WEIGHTS: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
const SMALL_LIMIT: u64 = 256 << 20;
const WEIGHT_LIMIT: u64 = 64 << 30;

/// The answer of the hub's interface to what a revision is.
#[derive(Debug, Deserialize)]
pub struct Listing {
    /// The commit.
    pub sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A plain name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// sha256 in lower-case hexadecimal, where the hub vouches for one: it does for large files.
    pub sha256: Option<String>,
}

/// The part of an index that names files.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Listing {
    /// Understands the hub's answer.
    pub fn parse(text: &str) -> Result<Self, String> {
        let listing: Self = serde_json::from_str(text)
            .map_err(|error| format!("the hub's list of files makes no sense ({error})"))?;
        if !is_commit(&listing.sha) {
            return Err("the hub's list of files names no commit".into());
        }
        Ok(listing)
    }

    /// Configuration, vocabularies, and the weights or the index of them; or one GGUF file, which has all of it, where
    /// `gguf` says which or there is nothing else.
    pub fn wanted(&self, gguf: Option<&str>) -> Result<Vec<Entry>, String> {
        let names = || self.siblings.iter().map(|file| file.rfilename.as_str());
        let folder = WEIGHTS
            .iter()
            .any(|wanted| names().any(|name| name == *wanted));
        if gguf.is_some() || !folder && names().any(|name| name.ends_with(".gguf")) {
            let name = gguf::choose(names().filter(|name| plain(name)), gguf)?;
            return Ok(self.entry(name, WEIGHT_LIMIT)?.into_iter().collect());
        }
        let mut wanted = Vec::new();
        for name in SMALL {
            wanted.extend(self.entry(name, SMALL_LIMIT)?);
        }
        for name in WEIGHTS {
            let limit = match name.ends_with(".json") {
                true => SMALL_LIMIT,
                false => WEIGHT_LIMIT,
            };
            if let Some(entry) = self.entry(name, limit)? {
                wanted.push(entry);
                return Ok(wanted);
            }
        }
        Err(format!(
            "the model has none of {}, nor a GGUF file: its format cannot be read",
            WEIGHTS.join(", ")
        ))
    }

    /// The files that an index names.
    pub fn shards(&self, index: &str) -> Result<Vec<Entry>, String> {
        let index: Index = serde_json::from_str(index)
            .map_err(|error| format!("the index of the weights makes no sense ({error})"))?;
        let mut names: Vec<String> = index.weight_map.into_values().collect();
        names.sort_unstable();
        names.dedup();
        let shard = |name: String| {
            let weights = name.ends_with(".safetensors") || name.ends_with(".bin");
            if !plain(&name) || !weights {
                return Err(format!("the index of the weights names the file {name:?}"));
            }
            self.entry(&name, WEIGHT_LIMIT)?
                .ok_or_else(|| format!("the index names {name}, which the model has not"))
        };
        names.into_iter().map(shard).collect()
    }

    fn entry(&self, name: &str, limit: u64) -> Result<Option<Entry>, String> {
        let Some(file) = self.siblings.iter().find(|file| file.rfilename == name) else {
            return Ok(None);
        };
        let size = file
            .size
            .ok_or_else(|| format!("the hub does not tell the size of {name}"))?;
        if size > limit {
            return Err(format!(
                "{name} has {size} bytes, more than the {limit} that are allowed"
            ));
        }
        let sha256 = file.lfs.as_ref().map(|lfs| lfs.sha256.to_ascii_lowercase());
        Ok(Some(Entry {
            name: name.to_owned(),
            size,
            sha256,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &str) -> Listing {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        Listing::parse(&format!(
            r#"{{"sha":"{sha}","siblings":[{files}],"gated":false}}"#
        ))
        .unwrap()
    }

    #[test]
    fn safetensors_come_before_pickles_and_other_files_are_left() {
        let listing = listing(
            r#"{"rfilename":"config.json","size":2},{"rfilename":"../x","size":1},
               {"rfilename":"pytorch_model.bin","size":9},{"rfilename":"onnx/model.onnx","size":7},
               {"rfilename":"model.safetensors","size":8,"lfs":{"sha256":"AB","size":8}}"#,
        );
        let names: Vec<_> = listing
            .wanted(None)
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        assert_eq!(names, ["config.json", "model.safetensors"]);
        assert_eq!(
            listing.wanted(None).unwrap()[1].sha256.as_deref(),
            Some("ab")
        );
    }

    #[test]
    fn a_gguf_file_is_all_of_a_model() {
        let both = listing(
            r#"{"rfilename":"config.json","size":2},{"rfilename":"model.safetensors","size":8},
               {"rfilename":"m-Q8_0.gguf","size":5},{"rfilename":"a/m-Q4_0.gguf","size":4}"#,
        );
        let names = |listing: &Listing, gguf| {
            listing.wanted(gguf).map(|entries| {
                entries
                    .into_iter()
                    .map(|entry| entry.name)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(names(&both, None).unwrap().len(), 2);
        assert_eq!(names(&both, Some("Q8_0")).unwrap(), ["m-Q8_0.gguf"]);
        assert!(names(&both, Some("Q4_0")).is_err());
        let only =
            listing(r#"{"rfilename":"config.json","size":2},{"rfilename":"m.gguf","size":5}"#);
        assert_eq!(names(&only, None).unwrap(), ["m.gguf"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Listing::parse("[]").is_err());
        assert!(Listing::parse(r#"{"sha":"../..","siblings":[]}"#).is_err());
        let none = listing(r#"{"rfilename":"config.json","size":2}"#).wanted(None);
        assert!(none.unwrap_err().contains("model.safetensors"));
        let huge = listing(r#"{"rfilename":"config.json","size":99999999999}"#).wanted(None);
        assert!(
            huge.unwrap_err()
                .contains("config.json has 99999999999 bytes")
        );
        let unknown = listing(r#"{"rfilename":"model.safetensors"}"#).wanted(None);
        assert!(unknown.unwrap_err().contains("size"));
    }

    #[test]
    fn an_index_names_plain_files_that_are_there() {
        let listing = listing(
            r#"{"rfilename":"m-1.safetensors","size":2},{"rfilename":"../x.bin","size":2}"#,
        );
        let index = |file: &str| format!(r#"{{"weight_map":{{"a":"{file}","b":"{file}"}}}}"#);
        assert_eq!(listing.shards(&index("m-1.safetensors")).unwrap().len(), 1);
        for bad in [
            "../x.bin",
            "/etc/x.bin",
            "m-2.safetensors",
            "config.json",
            ".x.bin",
            "a/b.bin",
        ] {
            assert!(listing.shards(&index(bad)).is_err(), "{bad}");
        }
    }
}
