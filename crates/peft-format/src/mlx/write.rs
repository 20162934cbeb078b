//! Writing a folder.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::json;

use super::names::{HEAD, NEOX_HEAD, in_block, is_neox, mlx_module};
use super::{A, B, LENGTHS, WEIGHTS_NAME};
use crate::Metadata;
use crate::adapter::write_tensors;
use crate::atomic::write_atomic_bytes;
use crate::config::CONFIG_NAME;
use crate::error::{FormatError, Result, shorten};
use crate::host::HostTensor;
use crate::lora::LoraPair;

/// An adapter as MLX-LM loads it.
#[derive(Debug, Clone, PartialEq)]
pub struct MlxAdapter {
    /// Blocks of the base model.
    pub blocks: usize,
    /// The base model, as the configuration names it.
    pub base_model: Option<String>,
    /// Dropout of an adapter's input in training.
    pub dropout: f64,
    /// Adapted modules by their path in Hugging Face's model, in file order.
    pub modules: IndexMap<String, MlxModule>,
}

/// The adapter of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct MlxModule {
    /// The factors.
    pub pair: LoraPair,
    /// Lengths of the adapted weight's outputs, `[out]`, of DoRA.
    pub lengths: Option<Vec<f32>>,
}

impl MlxAdapter {
    /// Writes `adapters.safetensors` in `f32` and `adapter_config.json` into a folder.
    ///
    /// MLX-LM has one rank and one scale for all modules: the largest rank, for which narrower factors are
    /// filled up with zeros, and the scale of the first. Where the scale of another differs, the quotient
    /// goes into its `B`.
    ///
    /// # Errors
    /// [`FormatError::Write`] for an adapter without modules, modules outside of the blocks counted,
    /// factors that do not fit each other, scales of 0 or infinity, and lengths that only some have;
    /// [`FormatError::Io`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(WEIGHTS_NAME);
        let wrong = |tensor: &str, expected: &str, found: String| FormatError::Write {
            path: path.clone(),
            tensor: shorten(tensor),
            expected: expected.into(),
            found,
        };
        let Some(first) = self.modules.values().next() else {
            return Err(wrong(A, "at least one module", "none".into()));
        };
        let (scale, dora) = (first.pair.scale, first.lengths.is_some());
        let rank = self.modules.values().map(|module| module.pair.rank);
        let rank = rank.max().unwrap_or_default();
        let neox = self.modules.keys().any(|name| is_neox(name));
        let (mut keys, mut lowest) = (BTreeSet::new(), self.blocks);
        let mut tensors = IndexMap::new();
        for (name, MlxModule { pair, lengths }) in &self.modules {
            if !pair.scale.is_finite() || pair.scale == 0.0 {
                let found = pair.scale.to_string();
                return Err(wrong(name, "a finite scale other than 0", found));
            }
            let fits = |(_, rows): &(usize, usize)| match lengths {
                Some(lengths) => dora && lengths.len() == *rows,
                None => !dora,
            };
            let Some((columns, rows)) = pair.sizes().filter(fits) else {
                let expected =
                    "A [rank, in] and B [out, rank], and lengths [out] for all modules or none";
                let found = format!(
                    "rank {}, {} values, {} and {:?}",
                    pair.rank,
                    pair.a.len(),
                    pair.b.len(),
                    lengths.as_ref().map(Vec::len)
                );
                return Err(wrong(name, expected, found));
            };
            let module = match neox && name == HEAD {
                true => NEOX_HEAD.to_owned(),
                false => mlx_module(name),
            };
            match in_block(&module) {
                Some((block, _)) if block >= self.blocks => {
                    let expected = format!("one of {} blocks", self.blocks);
                    return Err(wrong(name, &expected, format!("block {block}")));
                }
                Some((block, key)) => {
                    lowest = lowest.min(block);
                    keys.insert(key.to_owned());
                }
                None if name != HEAD => {
                    let expected = format!("a module of a block, or `{HEAD}`");
                    return Err(wrong(name, &expected, "another module".into()));
                }
                None => {
                    keys.insert(module.clone());
                }
            }
            let mut push = |suffix: &str, shape: &[usize], values: &[f32]| {
                let tensor = HostTensor::from_f32(shape, values);
                tensors.insert(format!("{module}.{suffix}"), tensor);
            };
            let mut a = pair.a.clone();
            a.resize(rank * columns, 0.0);
            let a = HostTensor::from_f32([rank, columns], &a).transposed();
            let mut b = HostTensor::from_f32([rows, pair.rank], &pair.b_times(pair.scale / scale))
                .transposed();
            b.bytes.resize(4 * rank * rows, 0);
            b.shape[0] = rank;
            if let Some(lengths) = lengths {
                push(LENGTHS, &[rows], lengths);
            }
            tensors.insert(format!("{module}.{A}"), a);
            tensors.insert(format!("{module}.{B}"), b);
        }
        let mut config = json!({
            "fine_tune_type": if dora { "dora" } else { "lora" },
            // Counted from the last. A block without its own tensors keeps B = 0.
            "num_layers": self.blocks - lowest,
            "lora_parameters": {
                "rank": rank,
                "scale": decimal(scale),
                "dropout": self.dropout,
                "keys": keys,
            },
        });
        if let Some(base) = &self.base_model {
            config["model"] = base.as_str().into();
        }
        let metadata = Metadata::from([("format".to_owned(), "mlx".to_owned())]);
        write_tensors(&path, &tensors, &metadata)?;
        write_atomic_bytes(
            &folder.join(CONFIG_NAME),
            format!("{config:#}\n").as_bytes(),
        )
    }
}

/// The shortest decimal of an `f32`.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
