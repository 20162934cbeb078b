//! Tensors on the host, between Burn's layout and PyTorch's.

use burn::tensor::{DType, FloatDType, TensorData};
use peft_format::{Dtype, HostTensor};

use crate::AdapterError;

/// A [`HostTensor`] from Burn's tensors and to them, with errors that name the tensor.
pub trait HostTensorExt: Sized {
    /// The bytes of a Burn tensor.
    ///
    /// # Errors
    /// For element types that safetensors files of adapters do not hold.
    fn from_data(name: &str, data: TensorData) -> Result<Self, AdapterError>;

    /// The values as a Burn tensor, bit by bit.
    ///
    /// # Errors
    /// For element types that adapters do not have.
    fn to_data(&self, name: &str) -> Result<TensorData, AdapterError>;

    /// The values as a Burn tensor of element type `dtype`.
    ///
    /// # Errors
    /// If the values are not floating point, or not finite.
    fn to_float(&self, name: &str, dtype: FloatDType) -> Result<TensorData, AdapterError>;

    /// The values, if they are integers.
    ///
    /// # Errors
    /// If they are not `I32` or `I64`.
    fn to_ints(&self, name: &str) -> Result<Vec<i64>, AdapterError>;

    /// Require a shape.
    ///
    /// # Errors
    /// If the tensor has another.
    fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<&Self, AdapterError>;
}

impl HostTensorExt for HostTensor {
    fn from_data(name: &str, data: TensorData) -> Result<Self, AdapterError> {
        let dtype = match data.dtype() {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::I64 => Dtype::I64,
            DType::I32 => Dtype::I32,
            other => {
                return Err(AdapterError::Dtype {
                    name: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        let shape = data.shape().iter().copied().collect();
        Ok(Self {
            dtype,
            shape,
            bytes: data.bytes().to_vec(),
        })
    }

    fn to_data(&self, name: &str) -> Result<TensorData, AdapterError> {
        let dtype = match self.dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            other => {
                return Err(AdapterError::Dtype {
                    name: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        let bytes = burn::tensor::Bytes::from_bytes_vec(self.bytes.clone());
        Ok(TensorData::from_bytes(bytes, self.shape.clone(), dtype))
    }

    fn to_float(&self, name: &str, dtype: FloatDType) -> Result<TensorData, AdapterError> {
        let data = self.to_data(name)?;
        if !data.dtype().is_float() {
            return Err(AdapterError::Dtype {
                name: name.to_owned(),
                dtype: format!("{:?}", self.dtype),
            });
        }
        let count = data
            .iter::<f64>()
            .filter(|value| !value.is_finite())
            .count();
        if count > 0 {
            return Err(AdapterError::NotFinite {
                name: name.to_owned(),
                count,
            });
        }
        Ok(data.convert_dtype(dtype.into()))
    }

    fn to_ints(&self, name: &str) -> Result<Vec<i64>, AdapterError> {
        let of = |size: usize| self.bytes.chunks_exact(size);
        match self.dtype {
            Dtype::I32 => Ok(of(4)
                .map(|b| i64::from(i32::from_le_bytes(b.try_into().expect("four bytes"))))
                .collect()),
            Dtype::I64 => Ok(of(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")))
                .collect()),
            other => Err(AdapterError::NotInteger {
                name: name.to_owned(),
                dtype: format!("{other:?}"),
            }),
        }
    }

    fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<&Self, AdapterError> {
        if self.shape == expected {
            return Ok(self);
        }
        Err(AdapterError::Shape {
            name: name.to_owned(),
            found: self.shape.clone(),
            expected: expected.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_refused_by_name() {
        let bytes = [1.0f32, f32::NAN]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let tensor = HostTensor {
            dtype: Dtype::F32,
            shape: vec![2],
            bytes,
        };
        let error = tensor
            .to_float("layer.lora_A.weight", FloatDType::F32)
            .unwrap_err();
        assert!(error.to_string().contains("layer.lora_A.weight"), "{error}");
    }
}
