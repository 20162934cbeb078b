//! A second output of a custom operation: a node of the graph has one.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::tensor::{Device, FloatTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{FloatDType, Shape};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

/// The gradient to the second output, on its way from the node of that to the node of the operation.
#[derive(Debug)]
pub struct Mailbox<B: Backend>(Arc<Mutex<Option<FloatTensor<B>>>>);

impl<B: Backend> Clone for Mailbox<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backend> Default for Mailbox<B> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<B: Backend> Mailbox<B> {
    /// The gradient, if there is one.
    pub fn take(&self) -> Option<FloatTensor<B>> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.take()
    }

    fn put(&self, grad: FloatTensor<B>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(grad);
    }
}

/// What a gradient to the first output is like.
#[derive(Debug, Clone)]
pub struct Like<B: Backend>(Shape, Device<B>, FloatDType);

impl<B: Backend> Like<B> {
    /// As the output.
    pub fn of(x: &FloatTensor<B>) -> Self {
        Self(x.shape(), x.device(), x.dtype().into())
    }
}

/// The node of the second output, a child of the first's.
#[derive(Debug)]
struct Second;

impl<B: Backend> Backward<B, 1> for Second {
    type State = (Like<B>, Mailbox<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (Like(shape, device, dtype), mailbox) = ops.state;
        mailbox.put(grads.consume::<B>(&ops.node));
        let [first] = ops.parents;
        if let Some(first) = first {
            // The operation's own turn needs a gradient of its first output, which may not be used.
            grads.register::<B>(first.id, B::float_zeros(shape, &device, dtype));
        }
    }
}

/// The second output of an operation, as a child of the first.
pub fn second_output<B: Backend, C: CheckpointStrategy>(
    first: &FloatTensor<Autodiff<B, C>>,
    like: Like<B>,
    second: FloatTensor<B>,
    mailbox: Mailbox<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match (Second.prepare::<C>([first.node()]).compute_bound()).stateful() {
        OpsKind::Tracked(prep) => prep.finish((like, mailbox), second),
        OpsKind::UnTracked(prep) => prep.finish(second),
    }
}
