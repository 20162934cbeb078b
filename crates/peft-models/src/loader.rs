use std::collections::{BTreeMap, BTreeSet};

use burn::{
    Tensor,
    module::Param,
    tensor::{Device, FloatDType, TensorCreationOptions, TensorData},
};
use half::{bf16, f16};
use peft_core::{
    kernels::{block_matrix, key_of, normal},
    nn::{Embedding, Linear, TransposedLinear},
};
use peft_format::{Checkpoint, StoredTensor};

use crate::{
    Description, ModelError, ModelFolder, NormKind, Part, PartKind, Role, Storage,
    parts::{LayerNorm, Norm, Projection, RmsNorm},
};

/// What loading found.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Modules that the checkpoint lacks and that were made afresh, by the checkpoint's names.
    pub created: Vec<String>,
    /// Tensors that no part of the model takes, other than heads of other tasks.
    pub unused: Vec<String>,
}

/// Bytes of a checkpoint that loading keeps mapped, beside the tensor at hand: then their pages are given back.
pub const MAPPED: usize = 16 << 20;

/// Builds the parts of a description out of a checkpoint's tensors, by their Burn paths, checking
/// names and shapes.
pub(crate) struct Loader<'a> {
    folder: &'a ModelFolder,
    checkpoint: &'a Checkpoint,
    description: &'a Description,
    /// Whole paths of all parts.
    parts: BTreeMap<String, Part>,
    options: TensorCreationOptions,
    device: Device,
    /// Bytes of the checkpoint read since its pages were given back.
    read: usize,
    seed: u64,
    std: f64,
    used: BTreeSet<String>,
    missing: Vec<(String, Vec<usize>)>,
    created: Vec<String>,
    /// The table of the tokens, where a head that is loaded later shares it.
    table: Option<Tensor<2>>,
}

impl<'a> Loader<'a> {
    pub fn new(
        folder: &'a ModelFolder,
        description: &'a Description,
        device: &Device,
        seed: u64,
    ) -> Self {
        let parts = description.parts();
        Self {
            folder,
            checkpoint: folder.checkpoint(),
            description,
            parts: parts.map(|(_, part)| (part.path.clone(), part)).collect(),
            options: (device, folder.dtype().into()).into(),
            device: device.clone(),
            read: 0,
            seed,
            std: folder.config().initializer_range(),
            used: BTreeSet::new(),
            missing: Vec::new(),
            created: Vec::new(),
            table: None,
        }
    }

    /// The type of the computation.
    pub fn dtype(&self) -> FloatDType {
        self.folder.dtype()
    }

    /// What `load` makes of the part at a path; none if the model has no such part.
    pub fn optional<T>(
        &mut self,
        path: &str,
        load: impl FnOnce(&mut Self, &str) -> Result<T, ModelError>,
    ) -> Result<Option<T>, ModelError> {
        match self.parts.contains_key(path) {
            true => load(self, path).map(Some),
            false => Ok(None),
        }
    }

    /// A table.
    pub fn embedding(&mut self, path: &str) -> Result<Embedding, ModelError> {
        let part = self.part(path);
        let weight: Tensor<2> = self.weight(&part)?;
        if part.role == Role::Embedding && self.folder.is_parted() {
            self.table = Some(weight.clone());
        }
        Ok(Embedding {
            weight: Param::from_tensor(weight),
        })
    }

    /// A layer normalisation. One of a head is made afresh where the checkpoint has none, and changes nothing but mean and
    /// variance then.
    pub fn layer_norm(&mut self, path: &str, eps: f64) -> Result<LayerNorm, ModelError> {
        let part = self.part(path);
        let found = self.folder.find(&format!("{}.weight", part.name)).is_some();
        if part.head && !found && self.missing.is_empty() {
            self.created.push(part.name.clone());
            let width = [part.outputs()];
            let bias = part
                .bias
                .then(|| Tensor::zeros(width, self.options.clone()));
            return Ok(LayerNorm {
                weight: Param::from_tensor(Tensor::ones(width, self.options.clone())),
                bias: bias.map(Param::from_tensor),
                eps,
            });
        }
        Ok(LayerNorm {
            weight: Param::from_tensor(self.weight(&part)?),
            bias: self.bias(&part)?.map(Param::from_tensor),
            eps,
        })
    }

