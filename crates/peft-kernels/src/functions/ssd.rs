use burn::tensor::Tensor;

use crate::{RowLayout, portable};

/// The inputs of [`ssd`], over `T` rows of `H` heads with `P` channels each, and `N` states for each channel.
#[derive(Clone, Debug)]
pub struct StateSpaceDual {
    /// Input, `[T, H·P]`.
    pub x: Tensor<2>,
    /// Step before bias and softplus, `[T, H]`.
    pub dt: Tensor<2>,
    /// `ln(−A)`, `[H]`.
    pub a_log: Tensor<1>,
    /// `B`, `[T, G·N]`: head `h` reads group `h / (H / G)`.
    pub b: Tensor<2>,
    /// `C`, `[T, G·N]`.
    pub c: Tensor<2>,
    /// Factor `D` of the input in the output, `[H]`.
    pub skip: Tensor<1>,
    /// Bias of the step, `[H]`.
    pub dt_bias: Option<Tensor<1>>,
    /// Bounds of the step behind the softplus, as a rule 0 and infinity.
    pub dt_limit: (f64, f64),
    /// States before the first row of each sequence, `[sequences, H, P, N]`; zeros if there are none.
    pub initial: Option<Tensor<4>>,
    /// Groups `G` of `B` and `C`, a divisor of the heads.
    pub groups: usize,
}

/// The scan of Mamba-2 (Dao and Gu 2024, "structured state space duality") within each sequence of a packed batch: the
/// output, `[T, H·P]`, and the states behind the last row of each sequence, `[sequences, H, P, N]`.
///
/// For each sequence and head, with `A = −exp(a_log)`, from the initial state `h_0` on:
///
/// ```text
/// δ_t = clip(softplus(dt_t + dt_bias), dt_limit)
/// h_t = exp(δ_t A) h_{t−1} + δ_t x_t B_tᵀ
/// y_t = h_t C_t + skip · x_t
/// ```
///
/// In chunks of 64 rows: within a chunk as products of matrices, from chunk to chunk as a recurrence. Everything is
/// differentiable, the initial states, and the states that are returned, too. For the backward pass the inputs are kept and the
/// states between chunks, from which the products are computed anew, on every backend. On flex a task has some heads of a
/// sequence, and works in the cache; elsewhere both passes are Burn's operations. Products are of the type of the inputs on
/// flex, whatever [`set_compute`](crate::set_compute) chose.
///
/// A step of decoding is a call over sequences of one row each, from the states that the call before returned.
///
/// # Panics
/// If the shapes, groups and rows disagree.
pub fn ssd(inputs: StateSpaceDual, rows: &RowLayout) -> (Tensor<2>, Tensor<4>) {
    check(&inputs, rows);
    #[cfg(feature = "flex")]
    if crate::route::is_fast(&inputs.x) {
        return crate::backends::dual::routed(inputs, rows, true);
    }
    portable::ssd(inputs, rows)
}

fn check(x: &StateSpaceDual, rows: &RowLayout) {
    let ([t, width], [heads], [_, wide], groups) =
        (x.x.dims(), x.a_log.dims(), x.b.dims(), x.groups);
    assert!(
        heads > 0 && width > 0 && width.is_multiple_of(heads) && t == rows.rows(),
        "ssd: {heads} heads must divide a width of {width}, and {t} rows be the layout's {}",
        rows.rows()
    );
    assert!(
        groups > 0 && heads.is_multiple_of(groups) && wide > 0 && wide.is_multiple_of(groups),
        "ssd: {groups} groups must divide {heads} heads and a width of B of {wide}"
    );
    assert!(
        x.b.dims() == [t, wide] && x.c.dims() == [t, wide] && x.dt.dims() == [t, heads],
        "ssd: b {:?}, c {:?} and dt {:?} must be [{t}, {wide}], [{t}, {wide}] and [{t}, {heads}]",
        x.b.dims(),
        x.c.dims(),
        x.dt.dims()
    );
    assert_eq!(x.skip.dims(), [heads], "ssd: skip must be [{heads}]");
    if let Some(bias) = &x.dt_bias {
        assert_eq!(bias.dims(), [heads], "ssd: dt_bias must be [{heads}]");
    }
    if let Some(initial) = &x.initial {
        let want = [rows.len(), heads, width / heads, wide / groups];
        assert_eq!(initial.dims(), want, "ssd: initial must be {want:?}");
    }
}
