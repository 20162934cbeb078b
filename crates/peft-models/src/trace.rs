//! Where in the model numbers stop being numbers.

use burn::Tensor;
use peft_core::AdapterContext;

use crate::{PackedBatch, SequenceModel, encoder::Names};

impl SequenceModel {
    /// The first module whose output on this batch holds NaN or infinity, by the checkpoint's name:
    /// the embeddings, a layer, or the head. A forward pass that reads every layer's output back.
    pub fn first_not_finite(
        &self,
        batch: &PackedBatch,
        context: &AdapterContext,
    ) -> Option<String> {
        let names = Names::of(self.config().family);
        let mut x = self.encoder.embed(batch, context);
        if !is_finite(&x) {
            return Some(parent(&names.word).to_owned());
        }
        for depth in 0..self.config().layers {
            x = self.encoder.block(depth, x, batch, context);
            if !is_finite(&x) {
                return Some(names.layer(depth, self.encoder.layers.len()));
            }
        }
        let scores = self.scores(x, batch, context);
        (!is_finite(&scores)).then(|| names.classifier.clone())
    }
}

fn is_finite(x: &Tensor<2>) -> bool {
    let data = x.clone().into_data();
    data.iter::<f64>().all(f64::is_finite)
}

fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(parent, _)| parent)
}
