//! What a model gives an objective.

use burn::{Tensor, tensor::Int};
use peft_core::kernels::cross_entropy;

/// What a model gives an objective.
#[derive(Debug, Clone)]
pub enum Output {
    /// Scores of sequences, `[sequences, outputs]`.
    Scores(Tensor<2>),
    /// The last hidden rows of all tokens, and the head that makes scores of them.
    Tokens {
        /// `[tokens, width]`
        hidden: Tensor<2>,
        /// The head.
        head: LanguageHead,
    },
}

/// Scores of the next token, one for each token of the vocabulary.
#[derive(Debug, Clone)]
pub struct LanguageHead {
    /// `[width, vocabulary]`
    pub weight: Tensor<2>,
}

impl LanguageHead {
    /// Scores of some rows, `[rows, width]` to `[rows, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.weight.clone())
    }

    /// The mean of `−ln p(target)` over some rows, `[1]`.
    pub fn cross_entropy(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        cross_entropy(self.logits(hidden), targets)
    }
}
