//! Which weights a checkpoint holds, in a few bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::error::Result;
use crate::{Checkpoint, TensorInfo};

/// Checkpoints up to so many bytes are hashed whole; of larger ones, every tensor is sampled.
pub const WHOLE_LIMIT: u64 = 1 << 30;

/// Bytes of a block, and blocks of a tensor, where tensors are sampled.
const BLOCK: usize = 4096;
const BLOCKS: usize = 16;

/// Bytes after which mapped pages are given back, so that hashing needs no more memory than loading.
const MAPPED: usize = 16 << 20;
/// Bytes that the system maps around one that is looked at.
const AROUND: usize = 64 << 10;

/// Part of every hash: another way of hashing needs another word here.
const SCHEME: &[u8] = b"peft base 1";

/// The identity of a checkpoint's weights.
///
/// An xxh3 hash of 128 bits over the tensors in the order of their names: name, element type, shape
/// and bytes. It depends on neither the shards nor the format of the files, and passes over
/// `position_ids`, which some writers add and which are no weights. Quantised tensors are
/// hashed as the blocks or codes that they are: the same weights decoded into another file are another
/// checkpoint. Above [`WHOLE_LIMIT`] the bytes of
/// a tensor are its first and last 4096 and 14 blocks of as many, evenly spaced, between them;
/// tensors of up to 64 KiB are hashed whole. It tells weights apart that differ by accident; it is
/// no defence against somebody who wants two checkpoints to look alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// `xxh3:` and 32 hexadecimal digits.
    pub hash: String,
    /// Tensors hashed.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Fingerprint {
    /// The fingerprint of a checkpoint, read through its memory map.
    ///
    /// # Errors
    /// Those of [`Checkpoint::bytes`].
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        Self::with_limit(checkpoint, WHOLE_LIMIT)
    }

    fn with_limit(checkpoint: &Checkpoint, whole: u64) -> Result<Self> {
        let tensors: Vec<(&str, TensorInfo, String, usize)> = checkpoint
            .names()
            .filter(|name| !name.ends_with("position_ids"))
            .filter_map(|name| {
                let (kind, len) = checkpoint.stored_as(name)?;
                Some((name, checkpoint.info(name)?, kind, len))
            })
            .collect();
        let bytes: u64 = tensors.iter().map(|(.., len)| *len as u64).sum();
        let mut mapped = 0;
        let mut looked_at = |len: usize| {
            mapped += len;
            if mapped >= MAPPED {
                checkpoint.release();
                mapped = 0;
            }
        };
        let mut hash = Xxh3::new();
        hash.update(SCHEME);
        hash.update(&[u8::from(bytes <= whole)]);
        for (name, info, kind, _) in &tensors {
            text(&mut hash, name);
            text(&mut hash, kind);
            number(&mut hash, info.shape.len());
            info.shape.iter().for_each(|&d| number(&mut hash, d));
            let content: Cow<'_, [u8]> = checkpoint.stored_bytes(name)?;
            if bytes <= whole || content.len() <= BLOCK * BLOCKS {
                for piece in content.chunks(MAPPED) {
                    hash.update(piece);
                    looked_at(piece.len());
                }
            } else {
                for block in 0..BLOCKS {
                    let start = (content.len() - BLOCK) / (BLOCKS - 1) * block;
                    // The last block ends with the tensor, whatever the division left over.
                    let start = match block + 1 {
                        BLOCKS => content.len() - BLOCK,
                        _ => start,
                    };
                    hash.update(&content[start..start + BLOCK]);
                    looked_at(AROUND);
                }
            }
        }
        Ok(Self {
            hash: format!("xxh3:{:032x}", hash.digest128()),
            tensors: tensors.len(),
            bytes,
        })
    }

    /// The beginning of the hash, for messages.
    pub fn short(&self) -> &str {
        self.hash.get(..17).unwrap_or(&self.hash)
    }
}

/// With its length first, so that no two lists of texts run together into the same bytes.
fn text(hash: &mut Xxh3, text: &str) {
    number(hash, text.len());
    hash.update(text.as_bytes());
}

fn number(hash: &mut Xxh3, number: usize) {
    hash.update(&(number as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Dtype, Metadata, SafetensorsWriter, TensorSpec};

    fn write(path: &Path, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
        let specs = tensors
            .iter()
            .map(|(name, dtype, shape, _)| TensorSpec::new(*name, *dtype, *shape));
        let mut writer =
            SafetensorsWriter::create(path, specs.collect(), &Metadata::new()).unwrap();
        let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
        for name in order {
            let found = tensors.iter().find(|tensor| tensor.0 == name).unwrap();
            writer.write(&name, &found.3).unwrap();
        }
        writer.finish().unwrap();
    }

    /// Of one file with these tensors, hashed whole or sampled.
    fn print(tensors: &[(&str, Dtype, &[usize], Vec<u8>)], whole: u64) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.safetensors");
        write(&file, tensors);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        Fingerprint::with_limit(&checkpoint, whole).unwrap().hash
    }

    #[test]
    fn every_property_of_a_tensor_counts() {
        let bytes: Vec<u8> = (0..32).collect();
        let base = print(&[("a", Dtype::F32, &[2, 4], bytes.clone())], WHOLE_LIMIT);
        let mut changed = bytes.clone();
        changed[31] ^= 1;
        let others = [
            ("b", Dtype::F32, &[2, 4][..], bytes.clone()),
            ("a", Dtype::I32, &[2, 4], bytes.clone()),
            ("a", Dtype::F32, &[4, 2], bytes.clone()),
            ("a", Dtype::F32, &[2, 4], changed),
        ];
        for other in others {
            let shown = format!("{other:?}");
            assert_ne!(print(&[other], WHOLE_LIMIT), base, "{shown}");
        }
        let again = print(
            &[
                ("a", Dtype::F32, &[2, 4], bytes),
                ("embeddings.position_ids", Dtype::I64, &[1], vec![0; 8]),
            ],
            WHOLE_LIMIT,
        );
        assert_eq!(again, base);
    }

    #[test]
    fn samples_see_both_ends_and_changes_all_over() {
        let len = (BLOCK * BLOCKS + 12_345) * 4;
        let bytes = vec![7u8; len];
        let of = |bytes: Vec<u8>| print(&[("a", Dtype::F32, &[len / 4], bytes)], 0);
        let base = of(bytes.clone());
        assert_eq!(of(bytes.clone()), base);
        for place in [0, BLOCK - 1, len - BLOCK, len - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_ne!(of(changed), base, "{place}");
        }
        assert_ne!(of(vec![8; len]), base);
    }

    #[test]
    fn shards_do_not_matter() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models");
        let whole = Checkpoint::open(&models.join("bert_base")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut map = serde_json::Map::new();
        for (number, name) in whole.names().enumerate() {
            let info = whole.info(name).unwrap();
            let file = format!("model-{number}.safetensors");
            let bytes = whole.bytes(name).unwrap().into_owned();
            write(
                &dir.path().join(&file),
                &[(name, info.dtype, &info.shape, bytes)],
            );
            map.insert(name.to_owned(), file.into());
        }
        let index = serde_json::json!({ "weight_map": map }).to_string();
        std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        let sharded = Checkpoint::open(dir.path()).unwrap();
        let (whole, sharded) = (Fingerprint::of(&whole), Fingerprint::of(&sharded));
        assert_eq!(whole.unwrap(), sharded.unwrap());
    }
}