    /// A normalisation by the root of the mean square.
    pub fn rms_norm(
        &mut self,
        path: &str,
        eps: f64,
        plus_one: bool,
    ) -> Result<RmsNorm, ModelError> {
        let weight = self.weight(&self.part(path))?;
        Ok(RmsNorm {
            weight: Param::from_tensor(weight),
            eps,
            plus_one,
        })
    }

    /// A norm of a kind.
    pub fn norm(&mut self, path: &str, eps: f64, kind: NormKind) -> Result<Norm, ModelError> {
        match kind {
            NormKind::Layer | NormKind::LayerWithoutBias => {
                self.layer_norm(path, eps).map(Norm::Layer)
            }
            NormKind::Rms => self.rms_norm(path, eps, false).map(Norm::Rms),
            NormKind::RmsPlusOne => self.rms_norm(path, eps, true).map(Norm::Rms),
        }
    }

    /// A linear layer: PyTorch's `[out, in]` weight, seen as `[in, out]` without a copy.
    ///
    /// One of a head is made afresh where the checkpoint has none: its weights are normal with the
    /// model's `initializer_range`, its biases zero, as HF's.
    pub fn linear(&mut self, path: &str) -> Result<Linear, ModelError> {
        let part = self.part(path);
        let weight = format!("{}.weight", part.name);
        let found = self.folder.find(&weight).is_some();
        if part.head && !found && self.missing.is_empty() {
            return Ok(self.fresh(&part));
        }
        let weight: Tensor<2> = match &self.table {
            Some(table) if part.role == Role::Head && !part.head => table.clone(),
            _ => self.weight(&part)?,
        };
        Ok(Linear {
            weight: Param::from_tensor(weight.transpose()),
            bias: self.bias(&part)?.map(Param::from_tensor),
        })
    }

    /// A linear layer, however the checkpoint holds its weight.
    pub fn projection(&mut self, path: &str) -> Result<Projection, ModelError> {
        let part = self.part(path);
        if part.kind == PartKind::Linear {
            return self.linear(path).map(Projection::Linear);
        }
        let weight = self.weight(&part)?;
        Ok(Projection::Transposed(TransposedLinear {
            weight: Param::from_tensor(weight),
            bias: self.bias(&part)?.map(Param::from_tensor),
        }))
    }

    /// Weight and bias of a module, as the checkpoint has them.
    pub fn tensors<const D: usize>(
        &mut self,
        path: &str,
    ) -> Result<(Tensor<D>, Option<Tensor<1>>), ModelError> {
        let part = self.part(path);
        Ok((self.weight(&part)?, self.bias(&part)?))
    }

    /// A plain parameter.
    pub fn parameter<const D: usize>(
        &mut self,
        path: &str,
    ) -> Result<Param<Tensor<D>>, ModelError> {
        let part = self.part(path);
        let shape = shape_of(&part);
        self.tensor(&part.name, shape).map(Param::from_tensor)
    }

    fn part(&self, path: &str) -> Part {
        match self.parts.get(path) {
            Some(part) => part.clone(),
            None => panic!("the description of the model has no part `{path}`"),
        }
    }

    fn weight<const D: usize>(&mut self, part: &Part) -> Result<Tensor<D>, ModelError> {
        let name = format!("{}.weight", part.name);
        let storage = self.folder.storage(part, &self.device);
        self.stored(&name, shape_of(part), storage)
    }

    fn bias(&mut self, part: &Part) -> Result<Option<Tensor<1>>, ModelError> {
        if !part.bias {
            return Ok(None);
        }
        let name = format!("{}.bias", part.name);
        self.tensor(&name, [part.outputs()]).map(Some)
    }

    /// A tensor in the type of the computation.
    fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, ModelError> {
        self.stored(name, shape, Storage::Floats(self.dtype()))
    }

