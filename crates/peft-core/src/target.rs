use burn::tensor::{FloatDType, TensorData};
use peft_format::{Dtype, TensorInfo};

use crate::{AdapterError, Fields, HostTensor, HostTensorExt, SiteKind};

/// One [site](crate::Site) to adapt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Path in the checkpoint's names: of the module of a weight, such as
    /// `bert.encoder.layer.0.attention.self.query`, else of the parameter or the slot.
    pub path: String,
    /// What it is.
    pub kind: SiteKind,
    /// Its shape as Burn holds it, `[in, out]` of a linear layer.
    pub shape: Vec<usize>,
    /// Width of the input of what is seen as a [matrix](crate::matrix_shape).
    pub in_features: usize,
    /// Width of the output of what is seen as a matrix.
    pub out_features: usize,
    /// Element type of the adapter's own parameters.
    pub dtype: FloatDType,
}

impl Target {
    /// The weight of a linear layer.
    pub fn linear(
        path: impl Into<String>,
        in_features: usize,
        out_features: usize,
        dtype: FloatDType,
    ) -> Self {
        Self {
            path: path.into(),
            kind: SiteKind::Linear,
            shape: vec![in_features, out_features],
            in_features,
            out_features,
            dtype,
        }
    }

    /// The tensor of this target with a suffix.
    ///
    /// # Errors
    /// If there is none.
    pub fn stored<'a>(
        &self,
        tensors: &'a Fields<HostTensor>,
        suffix: &str,
    ) -> Result<&'a HostTensor, AdapterError> {
        tensors
            .get(suffix)
            .ok_or_else(|| self.missing(suffix, tensors.keys()))
    }

    /// The values of the tensor with a suffix, which must be of this shape, in the adapter's element type.
    ///
    /// # Errors
    /// If there is none, it has another shape, or a value is not finite.
    pub fn values(
        &self,
        tensors: &Fields<HostTensor>,
        suffix: &str,
        shape: &[usize],
    ) -> Result<TensorData, AdapterError> {
        let name = self.tensor_name(suffix);
        let stored = self.stored(tensors, suffix)?.expect_shape(&name, shape)?;
        stored.to_float(&name, self.dtype)
    }

    /// [`values`](Self::values) of a matrix that files hold transposed: `shape` is the file's, and the result
    /// has its rows where the file has columns, row-major.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn values_transposed(
        &self,
        tensors: &Fields<HostTensor>,
        suffix: &str,
        shape: [usize; 2],
    ) -> Result<TensorData, AdapterError> {
        let name = self.tensor_name(suffix);
        let stored = self.stored(tensors, suffix)?.expect_shape(&name, &shape)?;
        stored.transposed().to_float(&name, self.dtype)
    }

    /// What a file says of trained values of this shape: f64 where the adapter computes in it, else f32.
    pub fn values_info(&self, shape: &[usize]) -> TensorInfo {
        TensorInfo {
            dtype: match self.dtype {
                FloatDType::F64 => Dtype::F64,
                _ => Dtype::F32,
            },
            shape: shape.to_vec(),
        }
    }

    /// The value of a field, as the file's tensor with a suffix; it is taken out of `fields`.
    ///
    /// # Errors
    /// If there is none, or files do not hold its element type.
    pub fn to_store(
        &self,
        fields: &mut Fields<TensorData>,
        field: &str,
        suffix: &str,
    ) -> Result<HostTensor, AdapterError> {
        match fields.remove(field) {
            Some(data) => HostTensor::from_data(&self.tensor_name(suffix), data),
            None => Err(self.missing(suffix, fields.keys())),
        }
    }

    /// What messages call the tensor with a suffix.
    pub fn tensor_name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.path)
    }

    fn missing<'a>(&self, suffix: &str, found: impl Iterator<Item = &'a String>) -> AdapterError {
        AdapterError::MissingTensor {
            module: self.path.clone(),
            suffix: suffix.to_owned(),
            found: found.cloned().collect(),
        }
    }
}
