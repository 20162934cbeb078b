//! Folders of AdapterHub's library, written.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{FIXED, HEAD_CONFIG, HEADS, PLACES, SAFETENSORS, SETTINGS, TENSORS};
use crate::HostTensor;
use crate::adapter::{pt_metadata, write_tensors};
use crate::atomic::write_atomic_bytes;
use crate::config::CONFIG_NAME;
use crate::error::{FormatError, Result};

/// The name that an adapter and its head have in what is written; loading may give another.
const NAME: &str = "default";
/// The library's release whose files these are.
const VERSION: &str = "adapters.1.3.0";

/// Bottleneck modules of one model, as AdapterHub's library saves them: `seq_bn`, `double_seq_bn` and `par_bn`.
///
/// Weights are written in safetensors, which the library reads with `load_adapter(folder, use_safetensors=True)`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterHubFolder {
    /// `model_type` of the base.
    pub model_type: String,
    /// The class of transformers that the base was used as.
    pub model_class: String,
    /// The base by name, if it is known.
    pub model_name: Option<String>,
    /// Width of the blocks.
    pub hidden_size: usize,
    /// Whether norms follow the parts of the blocks, and do not go before them.
    pub norm_follows: bool,
    /// Whether modules read what their part of the block read, and not what it gives.
    pub parallel: bool,
    /// Whether modules read the block's norm of the sum of what a part gives and the residual; only where norms follow.
    pub normed: bool,
    /// The function between the two projections: relu, swish, gelu or tanh.
    pub non_linearity: String,
    /// Factor on what is added.
    pub scaling: f64,
    /// Width of the bottlenecks.
    pub size: usize,
    /// Tensors by the path of their slot, `….after_attention` or `….after_feed_forward`, and their name in it, such as
    /// `adapter_down.weight`.
    pub modules: BTreeMap<String, IndexMap<String, HostTensor>>,
    /// The head of the model, if it is the adapter's.
    pub head: Option<AdapterHubHead>,
}

/// A head of a class of transformers, by the checkpoint's names.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterHubHead {
    /// Names of the classes; none for regression.
    pub labels: Vec<String>,
    /// Outputs.
    pub outputs: usize,
    /// Tensors such as `classifier.weight`.
    pub tensors: IndexMap<String, HostTensor>,
}

impl AdapterHubFolder {
    /// What is written, the last two with a head only.
    pub const FILES: [&str; 4] = [CONFIG_NAME, SAFETENSORS, HEAD_CONFIG, HEADS[0]];

    /// Write the folder's files.
    ///
    /// # Errors
    /// If a slot or a tensor of it has no place in such files, or they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(SAFETENSORS);
        let tensors = self.tensors(&path)?;
        write_tensors(&path, &tensors, &pt_metadata())?;
        write_json(&folder.join(CONFIG_NAME), &self.config())?;
        let Some(head) = &self.head else {
            return Ok(());
        };
        write_tensors(&folder.join(HEADS[0]), &head.tensors, &pt_metadata())?;
        write_json(&folder.join(HEAD_CONFIG), &self.head_config(head))
    }

    fn tensors(&self, path: &Path) -> Result<IndexMap<String, HostTensor>> {
        let mut tensors = IndexMap::new();
        for (module, fields) in &self.modules {
            let nowhere = |found: &str| FormatError::Tensor {
                path: path.to_owned(),
                tensor: module.clone(),
                expected: "a slot after the attention or the feed-forward part of a block".into(),
                found: found.to_owned(),
                fix: "keep the adapter in the form that it has",
            };
            let place = module.rsplit_once('.').and_then(|(block, slot)| {
                let mut known = PLACES.iter();
                let (between, ..) = known
                    .find(|(_, own, follows)| *own == slot && *follows == self.norm_follows)?;
                Some(format!("{block}{between}{NAME}."))
            });
            let Some(start) = place else {
                return Err(nowhere("another place"));
            };
            for (name, tensor) in fields {
                let Some((theirs, _)) = TENSORS.iter().find(|(_, own)| own == name) else {
                    return Err(nowhere(&format!("a tensor `{name}` in it")));
                };
                tensors.insert(format!("{start}{theirs}"), tensor.clone());
            }
        }
        Ok(tensors)
    }

    /// What both configurations say of the model.
    fn model(&self) -> Map<String, Value> {
        Map::from_iter(
            [
                ("hidden_size", json!(self.hidden_size)),
                ("model_class", json!(self.model_class)),
                ("model_name", json!(self.model_name)),
                ("model_type", json!(self.model_type)),
                ("version", json!(VERSION)),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        )
    }

    fn config(&self) -> Map<String, Value> {
        let has = |slot: &str| self.modules.keys().any(|module| module.ends_with(slot));
        let mut settings = Map::new();
        for (key, value) in FIXED {
            settings.insert(key.to_owned(), value);
        }
        for (key, value) in [
            ("mh_adapter", json!(has("after_attention"))),
            ("output_adapter", json!(has("after_feed_forward"))),
            ("is_parallel", json!(self.parallel)),
            ("original_ln_before", json!(self.normed)),
            ("residual_before_ln", json!(true)),
            ("non_linearity", json!(self.non_linearity)),
            ("scaling", json!(self.scaling)),
            ("reduction_factor", json!(self.reduction_factor())),
            ("dropout", json!(0.0)),
            ("init_weights", json!("bert")),
            ("leave_out", json!([])),
            ("stochastic_depth", json!(0.0)),
        ] {
            settings.insert(key.to_owned(), value);
        }
        let mut config = self.model();
        config.insert("name".into(), NAME.into());
        config.insert(SETTINGS.into(), settings.into());
        config
    }

    /// The library takes the floor of the width over it, of the exact quotient, as Python's `//` does.
    fn reduction_factor(&self) -> f64 {
        let (width, size) = (self.hidden_size as f64, self.size as f64);
        match self.hidden_size.is_multiple_of(self.size) {
            true => width / size,
            // In the middle of what gives this size, so that no rounding leads out of it.
            false => width / (size + 0.5),
        }
    }

    fn head_config(&self, head: &AdapterHubHead) -> Map<String, Value> {
        let labels = head.labels.iter().enumerate();
        let labels: Map<String, Value> = labels
            .map(|(number, label)| (label.clone(), number.into()))
            .collect();
        let mut config = self.model();
        config.insert(SETTINGS.into(), Value::Null);
        config.insert("name".into(), Value::Null);
        config.insert("num_labels".into(), head.outputs.into());
        if !labels.is_empty() {
            config.insert("label2id".into(), labels.into());
        }
        config
    }
}

fn write_json(path: &Path, fields: &Map<String, Value>) -> Result<()> {
    let text = format!("{:#}\n", Value::from(fields.clone()));
    write_atomic_bytes(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_give_the_size_that_is_meant() {
        for width in [5, 32, 96, 384, 576, 768, 1024, 4096] {
            for size in 1..=width {
                let folder = AdapterHubFolder {
                    model_type: "bert".into(),
                    model_class: "BertModel".into(),
                    model_name: None,
                    hidden_size: width,
                    norm_follows: true,
                    parallel: false,
                    normed: false,
                    non_linearity: "relu".into(),
                    scaling: 1.0,
                    size,
                    modules: BTreeMap::new(),
                    head: None,
                };
                let (factor, width) = (folder.reduction_factor(), width as f64);
                // Python's `width // factor`.
                let floor = ((width - width % factor) / factor).round();
                assert_eq!(floor, size as f64, "{width} over {factor}");
                assert_eq!((width / factor).floor(), size as f64, "ours of {width}");
            }
        }
    }
}
