use std::borrow::Cow;

use burn::{Tensor, module::Module, tensor::Gradients};
use peft_core::AdapterContext;

use crate::{Before, Description, Output, PackedBatch, recompute, trace};

/// A model as a chain: what embeds, blocks that go from hidden rows to hidden rows, and what reads the
/// last of them.
///
/// All that walks the blocks is written against it: forward and backward passes, passes that keep
/// little, and the search for numbers that are none.
pub trait Network: Module {
    /// What it is made of.
    fn description(&self) -> &Description;

    /// How many blocks are applied.
    fn depth(&self) -> usize {
        self.description().depth
    }

    /// What adapters of a context's choice put before every sequence: rows of a prompt, and positions of a prefix.
    fn before(&self, context: &AdapterContext) -> Before;

    /// The batch as [`embed`](Self::embed), [`block`](Self::block) and [`output`](Self::output) see it: with rows for trained
    /// prompts before those of every sequence, and with positions behind those of trained prefixes. Without either, the batch
    /// itself.
    ///
    /// # Panics
    /// If a sequence comes to have more positions than the model has: with
    /// [`positions_before`](peft_core::Method::positions_before) fewer tokens than without.
    fn prepared<'a>(
        &self,
        batch: &'a PackedBatch,
        context: &AdapterContext,
    ) -> Cow<'a, PackedBatch> {
        batch.prepared(context, |context| self.before(context))
    }

    /// The longest sequence of tokens that there are positions for, beside what a context's choice puts before it.
    fn room(&self, context: &AdapterContext) -> usize {
        let before = self.before(context);
        let most = self.description().input.max_length;
        most.saturating_sub(before.rows + before.positions)
    }

    /// What the first block reads, `[rows, hidden]`, a row for each token of the batch and for each of a prompt.
    fn embed(&self, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2>;

    /// The block at a depth, `[rows, hidden] -> [rows, hidden]`. Blocks may share their parameters
    /// (ALBERT's do).
    fn block(
        &self,
        depth: usize,
        x: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Tensor<2>;

    /// What the last hidden rows come to.
    fn output(&self, hidden: Tensor<2>, batch: &PackedBatch, context: &AdapterContext) -> Output;

    /// The whole pass, each sequence through the adapters that the
    /// [batch](PackedBatch::with_adapters) chooses for it, or through those that are active.
    fn run(&self, batch: &PackedBatch, context: &AdapterContext) -> Output {
        let batch = &*self.prepared(batch, context);
        let hidden = (0..self.depth()).fold(self.embed(batch, context), |x, depth| {
            self.block(depth, x, batch, context)
        });
        self.output(hidden, batch, context)
    }

    /// The depth of the first block that has adapters or trained parameters: 0 if what comes before the blocks has some, too, and
    /// the number of blocks if only the head has. What the block there reads depends on no adapter.
    fn first_adapted(&self) -> usize {
        recompute::first_adapted(self)
    }

    /// What the block at a depth reads, or at the end the head, `[rows, hidden]`, without gradients.
    fn hidden(&self, depth: usize, batch: &PackedBatch, context: &AdapterContext) -> Tensor<2> {
        let (plain, batch) = (self.valid(), batch.without_autodiff());
        let batch = &*plain.prepared(&batch, context);
        (0..depth).fold(plain.embed(batch, context), |x, depth| {
            plain.block(depth, x, batch, context)
        })
    }

    /// The pass from the block at a depth on, which reads `hidden`: [`run`](Self::run) without what comes before.
    fn run_from(
        &self,
        depth: usize,
        hidden: Tensor<2>,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Output {
        let batch = &*self.prepared(batch, context);
        let hidden =
            (depth..self.depth()).fold(hidden, |x, depth| self.block(depth, x, batch, context));
        self.output(hidden, batch, context)
    }

    /// A forward and a backward pass that keep only the input of every block, and compute each block a
    /// second time when its gradients are due.
    ///
    /// Between the passes lie `depth · rows · hidden` values instead of everything that the blocks keep
    /// for their gradients; the price is a second forward pass. Dropout is a function of its place, so
    /// both computations of a block drop the same values. Gives the loss, and the gradients of the head,
    /// of each block and of the embeddings: a parameter's gradient is the sum over all of them, for
    /// blocks may share parameters, and a head its table with the embeddings.
    fn backward_recomputing(
        &self,
        batch: &PackedBatch,
        context: &AdapterContext,
        loss: impl FnOnce(Output) -> Tensor<1>,
    ) -> (Tensor<1>, Vec<Gradients>) {
        recompute::backward(self, batch, context, loss)
    }

    /// The first module whose output on this batch holds NaN or infinity, by the checkpoint's name: the
    /// embeddings, a block, or the head. A forward pass that reads every block's output back.
    fn first_not_finite(&self, batch: &PackedBatch, context: &AdapterContext) -> Option<String> {
        trace::first_not_finite(self, batch, context)
    }
}
