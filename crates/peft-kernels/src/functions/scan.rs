use burn::tensor::Tensor;

use crate::backends::selective;
use crate::{RowLayout, portable};

/// The inputs of [`selective_scan`], over `T` rows of `D` channels with `N` states each.
#[derive(Clone, Debug)]
pub struct SelectiveScan {
    /// Input `u`, `[T, D]`.
    pub u: Tensor<2>,
    /// Step before bias and softplus, `[T, D]`.
    pub delta: Tensor<2>,
    /// `ln(−A)`, `[D, N]`.
    pub a_log: Tensor<2>,
    /// `B`, `[T, N]`, the same for all channels.
    pub b: Tensor<2>,
    /// `C`, `[T, N]`, the same for all channels.
    pub c: Tensor<2>,
    /// Factor `D` of the input in the output, `[D]`.
    pub skip: Tensor<1>,
    /// Gate `z` of the output, `[T, D]`.
    pub gate: Option<Tensor<2>>,
    /// Bias of the step, `[D]`.
    pub delta_bias: Option<Tensor<1>>,
    /// States before the first row of each sequence, `[sequences, D, N]`; zeros if there are none.
    pub initial: Option<Tensor<3>>,
}

/// The selective scan of Mamba (Gu and Dao 2023) within each sequence of a packed batch: the output, `[T, D]`, and the
/// states behind the last row of each sequence, `[sequences, D, N]`.
///
/// For each sequence and channel, with `A = −exp(a_log)`, from the initial state `h_0` on:
///
/// ```text
/// δ_t = softplus(delta_t + delta_bias)
/// h_t = exp(δ_t A) ∘ h_{t−1} + δ_t u_t B_t
/// y_t = (⟨C_t, h_t⟩ + skip · u_t) · silu(gate_t)
/// ```
///
/// Everything is differentiable, the initial states, and the states that are returned, too. On flex the states of some
/// channels go through time in the cache, on GPUs (in `f32`, up to 48 states) those of one channel in a unit's registers; for the
/// backward pass the inputs are kept and every 32nd state (every 16th), from which those between are computed anew. Elsewhere it
/// is a loop over the rows of the longest sequence, which Burn differentiates.
///
/// A step of decoding is a call over sequences of one row each, from the states that the call before returned.
///
/// # Panics
/// If the shapes and rows disagree.
pub fn selective_scan(inputs: SelectiveScan, rows: &RowLayout) -> (Tensor<2>, Tensor<3>) {
    check(&inputs, rows);
    if selective::is_known(&inputs) {
        return selective::routed(inputs, rows);
    }
    portable::selective_scan(inputs, rows)
}

fn check(x: &SelectiveScan, rows: &RowLayout) {
    let ([t, d], [channels, n]) = (x.u.dims(), x.a_log.dims());
    assert!(
        t == rows.rows() && channels == d && d > 0 && n > 0,
        "selective_scan: u [{t}, {d}] and a_log [{channels}, {n}] do not fit each other, or the layout's {} rows",
        rows.rows()
    );
    assert!(
        x.delta.dims() == [t, d] && x.b.dims() == [t, n] && x.c.dims() == [t, n],
        "selective_scan: delta {:?}, b {:?} and c {:?} must be [{t}, {d}], [{t}, {n}] and [{t}, {n}]",
        x.delta.dims(),
        x.b.dims(),
        x.c.dims()
    );
    assert_eq!(x.skip.dims(), [d], "selective_scan: skip must be [{d}]");
    if let Some(gate) = &x.gate {
        assert_eq!(
            gate.dims(),
            [t, d],
            "selective_scan: gate must be [{t}, {d}]"
        );
    }
    if let Some(bias) = &x.delta_bias {
        assert_eq!(bias.dims(), [d], "selective_scan: delta_bias must be [{d}]");
    }
    if let Some(initial) = &x.initial {
        let want = [rows.len(), d, n];
        assert_eq!(
            initial.dims(),
            want,
            "selective_scan: initial must be {want:?}"
        );
    }
}
