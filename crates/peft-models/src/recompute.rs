//! Backward passes that keep little.

use burn::{Tensor, tensor::Gradients};
use peft_core::AdapterContext;

use crate::{Network, Output, PackedBatch};

/// See [`Network::backward_recomputing`].
pub fn backward<N: Network>(
    model: &N,
    batch: &PackedBatch,
    context: &AdapterContext,
    loss: impl FnOnce(Output) -> Tensor<1>,
) -> (Tensor<1>, Vec<Gradients>) {
    let depth = model.depth();
    let mut inputs = Vec::with_capacity(depth + 1);
    {
        // Without gradients nothing is kept on the way.
        let (plain, batch) = (model.valid(), batch.without_autodiff());
        inputs.push(plain.embed(&batch, context));
        for depth in 0..depth {
            let x = inputs[depth].clone();
            inputs.push(plain.block(depth, x, &batch, context));
        }
    }
    let mut passes = Vec::with_capacity(depth + 2);
    let mut next = || {
        let input = inputs.pop().expect("one for every block and the head");
        Tensor::from_inner(input).require_grad()
    };

    let x = next();
    let value = loss(model.output(x.clone(), batch, context));
    let mut grads = value.backward();
    let mut upstream = x.grad_remove(&mut grads);
    passes.push(grads);
    for depth in (0..depth).rev() {
        let x = next();
        let y = model.block(depth, x.clone(), batch, context);
        let Some(mut grads) = pull_back(y, upstream) else {
            return (value, passes);
        };
        upstream = x.grad_remove(&mut grads);
        passes.push(grads);
    }
    passes.extend(pull_back(model.embed(batch, context), upstream));
    (value, passes)
}

/// The backward pass from a gradient to `y`; none where nothing behind `y` wants one.
fn pull_back(y: Tensor<2>, upstream: Option<Tensor<2>>) -> Option<Gradients> {
    let upstream = upstream.filter(|_| y.is_tracked())?;
    // The gradient of this sum to `y` is `upstream`.
    Some((y * Tensor::from_inner(upstream)).sum().backward())
}
