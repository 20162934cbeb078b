//! Backward passes that keep little.

use burn::{Tensor, tensor::Gradients};
use peft_core::{AdapterContext, adapted_places, trainable_parameters};

use crate::{Network, Output, PackedBatch};

/// Steps of autodiff from a block's input to where its gradient is taken: more than lead from any adapter's
/// parameters to a product.
const BEFORE: usize = 64;

/// See [`Network::backward_recomputing`].
///
/// Sums of more than two gradients depend on their order, and autodiff goes by how many steps lead to each.
/// Inputs of blocks are therefore as many steps deep as matter, and tracked only where something before them
/// is trained: then the order is that of a pass that keeps everything, and so are the bits.
pub fn backward<N: Network>(
    model: &N,
    batch: &PackedBatch,
    context: &AdapterContext,
    loss: impl FnOnce(Output) -> Tensor<1>,
) -> (Tensor<1>, Vec<Gradients>) {
    let depth = model.depth();
    let batch = &*model.prepared(batch, context);
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
    let tracked_from = first_tracked(model);
    let mut passes = Vec::with_capacity(depth + 2);
    let mut next = |place: usize| {
        let input = Tensor::from_inner(inputs.pop().expect("one for every block and the head"));
        match place >= tracked_from {
            true => Input::tracked(input),
            false => Input::untracked(input),
        }
    };

    let x = next(depth);
    let value = loss(model.output(x.read.clone(), batch, context));
    let mut grads = value.backward();
    let mut upstream = x.gradient(&mut grads);
    passes.push(grads);
    for depth in (0..depth).rev() {
        let x = next(depth);
        let y = model.block(depth, x.read.clone(), batch, context);
        let Some(mut grads) = pull_back(y, upstream) else {
            return (value, passes);
        };
        upstream = x.gradient(&mut grads);
        passes.push(grads);
    }
    passes.extend(pull_back(model.embed(batch, context), upstream));
    (value, passes)
}

/// What a block reads.
struct Input {
    /// Where the gradient arrives, if one is wanted.
    leaf: Option<Tensor<2>>,
    read: Tensor<2>,
}

impl Input {
    fn untracked(read: Tensor<2>) -> Self {
        Self { leaf: None, read }
    }

    fn tracked(input: Tensor<2>) -> Self {
        let leaf = input.require_grad();
        // Views of views: nothing is copied or computed.
        let read = (0..BEFORE).fold(leaf.clone(), |x, _| x.swap_dims(0, 1));
        Self {
            leaf: Some(leaf),
            read,
        }
    }

    fn gradient(&self, grads: &mut Gradients) -> Option<Tensor<2>> {
        self.leaf.as_ref()?.grad_remove(grads)
    }
}

/// The first depth at whose input gradients arrive; that of the head is the number of blocks. More than that
/// where nothing before the head is trained.
fn first_tracked<N: Network>(model: &N) -> usize {
    let trained = trainable_parameters(model).into_iter();
    let trained: Vec<String> = trained.map(|site| site.path).collect();
    match first_of(model, &trained) {
        First::Before => 0,
        First::Block(depth) => depth + 1,
        First::Behind => model.depth() + 1,
    }
}

/// See [`Network::first_adapted`].
pub fn first_adapted<N: Network>(model: &N) -> usize {
    let trained = trainable_parameters(model).into_iter();
    let mut places: Vec<String> = trained.map(|site| site.path).collect();
    places.extend(adapted_places(model));
    match first_of(model, &places) {
        First::Before => 0,
        First::Block(depth) => depth,
        First::Behind => model.depth(),
    }
}

/// Where the first of some places is.
enum First {
    /// In the embeddings, or before them.
    Before,
    /// In the block at a depth.
    Block(usize),
    /// In the head, or nowhere.
    Behind,
}

fn first_of<N: Network>(model: &N, places: &[String]) -> First {
    let description = model.description();
    let within = |module: &str| {
        let inside = |rest: &str| rest.is_empty() || rest.starts_with('.');
        let mut paths = places.iter();
        paths.any(|path| path.strip_prefix(module).is_some_and(inside))
    };
    let before = description.before.iter().map(|part| part.path.as_str());
    if before.chain([description.prompt.path.as_str()]).any(within) {
        return First::Before;
    }
    let own = |depth: &usize| {
        let block = description.block(*depth);
        within(&block.path.replace("{}", &block.index.to_string()))
    };
    (0..model.depth())
        .find(own)
        .map_or(First::Behind, First::Block)
}

/// The backward pass from a gradient to `y`; none where nothing behind `y` wants one.
fn pull_back(y: Tensor<2>, upstream: Option<Tensor<2>>) -> Option<Gradients> {
    let upstream = upstream.filter(|_| y.is_tracked())?;
    // The gradient of this sum to `y` is `upstream`.
    Some((y * Tensor::from_inner(upstream)).sum().backward())
}
