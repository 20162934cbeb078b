use burn::tensor::Tensor;

/// Which gradients come back through [`top_gradient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopGradient {
    /// Values of a row that are kept.
    pub keep: usize,
    /// The same columns for all rows, those of largest sum of magnitudes; else every row's own.
    pub unified: bool,
}

/// `x` as it is, `[rows, features]`; of the gradient to it only the `keep` values of largest magnitude of
/// each row come back, of equal ones the first, the others as zero (meProp, 1706.06197). `None` where the
/// device has no body for it: it cannot be composed of Burn's operations.
pub fn top_gradient(x: &Tensor<2>, rule: TopGradient) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    if crate::route::is_fast(x) {
        use burn::backend::Dispatch;
        let y = <Dispatch as crate::ops::KernelOps>::kept_gradient(x.clone().into_dispatch(), rule);
        return Some(Tensor::from_dispatch(y));
    }
    #[cfg(not(feature = "flex"))]
    let _ = (x, rule);
    None
}
