//! What the scans of both kinds of state space have in common as operations of the graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_autodiff::{Autodiff, NodeId};

use super::second::{Like, Mailbox, second_output};

/// A tensor of the graph.
pub type F<B, C> = FloatTensor<Autodiff<B, C>>;

/// The output, the last states and the states before every chunk.
pub type Saving<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

/// A scan of `N` inputs that gives an output and the last states.
pub trait Recurrence<B: Backend, const N: usize>: Debug + Send + Sized + 'static {
    /// Everything it needs besides the tensors that have gradients.
    type Plan: Clone + Debug + Send + 'static;

    /// The scan by itself.
    fn plain(inputs: [FloatTensor<B>; N], plan: Self::Plan) -> (FloatTensor<B>, FloatTensor<B>);

    /// The scan that also returns what its gradients need, third.
    fn saving(inputs: [FloatTensor<B>; N], plan: &Self::Plan) -> Saving<B>;

    /// Gradients to the inputs, those asked for, from the gradient to the output and that to the last states, if there
    /// is one.
    fn grads(
        inputs: [FloatTensor<B>; N],
        saved: FloatTensor<B>,
        grad: FloatTensor<B>,
        last: Option<FloatTensor<B>>,
        plan: Self::Plan,
        wanted: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}

#[derive(Debug)]
struct Node<R>(PhantomData<R>);

impl<B: Backend, R: Recurrence<B, N>, const N: usize> Backward<B, N> for Node<R> {
    /// The inputs, the states between chunks, the plan, and where the gradient to the last states comes.
    type State = ([NodeId; N], FloatTensor<B>, R::Plan, Mailbox<B>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, saved, plan, mailbox) = ops.state;
        let inputs = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let nodes = ops.parents.map(|p| p.map(|n| n.id));
        let grad = grads.consume::<B>(&ops.node);
        let wanted = nodes.map(|n| n.is_some());
        let found = R::grads(inputs, saved, grad, mailbox.take(), plan, wanted);
        for (node, grad) in nodes.into_iter().zip(found) {
            if let (Some(node), Some(grad)) = (node, grad) {
                grads.register::<B>(node, grad);
            }
        }
    }
}

/// The scan as one operation of the graph. Keeps the inputs, and the states between chunks.
pub fn tracked<R, B, C, const N: usize>(inputs: [F<B, C>; N], plan: R::Plan) -> (F<B, C>, F<B, C>)
where
    R: Recurrence<B, N>,
    B: Backend,
    C: CheckpointStrategy,
{
    let guards = inputs.each_ref().map(F::<B, C>::node);
    let node = Node::<R>(PhantomData);
    match node.prepare::<C>(guards).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = inputs.each_ref().map(|x| prep.checkpoint(x));
            let inputs = inputs.map(F::<B, C>::into_primitive);
            let (y, last, saved) = R::saving(inputs, &plan);
            let (like, mailbox) = (Like::of(&y), Mailbox::<B>::default());
            let y = prep.finish((kept, saved, plan, mailbox.clone()), y);
            let last = second_output::<B, C>(&y, like, last, mailbox);
            (y, last)
        }
        OpsKind::UnTracked(prep) => {
            let inputs = inputs.map(F::<B, C>::into_primitive);
            let (y, last) = R::plain(inputs, plan);
            (prep.finish(y), F::<B, C>::new(last))
        }
    }
}
