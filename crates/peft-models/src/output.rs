//! What a model gives an objective.

use burn::{Tensor, tensor::Int};
use peft_core::{
    AdapterContext,
    kernels::{cross_entropy, linear},
    nn::Linear,
};

/// What a model gives an objective.
#[derive(Debug, Clone)]
pub enum Output {
    /// `[sequences, outputs]`, one row a sequence.
    Scores(Tensor<2>),
    /// The last hidden rows of all tokens, and the head that makes logits of them.
    Tokens {
        /// `[rows, hidden]`.
        hidden: Tensor<2>,
        /// From a hidden row to the logits of the token after it.
        head: LanguageHead,
    },
}

impl Output {
    /// The scores, where a model gives one row a sequence.
    pub fn scores(self) -> Option<Tensor<2>> {
        match self {
            Self::Scores(scores) => Some(scores),
            Self::Tokens { .. } => None,
        }
    }
}

/// The head of a language model, `logits = cap · tanh(h W / divisor / cap)`, or without the cap.
#[derive(Debug, Clone)]
pub struct LanguageHead {
    weight: HeadWeight,
    context: AdapterContext,
    divisor: f64,
    softcap: Option<f64>,
}

#[derive(Debug, Clone)]
enum HeadWeight {
    Linear(Linear),
    /// The table of the tokens, `[vocabulary, hidden]`.
    Table(Tensor<2>),
}

impl LanguageHead {
    /// A head with a weight of its own, `[hidden, vocabulary]`.
    pub fn new(linear: Linear, context: AdapterContext) -> Self {
        Self {
            weight: HeadWeight::Linear(linear),
            context,
            divisor: 1.0,
            softcap: None,
        }
    }

    /// A head that is the table of the tokens, `[vocabulary, hidden]`.
    pub fn tied(table: Tensor<2>) -> Self {
        Self {
            weight: HeadWeight::Table(table),
            context: AdapterContext::inference(),
            divisor: 1.0,
            softcap: None,
        }
    }

    /// The same head with its logits divided, and kept within `±softcap`.
    pub fn with_logits(self, divisor: f64, softcap: Option<f64>) -> Self {
        Self {
            divisor,
            softcap,
            ..self
        }
    }

    /// Logits of hidden rows, `[rows, hidden] -> [rows, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        let mut logits = match &self.weight {
            HeadWeight::Linear(head) => head.forward(hidden, &self.context),
            HeadWeight::Table(table) => linear(hidden, table.clone().transpose(), None),
        };
        if self.divisor != 1.0 {
            logits = logits / self.divisor;
        }
        match self.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// The mean over rows of `−log p(target)`, `[1]`.
    pub fn cross_entropy(&self, hidden: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
        cross_entropy(self.logits(hidden), targets)
    }
}
