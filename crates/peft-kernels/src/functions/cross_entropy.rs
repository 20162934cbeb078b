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
