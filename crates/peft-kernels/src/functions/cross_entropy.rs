use burn::tensor::{Int, Tensor};

use crate::portable;
use crate::route::try_fast;

/// Mean negative log-likelihood of the targets:
/// `mean over rows of (ln Σⱼ exp logitsⱼ) − logits_target`, of shape `[1]`.
///
/// `logits` is `[rows, classes]`, `targets` is `[rows]` with values in `0 .. classes`. Stable for
/// logits of any size.
///
/// # Panics
/// If the row counts differ or are 0; on flex, if a target is outside `0 .. classes`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    assert_eq!(
        targets.dims(),
        [rows],
        "cross_entropy: one target for each of {rows} rows"
    );
    assert!(
        rows > 0,
        "cross_entropy: the mean over no rows is undefined"
    );
    try_fast!(
        logits,
        fused_cross_entropy(logits.into_dispatch(), targets.into_dispatch())
    );
    portable::cross_entropy(logits, targets)
}

/// [`cross_entropy`] of the logits of a language head, which never exist as a whole: with `s = scale · hidden · weight`,
/// bounded to `c · tanh(s / c)` where `softcap` gives a `c`, the mean over the rows of `(ln Σⱼ exp sⱼ) − s_target`, of
/// shape `[1]`.
///
/// `hidden` is `[T, d]`, `weight` is `[d, V]`, which may be of half precision, `targets` is `[T]` with values in
/// `0 .. V`. Logits are made for as many rows at a time as fit 32 MiB. The loss is linear in what the rows contribute, so
/// its gradients, to the hidden rows and, where it is trained, to the weight, are formed with it; they are all that is
/// kept for the backward pass. For hidden rows of half precision loss and logits are `f32`.
///
/// # Panics
/// If the shapes disagree, there are no rows or classes, or `softcap` is not positive; on flex, if a target is outside `0 .. V`.
pub fn head_cross_entropy(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f64>,
    scale: f64,
) -> Tensor<1> {
    super::linear::checked("head_cross_entropy", &hidden, &weight, None);
    let ([rows, _], [_, classes]) = (hidden.dims(), weight.dims());
    assert_eq!(
        targets.dims(),
        [rows],
        "head_cross_entropy: one target for each of {rows} rows"
    );
    assert!(
        rows > 0 && classes > 0,
        "head_cross_entropy: the mean over {rows} rows of {classes} classes is undefined"
    );
    assert!(
        softcap.is_none_or(|cap| cap > 0.0 && cap.is_finite()),
        "head_cross_entropy: the bound of the logits is {softcap:?}, but must be positive"
    );
    let weight = if weight.is_tracked() {
        weight.cast(hidden.dtype())
    } else {
        super::linear::widened(weight, &hidden)
    };
    try_fast!(
        hidden,
        head_loss(
            hidden.into_dispatch(),
            weight.into_dispatch(),
            targets.into_dispatch(),
            crate::ops::HeadPlan { scale, softcap }
        )
    );
    portable::head_cross_entropy(hidden, weight, targets, softcap, scale)
}
