use burn::{Tensor, tensor::Device};

use super::{
    Evaluation, HeadNeed, Objective, Prediction, Tally, Targets, Truth, integers, other_truth,
    prediction::{incomparable, nothing},
};
use crate::{Metrics, Output, TrainError};

const NAME: &str = "causal-lm";

/// The next token of a text, at every token that is to be predicted.
///
/// The loss is the mean of `−ln p(token | tokens before it)` over the tokens to be predicted, those of all
/// rows counted alike. Perplexity is `exp` of it, in `f64` over all rows of an evaluation; of two that of the
/// lower loss is better, if nothing else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextToken;

impl Objective for NextToken {
    fn name(&self) -> &'static str {
        NAME
    }

    fn task_type(&self) -> &'static str {
        "CAUSAL_LM"
    }

    fn class_suffix(&self) -> &'static str {
        "ForCausalLM"
    }

    fn problem_type(&self) -> Option<&'static str> {
        None
    }

    fn pipeline_tag(&self) -> &'static str {
        "text-generation"
    }

    fn summary(&self) -> &'static str {
        "It continues a text"
    }

    fn head(&self) -> HeadNeed {
        HeadNeed::Language
    }

    fn weight(&self, truth: &Truth) -> f64 {
        match truth {
            Truth::Tokens { trained, .. } => trained.iter().filter(|flag| **flag).count() as f64,
            _ => 0.0,
        }
    }

    fn targets(&self, truth: &Truth, device: &Device) -> Result<Targets, TrainError> {
        let places = places(self, truth)?;
        let Truth::Tokens { ids, .. } = truth else {
            return Err(other_truth(self, truth));
        };
        let all = || places.iter().flatten().copied();
        Ok(Targets::Tokens {
            rows: integers(all().map(|place| place - 1), device),
            ids: integers(all().map(|place| ids[place] as usize), device),
        })
    }

    fn loss(&self, output: Output, targets: Targets) -> Tensor<1> {
        let (Output::Tokens { hidden, head }, Targets::Tokens { rows, ids }) = (output, targets)
        else {
            panic!("the loss is of tokens, the model's head or the targets are not");
        };
        head.cross_entropy(hidden.select(0, rows), ids)
    }

    fn predict(
        &self,
        output: Output,
        truth: Option<&Truth>,
    ) -> Result<Vec<Prediction>, TrainError> {
        let Some(truth) = truth else {
            return Err(TrainError::Objective {
                objective: NAME,
                problem: "only texts whose tokens are given can be measured".into(),
            });
        };
        let Output::Tokens { hidden, head } = output else {
            return Err(TrainError::Objective {
                objective: NAME,
                problem: "the model's head scores sequences, not tokens".into(),
            });
        };
        let places = places(self, truth)?;
        let Truth::Tokens { ids, .. } = truth else {
            return Err(other_truth(self, truth));
        };
        let all = || places.iter().flatten().copied();
        let rows = integers(all().map(|place| place - 1), &hidden.device());
        let wanted: Vec<u32> = all().map(|place| ids[place]).collect();
        let costs = match wanted.is_empty() {
            true => Vec::new(),
            false => head.surprisals(&hidden.select(0, rows), &wanted),
        };
        let mut costs = costs.into_iter();
        let of_row = |row: &Vec<usize>| costs.by_ref().take(row.len()).collect();
        Ok(places.iter().map(of_row).map(Prediction::Tokens).collect())
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(Tokens::default())
    }

    fn main_metric(&self) -> &'static str {
        "perplexity"
    }

    fn figures(&self) -> &'static [&'static str] {
        &["loss", "perplexity"]
    }

    fn metric_range(&self) -> (f64, f64) {
        (1.0, f64::INFINITY)
    }
}

/// The tokens of each row that are to be predicted, as places in `ids`.
fn places(objective: &dyn Objective, truth: &Truth) -> Result<Vec<Vec<usize>>, TrainError> {
    let Truth::Tokens {
        ids,
        starts,
        trained,
    } = truth
    else {
        return Err(other_truth(objective, truth));
    };
    let broken = |problem: &str| TrainError::Objective {
        objective: NAME,
        problem: problem.to_owned(),
    };
    if trained.len() != ids.len() || starts.last().is_some_and(|end| *end != ids.len()) {
        return Err(broken("there is not one flag for each token"));
    }
    let of_row = |span: &[usize]| {
        let (start, end) = (span[0], span[1]);
        if start > end {
            return Err(broken("a row ends before it starts"));
        }
        if start < end && trained[start] {
            let problem = "the first token of a row cannot be predicted, for nothing is before it";
            return Err(broken(problem));
        }
        Ok((start..end).filter(|place| trained[*place]).collect())
    };
    starts.windows(2).map(of_row).collect()
}

#[derive(Debug, Default)]
struct Tokens {
    rows: usize,
    targets: usize,
    /// Sum of `−ln p`.
    loss: f64,
}

impl Tally for Tokens {
    fn add(&mut self, predictions: &[Prediction], truth: &Truth) -> Result<(), TrainError> {
        if predictions.len() != truth.rows() {
            return Err(incomparable(NAME));
        }
        for prediction in predictions {
            let Prediction::Tokens(costs) = prediction else {
                return Err(incomparable(NAME));
            };
            self.rows += 1;
            self.targets += costs.len();
            for cost in costs {
                self.loss += cost;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Evaluation, TrainError> {
        if self.targets == 0 {
            return Err(nothing(NAME));
        }
        let loss = self.loss / self.targets as f64;
        // Of a model that knows nothing it may be too large for a number, which no file could hold.
        let perplexity = match loss.exp() {
            f64::INFINITY => f64::MAX,
            perplexity => perplexity,
        };
        Ok(Evaluation {
            loss,
            metrics: Metrics::from([("perplexity".to_owned(), perplexity)]),
            rows: self.rows,
            confusion: None,
        })
    }
}
