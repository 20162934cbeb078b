//! Tensors on the host, between Burn's layout and PyTorch's.

use burn::tensor::{DType, FloatDType, TensorData};
use peft_format::Dtype;

use crate::AdapterError;

/// A tensor in memory of the host, with the element type and the bytes of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Little-endian values in row-major order.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// The bytes of a Burn tensor.
    ///
    /// # Errors
    /// For element types that safetensors files of adapters do not hold.
    pub fn from_data(name: &str, data: TensorData) -> Result<Self, AdapterError> {
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

    /// The values as a Burn tensor, bit by bit.
    ///
    /// # Errors
    /// For element types that adapters do not have.
    pub fn to_data(&self, name: &str) -> Result<TensorData, AdapterError> {
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

    /// The values as a Burn tensor of element type `dtype`.
    ///
    /// # Errors
    /// If the values are not floating point, or not finite.
    pub fn to_float(&self, name: &str, dtype: FloatDType) -> Result<TensorData, AdapterError> {
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

    /// The values, if they are integers.
    ///
    /// # Errors
    /// If they are not `I32` or `I64`.
    pub fn to_ints(&self, name: &str) -> Result<Vec<i64>, AdapterError> {
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

    /// Require a shape.
    ///
    /// # Errors
    /// If the tensor has another.
    pub fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<&Self, AdapterError> {
        if self.shape == expected {
            return Ok(self);
        }
        Err(AdapterError::Shape {
            name: name.to_owned(),
            found: self.shape.clone(),
            expected: expected.to_vec(),
        })
    }

    /// The transpose of a matrix; other shapes are returned as they are.
    pub fn transposed(&self) -> Self {
        let &[rows, columns] = self.shape.as_slice() else {
            return self.clone();
        };
        let bytes = transpose(&self.bytes, rows, columns);
        Self {
            dtype: self.dtype,
            shape: vec![columns, rows],
            bytes,
        }
    }
}

/// Transposes a row-major matrix of `rows × columns` elements of equal size.
///
/// # Panics
/// If the bytes do not divide evenly.
pub fn transpose(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    if rows * columns == 0 {
        return Vec::new();
    }
    let size = bytes.len() / (rows * columns);
    assert_eq!(
        size * rows * columns,
        bytes.len(),
        "the bytes are not {rows} × {columns} elements"
    );
    let mut out = vec![0; bytes.len()];
    // Tiles keep both the read and the written lines in cache.
    const TILE: usize = 32;
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for row in row_tile..(row_tile + TILE).min(rows) {
                for column in column_tile..(column_tile + TILE).min(columns) {
                    let from = (row * columns + column) * size;
                    let to = (column * rows + row) * size;
                    out[to..to + size].copy_from_slice(&bytes[from..from + size]);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_the_identity() {
        let bytes: Vec<u8> = (0..7 * 45 * 2).map(|i| (i % 251) as u8).collect();
        let once = transpose(&bytes, 7, 45);
        assert_ne!(once, bytes);
        assert_eq!(transpose(&once, 45, 7), bytes);
    }

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