    /// A tensor as it is to be kept.
    fn stored<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        storage: Storage,
    ) -> Result<Tensor<D>, ModelError> {
        let options = match storage {
            Storage::Floats(dtype) => (&self.device, dtype.into()).into(),
            _ => self.options.clone(),
        };
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
        let tensor = match self.blocks(&found, shape.as_slice(), storage)? {
            Some(tensor) => tensor,
            None => Tensor::from_data(self.floats(&found, shape, storage)?, options),
        };
        // Mapped pages and what was made of them would be the model in memory twice.
        self.read += self
            .checkpoint
            .stored_as(&found)
            .map_or(0, |as_stored| as_stored.1);
        if self.read >= MAPPED {
            self.checkpoint.release();
            self.read = 0;
        }
        self.used.insert(found);
        Ok(tensor)
    }

    /// The values of a tensor, in half precision where they are to be kept so: rounded piece by piece, so that they never
    /// exist in single precision as a whole.
    fn floats<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        storage: Storage,
    ) -> Result<TensorData, ModelError> {
        let stored = match self.checkpoint.kind(name) {
            Some(_) => Some(self.checkpoint.stored(name)?).filter(|stored| !stored.transposed),
            None => None,
        };
        Ok(match (storage, stored) {
            (Storage::Floats(FloatDType::F16), Some(stored)) => {
                TensorData::new(rounded(&stored, f16::from_f32), shape)
            }
            (Storage::Floats(FloatDType::BF16), Some(stored)) => {
                TensorData::new(rounded(&stored, bf16::from_f32), shape)
            }
            _ => TensorData::new(self.checkpoint.to_f32(name)?, shape),
        })
    }

    /// A matrix in quantised blocks, where it is to be kept so.
    fn blocks<const D: usize>(
        &self,
        name: &str,
        shape: &[usize],
        storage: Storage,
    ) -> Result<Option<Tensor<D>>, ModelError> {
        let matrix = match storage {
            Storage::Floats(_) => return Ok(None),
            Storage::Blocks(_) => {
                let stored = self.checkpoint.stored(name)?;
                let &[lines, width] = stored.shape.as_slice() else {
                    return Ok(None);
                };
                let shape = [lines, width];
                let matrix = block_matrix(stored.kind, shape, &stored.bytes, &self.device);
                matrix.map(|matrix| match stored.transposed {
                    true => matrix.transpose(),
                    false => matrix,
                })
            }
            Storage::Made(kind) => {
                let &[lines, width] = shape else {
                    return Ok(None);
                };
                let bytes = kind.encode(&self.checkpoint.to_f32(name)?);
                bytes.and_then(|bytes| block_matrix(kind, [lines, width], &bytes, &self.device))
            }
        };
        // A matrix has as many dimensions as its part says.
        Ok(matrix.map(|matrix| Tensor::from_dispatch(matrix.into_dispatch())))
    }

    fn fresh(&mut self, part: &Part) -> Linear {
        let [inputs, outputs] = part.widths().unwrap_or_default();
        self.created.push(part.name.clone());
        let values: Vec<f32> = normal(key_of(self.seed, &part.name, 0), inputs * outputs)
            .into_iter()
            .map(|value| value * self.std as f32)
            .collect();
        let values = TensorData::new(values, [inputs, outputs]);
        let bias = part
            .bias
            .then(|| Tensor::zeros([outputs], self.options.clone()));
        Linear::new(Tensor::from_data(values, self.options.clone()), bias)
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
        self.folder.expect_no_leftover()?;
        let passed_over = self.description.passed_over;
        let unused = self
            .checkpoint
            .names()
            .filter(|name| !self.used.contains(*name))
            .filter(|name| !passed_over.iter().any(|part| name.contains(part)))
            .map(str::to_owned)
            .collect();
        self.checkpoint.release();
        Ok(LoadReport {
            created: self.created,
            unused,
        })
    }
}

/// Values in half precision.
fn rounded<H>(stored: &StoredTensor, round: impl Fn(f32) -> H) -> Vec<H> {
    const BLOCKS: usize = 64;
    let (len, bytes) = (stored.kind.block_len(), stored.kind.block_bytes());
    // As long for single floats as for blocks of them.
    let blocks = BLOCKS * 256 / len;
    let mut piece = vec![0.0; blocks * len];
    let mut all = Vec::with_capacity(stored.elements());
    for chunk in stored.bytes.chunks(blocks * bytes) {
        let values = &mut piece[..chunk.len() / bytes * len];
        stored.kind.decode(chunk, values);
        all.extend(values.iter().map(|value| round(*value)));
    }
    all
}

/// The shape of a weight or parameter, whose rank the caller knows from its kind.
fn shape_of<const D: usize>(part: &Part) -> [usize; D] {
    match part.shape.as_slice().try_into() {
        Ok(shape) => shape,
        Err(_) => panic!(
            "`{}` has shape {:?}, not {D} dimensions",
            part.path, part.shape
        ),
    }
}
