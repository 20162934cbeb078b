use burn::tensor::Tensor;

use crate::portable;

/// A tensor in training, flat, with what [`adamw`] needs beside it.
#[derive(Clone, Debug)]
pub struct AdamWTensor {
    /// What is trained, `w`.
    pub value: Tensor<1>,
    /// Running mean of the gradients, `m`; zeros before the first step.
    pub mean: Tensor<1>,
    /// Running mean of their squares, `v`; zeros before the first step.
    pub square: Tensor<1>,
    /// The gradient, `g`. Cast to the type of the value where it differs.
    pub gradient: Tensor<1>,
    /// Learning rate `η`.
    pub rate: f64,
}

/// The numbers of one step of [`adamw`], the same for all tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Decay `β₁` of the mean.
    pub beta1: f64,
    /// Decay `β₂` of the mean of the squares.
    pub beta2: f64,
    /// `ε`, added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay `λ`, multiplied by the learning rate.
    pub weight_decay: f64,
    /// Steps `t` done, this one included: at least 1.
    pub count: u64,
    /// Factor `c` of every gradient: what clipping by the global norm asks for, or 1.
    pub gradient_scale: f64,
}

impl AdamWStep {
    /// `1 − β₁ᵗ` and `√(1 − β₂ᵗ)`.
    pub(crate) fn corrections(&self) -> (f64, f64) {
        let count = i32::try_from(self.count).unwrap_or(i32::MAX);
        let left = |beta: f64| 1.0 - beta.powi(count);
        (left(self.beta1), left(self.beta2).sqrt())
    }
}

/// One step of AdamW ([1711.05101](https://arxiv.org/abs/1711.05101)) for all trained tensors at
/// once:
///
/// ```text
/// m ← β₁ m + (1 − β₁) c g          v ← β₂ v + (1 − β₂) (c g)²
/// w ← w − η λ w − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
///
/// as PyTorch computes it. All tensors of an element are `[n]`. Gives the tensors back with new
/// value, mean and square; autodiff, if any, is left behind.
///
/// On flex each number is read once and written once, in one parallel loop over all tensors, and
/// storage that nothing else refers to is written in place.
///
/// # Panics
/// If the lengths of an element differ, or the count is 0.
#[must_use]
pub fn adamw(tensors: Vec<AdamWTensor>, step: &AdamWStep) -> Vec<AdamWTensor> {
    assert!(step.count > 0, "adamw: the first step has the count 1");
    let tensors: Vec<AdamWTensor> = tensors.into_iter().map(checked).collect();
    #[cfg(feature = "flex")]
    if tensors.iter().all(|t| crate::route::is_fast(&t.value)) {
        return crate::backends::flex::adamw(tensors, step);
    }
    let step = |tensor| portable::adamw(tensor, step);
    tensors.into_iter().map(step).collect()
}

fn checked(t: AdamWTensor) -> AdamWTensor {
    let dims = t.value.dims();
    assert!(
        t.mean.dims() == dims && t.square.dims() == dims && t.gradient.dims() == dims,
        "adamw: value {dims:?}, mean {:?}, square {:?} and gradient {:?} must be of one length",
        t.mean.dims(),
        t.square.dims(),
        t.gradient.dims()
    );
    let dtype = t.value.dtype();
    let plain = |x: Tensor<1>| x.without_autodiff().cast(dtype);
    AdamWTensor {
        value: plain(t.value),
        mean: plain(t.mean),
        square: plain(t.square),
        gradient: plain(t.gradient),
        rate: t.rate,
    }
}
