use burn::tensor::{Int, Tensor, activation};

/// [`cross_entropy`](crate::cross_entropy) by Burn's operations.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let log_probability = activation::log_softmax(logits, 1);
    log_probability
        .gather(1, targets.reshape([rows, 1]))
        .mean()
        .neg()
}
