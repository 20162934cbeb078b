use burn::tensor::Tensor;

use crate::route::try_fast;
use crate::{RowLayout, portable};

/// Causal convolution of every channel by itself, over the sequences of a packed batch: with `x_t` the rows of a sequence,
///
/// ```text
/// y_t = bias + Σ_{k < K} weight_k ∘ x_{t − K + 1 + k}
/// ```
///
/// `x` is `[T, d]`, `weight` is `[d, K]` (the last column meets the row itself), `bias` is `[d]`, the output is `[T, d]`.
/// The `K − 1` rows before the first of a sequence are those of `state`, `[sequences, K − 1, d]` in the order of time, or
/// zeros. On flex the inputs alone are kept for the backward pass, and a range of columns of a wider matrix is read where
/// it lies.
///
/// # Panics
/// If the shapes and rows disagree, or the kernel is empty.
pub fn causal_conv1d(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    state: Option<Tensor<3>>,
    rows: &RowLayout,
) -> Tensor<2> {
    let ([t, d], [channels, kernel]) = (x.dims(), weight.dims());
    assert!(
        channels == d && kernel > 0 && t == rows.rows(),
        "causal_conv1d: a weight [{channels}, {kernel}] does not fit {t} rows of {d}, or the layout's {}",
        rows.rows()
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [d], "causal_conv1d: bias must be [{d}]");
    }
    if let Some(state) = &state {
        let want = [rows.len(), kernel - 1, d];
        assert_eq!(state.dims(), want, "causal_conv1d: state must be {want:?}");
    }
    #[cfg(feature = "flex")]
    let none = (&x.device(), x.dtype());
    try_fast!(
        x,
        packed_conv(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.unwrap_or_else(|| Tensor::empty([0], none))
                .into_dispatch(),
            state
                .unwrap_or_else(|| Tensor::empty([0, 0, 0], none))
                .into_dispatch(),
            crate::ops::ConvPlan {
                starts: rows.shared_starts()
            }
        )
    );
    portable::causal_conv1d(x, weight, bias, state, rows)
}

/// The state that [`causal_conv1d`] needs to go on behind some rows: the last `kernel − 1` rows of each sequence, those of
/// the earlier state (or zeros) included, `[sequences, kernel − 1, d]`.
///
/// `x` is `[T, d]`, `state` is `[sequences, kernel − 1, d]`. By Burn's operations on every backend.
///
/// # Panics
/// If the shapes and rows disagree, or the kernel is empty.
pub fn conv_state(
    x: Tensor<2>,
    state: Option<Tensor<3>>,
    kernel: usize,
    rows: &RowLayout,
) -> Tensor<3> {
    let [t, d] = x.dims();
    assert!(
        kernel > 0 && t == rows.rows(),
        "conv_state: a kernel of {kernel} and {t} rows do not fit the layout's {}",
        rows.rows()
    );
    let want = [rows.len(), kernel - 1, d];
    if let Some(state) = &state {
        assert_eq!(state.dims(), want, "conv_state: state must be {want:?}");
    }
    portable::conv_state(x, state, kernel, rows)
}
