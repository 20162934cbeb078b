//! Elements as `f32`.

use std::path::Path;

use peft_blocks::BlockType;
use safetensors::Dtype;

use super::TensorView;
use crate::error::{FormatError, shorten};

impl TensorView<'_> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product() // validated against the byte length when the file was opened
    }

    /// The elements as `f32`, from F64 (rounded), F32, F16 or BF16; `None` for other types.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self.dtype {
            Dtype::F32 => Some(from_f32(self.bytes)),
            Dtype::F64 => Some(each::<8>(self.bytes, |b| f64::from_le_bytes(b) as f32)),
            Dtype::BF16 => Some(halves(BlockType::Bf16, self.bytes)),
            Dtype::F16 => Some(halves(BlockType::F16, self.bytes)),
            _ => None,
        }
    }
}

fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| convert(*chunk))
        .collect()
}

fn from_f32(bytes: &[u8]) -> Vec<f32> {
    if cfg!(target_endian = "little")
        && let Ok(values) = bytemuck::try_cast_slice::<u8, f32>(bytes)
    {
        return values.to_vec();
    }
    each::<4>(bytes, f32::from_le_bytes)
}

fn halves(kind: BlockType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / 2];
    kind.decode(bytes, &mut out);
    out
}

pub(crate) fn not_floating(path: &Path, name: &str, dtype: Dtype) -> FormatError {
    FormatError::Tensor {
        path: path.to_owned(),
        tensor: shorten(name),
        expected: "F64, F32, F16 or BF16".into(),
        found: dtype.to_string(),
        fix: "use a checkpoint with floating-point weights, not an integer or 8-bit one",
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn convert(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
        TensorView {
            dtype,
            shape: vec![bytes.len() * 8 / dtype.bitsize()],
            bytes,
        }
        .to_f32()
    }

    #[test]
    fn every_half_and_bfloat_agrees_with_the_half_crate() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let f16s = convert(Dtype::F16, &bytes).unwrap();
        let bf16s = convert(Dtype::BF16, &bytes).unwrap();
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits).to_f32(), f16s[bits as usize]);
            assert!(
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
                "{bits:#x}"
            );
            let (a, b) = (half::bf16::from_bits(bits).to_f32(), bf16s[bits as usize]);
            assert!(
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
                "{bits:#x}"
            );
        }
    }

    #[test]
    fn unaligned_bytes_convert_too() {
        let values = [1.5f32, -2.25, f32::MIN_POSITIVE, 1e30];
        for offset in 0..4 {
            let mut bytes = vec![0; offset];
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            assert_eq!(convert(Dtype::F32, &bytes[offset..]).unwrap(), values);
        }
        let doubles: Vec<u8> = [0.1f64, -3.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(convert(Dtype::F64, &doubles).unwrap(), [0.1f32, -3.0]);
    }

    #[test]
    fn integers_are_refused() {
        assert!(convert(Dtype::I32, &[0; 8]).is_none());
        assert!(convert(Dtype::F8_E4M3, &[0; 8]).is_none());
    }
}
