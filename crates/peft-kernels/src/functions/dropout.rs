use burn::tensor::Tensor;

use crate::route::try_fast;
use crate::{Keep, portable};

/// What to drop: a probability and the key of the mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of dropping an element, in `[0, 1]`.
    pub probability: f64,
    /// Names the mask; see [`key_of`](crate::key_of). Equal keys give equal masks.
    pub key: u64,
}

impl Dropout {
    /// `1 / (1 − probability)`, or 0 where everything is dropped.
    #[must_use]
    pub fn scale(self) -> f64 {
        if self.probability < 1.0 {
            1.0 / (1.0 - self.probability)
        } else {
            0.0
        }
    }
}

/// Inverted dropout: `yᵢ = xᵢ / (1 − p)` where [`keep`](crate::keep)`(key, i, p)`, and 0 elsewhere.
///
/// `i` counts elements in row-major order. The mask is a pure function of key and index: equal bits
/// on every backend and at any thread count, and it is not stored for the backward pass on flex.
/// `p = 0` returns `x`. NaN stays NaN.
///
/// # Panics
/// If the probability is not in `[0, 1]`.
pub fn dropout<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    let _checked = Keep::new(dropout.key, dropout.probability);
    if dropout.probability == 0.0 {
        return x;
    }
    try_fast!(x, keyed_dropout(x.into_dispatch(), dropout));
    portable::dropout(x, dropout)
}
