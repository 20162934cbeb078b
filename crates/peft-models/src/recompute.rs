//! Backward passes that keep little.

use burn::{Tensor, module::Module, tensor::Gradients};
use peft_core::AdapterContext;

use crate::{PackedBatch, SequenceModel};

impl SequenceModel {
    /// A forward and a backward pass that keep only the input of every block, and compute each block
    /// a second time when its gradients are due.
    ///
    /// Between the passes lie `layers · rows · hidden` values instead of everything that the blocks
    /// keep for their gradients; the price is a second forward pass. Dropout is a function of its
    /// place, so both computations of a block drop the same values. Gives the loss, and the gradients
    /// of the head, of each block and of the embeddings: a parameter's gradient is the sum over all
    /// of them, for blocks may share parameters.
    pub fn backward_recomputing(
        &self,
        batch: &PackedBatch,
        context: &AdapterContext,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    ) -> (Tensor<1>, Vec<Gradients>) {
        let layers = self.config().layers;
        let mut inputs = Vec::with_capacity(layers + 1);
        {
            // Without gradients nothing is kept on the way.
            let (plain, batch) = (self.valid(), batch.without_autodiff());
            inputs.push(plain.encoder.embed(&batch, context));
            for depth in 0..layers {
                let x = inputs[depth].clone();
                inputs.push(plain.encoder.block(depth, x, &batch, context));
            }
        }
        let mut passes = Vec::with_capacity(layers + 2);
        let mut next = || {
            let input = inputs.pop().expect("one for every block and the head");
            Tensor::from_inner(input).require_grad()
        };

        let x = next();
        let value = loss(self.scores(x.clone(), batch, context));
        let mut grads = value.backward();
        let mut upstream = x.grad_remove(&mut grads);
        passes.push(grads);
        for depth in (0..layers).rev() {
            let x = next();
            let y = self.encoder.block(depth, x.clone(), batch, context);
            let Some(mut grads) = pull_back(y, upstream) else {
                return (value, passes);
            };
            upstream = x.grad_remove(&mut grads);
            passes.push(grads);
        }
        passes.extend(pull_back(self.encoder.embed(batch, context), upstream));
        (value, passes)
    }
}

/// The backward pass from a gradient to `y`; none where nothing behind `y` wants one.
fn pull_back(y: Tensor<2>, upstream: Option<Tensor<2>>) -> Option<Gradients> {
    let upstream = upstream.filter(|_| y.is_tracked())?;
    // The gradient of this sum to `y` is `upstream`.
    Some((y * Tensor::from_inner(upstream)).sum().backward())
}
