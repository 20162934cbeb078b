//! What an adapter changes of a weight, and what rounding leaves of it.

use burn::tensor::TensorData;
use half::{bf16, f16};
use peft_format::Dtype;

/// Part of a change that a merge may lose without being asked.
pub const LOSS_LIMIT: f64 = 0.05;

/// A weight before and after, `[out, in]`.
pub struct Change {
    /// The base's values.
    pub before: TensorData,
    /// The sum, in f32 (f64 for f64 checkpoints).
    pub after: TensorData,
    /// The checkpoint's type.
    pub stored: Dtype,
    /// Whether the adapter has a bias for a layer that has none in the base, which no weight can hold.
    pub loses_bias: bool,
}

/// Sums over the elements of one weight, or of several.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rounding {
    /// `Σ w²` of the base.
    base: f64,
    /// `Σ δ²` of the change.
    change: f64,
    /// `Σ (stored − sum)²`.
    lost: f64,
    /// Largest element of the change.
    pub largest_change: f64,
    /// Largest error of a stored element, relative to the largest element of its tensor.
    pub relative_error: f64,
    /// Elements of the sum that are NaN or infinite.
    pub not_finite: usize,
    /// Finite sums that the type has no room for.
    pub overflowed: usize,
}

impl Change {
    /// The sum in a type, rounded to nearest even, and what that cost.
    pub fn rounded(&self, dtype: Dtype) -> (Vec<u8>, Rounding) {
        let bytes = round(&self.after, dtype);
        let mut sums = Rounding::default();
        let (mut worst, mut largest) = (0f64, 0f64);
        let values = self.before.iter::<f64>().zip(self.after.iter::<f64>());
        for ((before, sum), stored) in values.zip(read(&bytes, dtype)) {
            let (change, error) = (sum - before, stored - sum);
            sums.base += before * before;
            sums.change += change * change;
            sums.lost += error * error;
            sums.largest_change = sums.largest_change.max(change.abs());
            sums.not_finite += usize::from(!sum.is_finite());
            sums.overflowed += usize::from(sum.is_finite() && !stored.is_finite());
            worst = worst.max(error.abs());
            largest = largest.max(sum.abs());
        }
        if largest > 0.0 {
            sums.relative_error = worst / largest;
        }
        (bytes, sums)
    }
}

impl Rounding {
    /// Norm of the change, `‖ΔW‖`.
    pub fn change(&self) -> f64 {
        self.change.sqrt()
    }

    /// Norm of the change over that of the weight; of a weight of zeros, infinite.
    pub fn relative_change(&self) -> f64 {
        match self.change {
            0.0 => 0.0,
            change => (change / self.base).sqrt(),
        }
    }

    /// Norm of what rounding changed over that of the change; 0 without a change.
    pub fn lost_share(&self) -> f64 {
        match self.change {
            0.0 => 0.0,
            change => (self.lost / change).sqrt(),
        }
    }

    /// Take in another weight.
    pub fn add(&mut self, other: &Self) {
        self.base += other.base;
        self.change += other.change;
        self.lost += other.lost;
        self.largest_change = self.largest_change.max(other.largest_change);
        self.relative_error = self.relative_error.max(other.relative_error);
        self.not_finite += other.not_finite;
        self.overflowed += other.overflowed;
    }
}

/// The values in a file's type, rounded to nearest even; anything but F16, BF16 and F64 is F32.
pub fn round(values: &TensorData, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values
            .iter::<f32>()
            .flat_map(|v| f16::from_f32(v).to_le_bytes())
            .collect(),
        Dtype::BF16 => values
            .iter::<f32>()
            .flat_map(|v| bf16::from_f32(v).to_le_bytes())
            .collect(),
        Dtype::F64 => values.iter::<f64>().flat_map(f64::to_le_bytes).collect(),
        _ => values.iter::<f32>().flat_map(f32::to_le_bytes).collect(),
    }
}

/// The inverse of [`round`].
fn read(bytes: &[u8], dtype: Dtype) -> Box<dyn Iterator<Item = f64> + '_> {
    let (halves, singles) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    match dtype {
        Dtype::F16 => Box::new(halves.iter().map(|b| f16::from_le_bytes(*b).to_f64())),
        Dtype::BF16 => Box::new(halves.iter().map(|b| bf16::from_le_bytes(*b).to_f64())),
        Dtype::F64 => Box::new((bytes.as_chunks::<8>().0.iter()).map(|b| f64::from_le_bytes(*b))),
        _ => Box::new(singles.iter().map(|b| f64::from(f32::from_le_bytes(*b)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: &[f32], after: &[f32]) -> Change {
        let data = |values: &[f32]| TensorData::new(values.to_vec(), [1, values.len()]);
        Change {
            before: data(before),
            after: data(after),
            stored: Dtype::F32,
            loses_bias: false,
        }
    }

    #[test]
    fn shares_are_those_of_the_norms() {
        // bf16 keeps 8 bits: 256 + 1 is halfway and goes to the even neighbour, 256.
        let (bytes, sums) = change(&[256.0, 0.0], &[257.0, 2.0]).rounded(Dtype::BF16);
        assert_eq!(read(&bytes, Dtype::BF16).collect::<Vec<_>>(), [256.0, 2.0]);
        assert!((sums.change() - 5f64.sqrt()).abs() < 1e-12);
        assert!((sums.lost_share() - (1.0 / 5.0f64).sqrt()).abs() < 1e-12);
        assert!((sums.relative_change() - 5f64.sqrt() / 256.0).abs() < 1e-12);
        assert_eq!(sums.relative_error, 1.0 / 257.0);
        let (_, exact) = change(&[256.0, 0.0], &[257.0, 2.0]).rounded(Dtype::F32);
        assert_eq!((exact.lost_share(), exact.relative_error), (0.0, 0.0));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let (_, sums) = change(&[1.0, 1.0, 1.0], &[1e30, f32::NAN, 1.0]).rounded(Dtype::F16);
        assert_eq!((sums.overflowed, sums.not_finite), (1, 1));
    }

    #[test]
    fn nothing_changed_is_nothing_lost() {
        let (_, sums) = change(&[0.1, 0.0], &[0.1, 0.0]).rounded(Dtype::BF16);
        assert_eq!(
            (sums.change(), sums.relative_change(), sums.lost_share()),
            (0.0, 0.0, 0.0)
        );
    }
}
