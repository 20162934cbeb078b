//! What a model gives an objective.

use burn::Tensor;

use crate::nn::LanguageHead;

/// The output of a forward pass, as the objective takes it that the model is trained by.
#[derive(Debug, Clone)]
pub enum Output {
    /// One row of scores a sequence, `[sequences, outputs]`, or a token, `[tokens, outputs]`, as the head has it.
    Scores(Tensor<2>),
    /// The last hidden rows of all tokens, `[rows, width]`, and the head that makes logits of them: as many
    /// as the vocabulary has entries for every row, so that they are never formed as a whole.
    Tokens {
        /// `[rows, width]`
        hidden: Tensor<2>,
        /// From a row to its logits.
        head: Box<LanguageHead>,
    },
}

impl Output {
    /// Of hidden rows and the head that makes logits of them.
    pub fn tokens(hidden: Tensor<2>, head: LanguageHead) -> Self {
        let head = Box::new(head);
        Self::Tokens { hidden, head }
    }

    /// The scores, where the model gives one row a sequence.
    pub fn scores(self) -> Option<Tensor<2>> {
        match self {
            Self::Scores(scores) => Some(scores),
            Self::Tokens { .. } => None,
        }
    }
}
