use std::collections::BTreeSet;

use burn::{
    Tensor,
    module::Param,
    tensor::{Device, TensorCreationOptions, TensorData},
};
use peft_core::{
    kernels::{key_of, normal},
    nn::Linear,
};
use peft_format::Checkpoint;

use crate::{Embedding, LayerNorm, ModelError, ModelFolder};

/// Tensors of a checkpoint that serve no classification model: other heads, tables that are
/// computed, counters.
const PASSED_OVER: &[&str] = &[
    "position_ids",
    "cls.",
    "lm_head.",
    "predictions.",
    "sop_classifier.",
    "vocab_",
];

/// What loading found.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Modules that the checkpoint lacks and that were made afresh, by the checkpoint's names.
    pub created: Vec<String>,
    /// Tensors that no part of the model takes, other than heads of other tasks.
    pub unused: Vec<String>,
}

/// Builds modules out of a checkpoint's tensors, checking names and shapes.
pub(crate) struct Loader<'a> {
    folder: &'a ModelFolder,
    checkpoint: &'a Checkpoint,
    options: TensorCreationOptions,
    /// For frozen matrices.
    base_options: TensorCreationOptions,
    seed: u64,
    std: f64,
    used: BTreeSet<String>,
    missing: Vec<(String, Vec<usize>)>,
    created: Vec<String>,
}

impl<'a> Loader<'a> {
    pub fn new(folder: &'a ModelFolder, device: &Device, seed: u64, std: f64) -> Self {
        Self {
            folder,
            checkpoint: folder.checkpoint(),
            options: (device, folder.dtype().into()).into(),
            base_options: (device, folder.base_dtype().into()).into(),
            seed,
            std,
            used: BTreeSet::new(),
            missing: Vec::new(),
            created: Vec::new(),
        }
    }

    fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        options: TensorCreationOptions,
    ) -> Result<Tensor<D>, ModelError> {
        let Some(found) = self.folder.find(name) else {
            self.missing.push((name.to_owned(), shape.to_vec()));
            // Loading fails in the end: nothing is allocated by a size that no tensor confirms.
            return Ok(Tensor::zeros([0; D], options));
        };
        let stored = self
            .checkpoint
            .info(&found)
            .map(|info| info.shape)
            .unwrap_or_default();
        if stored != shape {
            return Err(ModelError::Shape {
                path: self.folder.path().to_owned(),
                name: found,
                found: stored,
                expected: shape.to_vec(),
            });
        }
        let values = self.checkpoint.to_f32(&found)?;
        self.used.insert(found);
        Ok(Tensor::from_data(TensorData::new(values, shape), options))
    }

    /// A tensor in the type of the computation.
    fn plain<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, ModelError> {
        self.tensor(name, shape, self.options.clone())
    }

    pub fn embedding(
        &mut self,
        name: &str,
        entries: usize,
        width: usize,
    ) -> Result<Embedding, ModelError> {
        let weight = self.tensor(
            &format!("{name}.weight"),
            [entries, width],
            self.base_options.clone(),
        )?;
        Ok(Embedding {
            weight: Param::from_tensor(weight),
        })
    }

    pub fn norm(&mut self, name: &str, width: usize, eps: f64) -> Result<LayerNorm, ModelError> {
        let weight = self.plain(&format!("{name}.weight"), [width])?;
        let bias = self.plain(&format!("{name}.bias"), [width])?;
        Ok(LayerNorm {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
            eps,
        })
    }

    /// PyTorch's `[out, in]` weight, seen as `[in, out]` without a copy.
    pub fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, ModelError> {
        self.linear_in(name, inputs, outputs, self.base_options.clone())
    }

    fn linear_in(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        options: TensorCreationOptions,
    ) -> Result<Linear, ModelError> {
        let weight = self
            .tensor(&format!("{name}.weight"), [outputs, inputs], options)?
            .transpose();
        let bias = self.plain(&format!("{name}.bias"), [outputs])?;
        Ok(Linear::new(weight, Some(bias)))
    }

    /// A linear layer of the head: the checkpoint's, or a fresh one where it has none.
    ///
    /// Fresh weights are normal with the model's `initializer_range`, biases zero, as HF's.
    pub fn head(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, ModelError> {
        if self.folder.find(&format!("{name}.weight")).is_some() || !self.missing.is_empty() {
            // A head is trained: it stays in the type of the computation.
            return self.linear_in(name, inputs, outputs, self.options.clone());
        }
        self.created.push(name.to_owned());
        let values: Vec<f32> = normal(key_of(self.seed, name, 0), inputs * outputs)
            .into_iter()
            .map(|value| value * self.std as f32)
            .collect();
        let weight = Tensor::from_data(
            TensorData::new(values, [inputs, outputs]),
            self.options.clone(),
        );
        Ok(Linear::new(
            weight,
            Some(Tensor::zeros([outputs], self.options.clone())),
        ))
    }

    /// Refuse an incomplete checkpoint; report what was made and what was left over.
    pub fn finish(self) -> Result<LoadReport, ModelError> {
        if let Some((first, shape)) = self.missing.first() {
            return Err(ModelError::Missing {
                path: self.folder.path().to_owned(),
                count: self.missing.len(),
                first: first.clone(),
                shape: shape.clone(),
            });
        }
        let unused = self
            .checkpoint
            .names()
            .filter(|name| !self.used.contains(*name))
            .filter(|name| !PASSED_OVER.iter().any(|part| name.contains(part)))
            .map(str::to_owned)
            .collect();
        Ok(LoadReport {
            created: self.created,
            unused,
        })
    }
}
