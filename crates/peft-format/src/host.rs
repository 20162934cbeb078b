//! Tensors in memory of the host.

use safetensors::Dtype;

use crate::checkpoint::TensorView;

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
    /// A tensor of `f32`. Its length is compared with the shape when it is written.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: Dtype::F32,
            shape: shape.into(),
            bytes,
        }
    }

    /// The values as `f32`, from F64, F32, F16 or BF16; `None` for other types.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.view().to_f32()
    }

    /// The tensor borrowed.
    pub fn view(&self) -> TensorView<'_> {
        TensorView {
            dtype: self.dtype,
            shape: self.shape.clone(),
            bytes: &self.bytes,
        }
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
}
