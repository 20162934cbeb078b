use burn::tensor::Tensor;

use crate::portable;
use crate::route::try_fast;

/// Layer normalisation over the last dimension: `y = (x − mean) / √(var + eps) · gamma + beta`.
///
/// `mean` and the biased `var` are those of each row. `x` is `[…, d]`, `gamma` and `beta` are
/// `[d]`.
///
/// # Panics
/// If `gamma` or `beta` has another length than the last dimension of `x`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    check("layer_norm", x.dims()[D - 1], &gamma, &beta);
    try_fast!(
        x,
        fused_layer_norm(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            eps
        )
    );
    portable::layer_norm(x, gamma, beta, eps)
}

/// Layer normalisation of a sum, as after every sub-layer of BERT:
/// `layer_norm(x + residual, gamma, beta, eps)`.
///
/// `x` and `residual` are `[rows, d]`, `gamma` and `beta` are `[d]`.
///
/// # Panics
/// If the shapes disagree.
pub fn add_layer_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<2> {
    assert_eq!(
        x.dims(),
        residual.dims(),
        "add_layer_norm: x and residual differ in shape"
    );
    check("add_layer_norm", x.dims()[1], &gamma, &beta);
    try_fast!(
        x,
        fused_add_layer_norm(
            x.into_dispatch(),
            residual.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            eps,
        )
    );
    portable::add_layer_norm(x, residual, gamma, beta, eps)
}

fn check(name: &str, d: usize, gamma: &Tensor<1>, beta: &Tensor<1>) {
    assert!(
        gamma.dims() == [d] && beta.dims() == [d],
        "{name}: gamma {:?} and beta {:?} must both be [{d}]",
        gamma.dims(),
        beta.dims()
    );
}
