//! What a folder or a file holds, without a tensor library: the facts behind `peft inspect`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::adapter::split_key;
use crate::checkpoint::locate::gguf_at;
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::{AdapterConfig, AdapterFile, Checkpoint, Dtype, TensorView};

/// A tensor in a summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorSummary {
    /// Its name in the file.
    pub name: String,
    /// Element type, as safetensors or GGUF writes it.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

/// Sums over tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Tensors.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Elements by type.
    pub dtypes: BTreeMap<String, u64>,
}

impl Totals {
    fn add(&mut self, tensor: &TensorSummary, bytes: usize) {
        let elements = tensor.shape.iter().map(|&d| d as u64).product::<u64>();
        self.tensors += 1;
        self.parameters += elements;
        self.bytes += bytes as u64;
        *self.dtypes.entry(tensor.dtype.clone()).or_default() += elements;
    }
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointSummary {
    /// Its files.
    pub files: Vec<PathBuf>,
    /// The `model_type` of its `config.json`, or of a GGUF file's metadata in its words.
    pub model_type: Option<String>,
    /// The `architectures`, likewise.
    pub architectures: Vec<String>,
    /// Sums.
    #[serde(flatten)]
    pub totals: Totals,
    /// Tensors with a NaN or an infinity.
    pub not_finite: Vec<String>,
    /// Its tensors by name.
    pub list: Vec<TensorSummary>,
}

impl CheckpointSummary {
    /// Reads the headers, the configuration and every tensor, one at a time. Of a GGUF file that is an adapter, the
    /// architecture is that of its base.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`]. A `config.json` that cannot be read is left out: the tensors
    /// are worth showing without it.
    pub fn read(path: &Path) -> Result<Self> {
        if let Some(file) = gguf_at(path)? {
            let file = GgufFile::open(&file)?;
            if file.text("general.type")? == Some("adapter") {
                return Self::of_adapter(&file);
            }
        }
        let checkpoint = Checkpoint::open(path)?;
        let config = checkpoint.config().ok().flatten();
        let field = |key: &str| config.as_ref().and_then(|c| c.get(key));
        let mut totals = Totals::default();
        let mut list = Vec::with_capacity(checkpoint.len());
        let mut not_finite = Vec::new();
        for name in checkpoint.names() {
            let stored = checkpoint.info(name).zip(checkpoint.stored_as(name));
            let wide = stored
                .as_ref()
                .is_some_and(|(info, _)| info.dtype == Dtype::F64);
            if let Some((info, (dtype, bytes))) = stored {
                let tensor = TensorSummary {
                    name: name.to_owned(),
                    dtype,
                    shape: info.shape,
                };
                totals.add(&tensor, bytes);
                list.push(tensor);
            }
            // Whole numbers are neither infinite nor weights.
            if (wide || checkpoint.kind(name).is_some()) && !are_finite(&checkpoint.to_f32(name)?) {
                not_finite.push(name.to_owned());
            }
            // What was looked at need not stay in memory.
            checkpoint.release();
        }
        Ok(Self {
            files: checkpoint.files().map(Path::to_owned).collect(),
            model_type: field("model_type").and_then(text),
            architectures: field("architectures")
                .and_then(Value::as_array)
                .map(|names| names.iter().filter_map(text).collect())
                .unwrap_or_default(),
            totals,
            not_finite,
            list,
        })
    }

    /// Of a GGUF file that is an adapter, under the file's own names.
    fn of_adapter(file: &GgufFile) -> Result<Self> {
        let mut summary = Self {
            files: vec![file.path().to_owned()],
            model_type: file.text("general.architecture")?.map(str::to_owned),
            architectures: file
                .text("adapter.type")?
                .map(str::to_owned)
                .into_iter()
                .collect(),
            totals: Totals::default(),
            not_finite: Vec::new(),
            list: Vec::new(),
        };
        for (name, tensor) in file.tensors() {
            let listed = TensorSummary {
                name: name.to_owned(),
                dtype: tensor.kind.to_string(),
                shape: tensor.shape.clone(),
            };
            summary.totals.add(&listed, tensor.range.len());
            summary.list.push(listed);
            if !are_finite(&file.to_f32(name)?) {
                summary.not_finite.push(name.to_owned());
            }
        }
        Ok(summary)
    }
}

fn are_finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// An adapter folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterSummary {
    /// The weight file.
    pub file: PathBuf,
    /// `peft_type` of the configuration.
    pub peft_type: String,
    /// The base that the configuration names.
    pub base_model: Option<String>,
    /// The configuration, key by key.
    pub config: serde_json::Map<String, Value>,
    /// Sums over all tensors.
    #[serde(flatten)]
    pub totals: Totals,
    /// Modules that the adapter changes, those of `suffixes`.
    pub modules: Vec<String>,
    /// Modules saved in full beside it.
    pub saved_modules: Vec<String>,
    /// Tensors with a NaN or an infinity.
    pub not_finite: Vec<String>,
    /// Tensors whose every element is zero: a LoRA whose `lora_B` are all here was never trained.
    pub all_zero: Vec<String>,
    /// Its tensors in the order of the file.
    pub list: Vec<TensorSummary>,
}

