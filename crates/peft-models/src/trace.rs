//! Where in the model numbers stop being numbers.

use burn::Tensor;
use peft_core::AdapterContext;

use crate::{Network, Output, PackedBatch};

/// Rows whose logits are looked at together.
const CHUNK: usize = 256;

/// See [`Network::first_not_finite`].
pub fn first_not_finite<N: Network>(
    model: &N,
    batch: &PackedBatch,
    context: &AdapterContext,
) -> Option<String> {
    let description = model.description();
    let batch = &*model.prepared(batch, context);
    let mut x = model.embed(batch, context);
    if !is_finite(&x) {
        return Some(description.embeddings.clone());
    }
    for depth in 0..model.depth() {
        x = model.block(depth, x, batch, context);
        if !is_finite(&x) {
            return Some(description.block_name(depth));
        }
    }
    let finite = match model.output(x, batch, context) {
        Output::Scores(scores) => is_finite(&scores),
        Output::Tokens { hidden, head } => {
            let chunks = hidden.split(CHUNK, 0).into_iter();
            chunks
                .map(|rows| head.logits(rows))
                .all(|logits| is_finite(&logits))
        }
    };
    (!finite).then(|| description.output().to_owned())
}

fn is_finite(x: &Tensor<2>) -> bool {
    let data = x.clone().into_data();
    data.iter::<f64>().all(f64::is_finite)
}
