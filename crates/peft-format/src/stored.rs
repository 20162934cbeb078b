//! Weights as they are stored.

use crate::blocks::BlockType;
use crate::shared::SharedBytes;

/// A weight's blocks, which may be pages of the file.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// How the elements are stored.
    pub kind: BlockType,
    /// Dimensions of the stored rows, outermost first.
    pub shape: Vec<usize>,
    /// The blocks, row after row.
    pub bytes: SharedBytes,
    /// True if this is the transpose of Hugging Face's tensor, as with the matrices of a GPT-2 in
    /// GGUF form.
    pub transposed: bool,
}

impl StoredTensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements decoded, in the stored order.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.elements()];
        self.kind.decode(&self.bytes, &mut values);
        values
    }
}