impl AdapterSummary {
    /// Reads an adapter folder whole. `suffixes` are the ends of the keys of its method's tensors;
    /// a tensor with another key is of a module saved in full.
    ///
    /// # Errors
    /// Those of [`AdapterConfig::read`] and [`AdapterFile::read`].
    pub fn read(folder: &Path, suffixes: &[&str]) -> Result<Self> {
        let config = AdapterConfig::read(folder)?;
        let file = AdapterFile::read(folder)?;
        let mut summary = Self {
            file: file.path().to_owned(),
            peft_type: config.peft_type().to_owned(),
            base_model: config.base_model_name_or_path().map(str::to_owned),
            config: config.fields().clone(),
            totals: Totals::default(),
            modules: Vec::new(),
            saved_modules: config.modules_to_save().to_vec(),
            not_finite: Vec::new(),
            all_zero: Vec::new(),
            list: Vec::new(),
        };
        for (name, tensor) in &file.tensors {
            let listed = TensorSummary {
                name: name.clone(),
                dtype: tensor.dtype.to_string(),
                shape: tensor.shape.clone(),
            };
            summary.totals.add(&listed, tensor.bytes.len());
            summary.list.push(listed);
            if let Some(key) = split_key(name, suffixes)
                && !summary.modules.iter().any(|m| m == key.module)
            {
                summary.modules.push(key.module.to_owned());
            }
            summary.look_at(name, &tensor.view());
        }
        Ok(summary)
    }

    fn look_at(&mut self, name: &str, tensor: &TensorView<'_>) {
        // Whole numbers are neither infinite nor weights.
        let Some(values) = tensor.to_f32() else {
            return;
        };
        if !are_finite(&values) {
            self.not_finite.push(name.to_owned());
        } else if !values.is_empty() && values.iter().all(|v| *v == 0.0) {
            self.all_zero.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostTensor, save_adapter};

    #[test]
    fn an_adapter_shows_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = AdapterConfig::builder("LORA")
            .base_model(Some("base"))
            .target(&crate::TargetSpec::new(crate::TargetModules::List(vec![
                "q".into(),
            ])))
            .build()
            .unwrap();
        let key = |end: &str| format!("base_model.model.layer.0.q.{end}");
        let tensors = [
            (
                key("lora_A.weight"),
                HostTensor::from_f32([2, 3], &[1.0; 6]),
            ),
            (
                key("lora_B.weight"),
                HostTensor::from_f32([3, 2], &[0.0; 6]),
            ),
            (
                "base_model.model.classifier.weight".to_owned(),
                HostTensor::from_f32([1, 2], &[1.0, f32::NAN]),
            ),
        ];
        save_adapter(dir.path(), &config, &tensors.into_iter().collect()).unwrap();
        let suffixes = ["lora_A.weight", "lora_B.weight"];
        let summary = AdapterSummary::read(dir.path(), &suffixes).unwrap();
        assert_eq!(summary.modules, ["layer.0.q"]);
        assert_eq!(summary.totals.parameters, 14);
        assert_eq!(summary.totals.bytes, 56);
        assert_eq!(summary.all_zero, [key("lora_B.weight")]);
        assert_eq!(summary.not_finite, ["base_model.model.classifier.weight"]);
    }

    #[test]
    fn a_checkpoint_is_summed_up_by_type() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/models/bert_bf16");
        let summary = CheckpointSummary::read(&path).unwrap();
        assert_eq!(summary.model_type.as_deref(), Some("bert"));
        assert_eq!(summary.totals.tensors, summary.list.len());
        assert_eq!(
            summary.totals.dtypes.values().sum::<u64>(),
            summary.totals.parameters
        );
        assert!(summary.totals.dtypes.contains_key("BF16"));
    }
}
