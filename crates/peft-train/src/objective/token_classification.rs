use burn::{Tensor, tensor::Device};
use peft_core::kernels::cross_entropy;

use super::{
    Evaluation, HeadNeed, Objective, Prediction, Tally, Targets, Truth,
    classification::cost,
    entities::{entities, is_scheme},
    integers, other_truth,
    prediction::{incomparable, nothing},
    rows_of, scores,
};
use crate::{Metrics, Output, TrainError};

const NAME: &str = "token-classify";

/// What stands for the class of a token that is not to be labelled, and of one whose label is not known.
pub(super) const IGNORED: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

/// One class of several for each word, read at its first token, by cross-entropy over the words that have a label.
///
/// Where the labels are those of chunks (`B-PER`, `I-PER`, `O`), precision, recall and F1 are of whole
/// [entities](super::entities()), as seqeval counts them (micro averages, default mode): one counts as found where type, first
/// and last word are right. Of other labels, such as parts of speech, there is the accuracy over words alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClassification {
    labels: Vec<String>,
    chunks: bool,
}

impl TokenClassification {
    /// Of these labels, in the order of their numbers.
    pub fn new(labels: Vec<String>) -> Self {
        let chunks = is_scheme(&labels);
        Self { labels, chunks }
    }
}

impl Objective for TokenClassification {
    fn name(&self) -> &'static str {
        NAME
    }

    fn task_type(&self) -> &'static str {
        "TOKEN_CLS"
    }

    fn class_suffix(&self) -> &'static str {
        "ForTokenClassification"
    }

    fn problem_type(&self) -> Option<&'static str> {
        None
    }

    fn pipeline_tag(&self) -> &'static str {
        "token-classification"
    }

    fn summary(&self) -> &'static str {
        "It tells which label each word of a text has"
    }

    fn head(&self) -> HeadNeed {
        HeadNeed::Tokens {
            outputs: self.labels.len(),
        }
    }

    fn weight(&self, truth: &Truth) -> f64 {
        match truth {
            Truth::Words { classes, .. } => {
                classes.iter().filter(|class| **class < UNKNOWN).count() as f64
            }
            _ => 0.0,
        }
    }

    fn targets(&self, truth: &Truth, device: &Device) -> Result<Targets, TrainError> {
        let Truth::Words { classes, .. } = truth else {
            return Err(other_truth(self, truth));
        };
        let labelled = || {
            let places = classes.iter().enumerate();
            places.filter(|(_, class)| **class < UNKNOWN)
        };
        if let Some((_, class)) = labelled().find(|(_, c)| **c as usize >= self.labels.len()) {
            return Err(TrainError::Objective {
                objective: NAME,
                problem: format!("class {class} is none of {}", self.labels.len()),
            });
        }
        Ok(Targets::Tokens {
            rows: integers(labelled().map(|(place, _)| place), device),
            ids: integers(labelled().map(|(_, class)| *class as usize), device),
        })
    }

    fn loss(&self, output: Output, targets: Targets) -> Tensor<1> {
        let (Output::Scores(scores), Targets::Tokens { rows, ids }) = (output, targets) else {
            panic!("the loss is of words, the model's head or the targets are not");
        };
        // A part whose labels are all passed over has no share in the batch, and no mean either.
        match ids.dims() {
            [0] => scores.sum() * 0.0,
            _ => cross_entropy(scores.select(0, rows), ids),
        }
    }

    fn predict(
        &self,
        output: Output,
        truth: Option<&Truth>,
    ) -> Result<Vec<Prediction>, TrainError> {
        let Some(truth) = truth else {
            return Err(TrainError::Objective {
                objective: NAME,
                problem: "it must be told which tokens begin words".into(),
            });
        };
        let Truth::Words {
            classes,
            words,
            starts,
        } = truth
        else {
            return Err(other_truth(self, truth));
        };
        let scores = scores(self, output)?;
        let ends = starts.last().copied().unwrap_or(0);
        if classes.len() != words.len() || ends != words.len() || scores.dims()[0] != ends {
            return Err(TrainError::Objective {
                objective: NAME,
                problem: "there is not one row of scores for each token".into(),
            });
        }
        let wanted = |place: &usize| classes[*place] != IGNORED;
        let places: Vec<usize> = (0..ends).filter(wanted).collect();
        let mut rows = match places.is_empty() {
            true => Vec::new(),
            false => {
                let places = integers(places.iter().copied(), &scores.device());
                rows_of(scores.select(0, places))
            }
        }
        .into_iter();
        let of_row = |span: &[usize]| {
            let places: Vec<usize> = (span[0]..span[1]).filter(wanted).collect();
            Prediction::Words {
                words: places.iter().map(|place| words[*place]).collect(),
                scores: rows.by_ref().take(places.len()).collect(),
            }
        };
        Ok(starts.windows(2).map(of_row).collect())
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(Words {
            objective: self.clone(),
            rows: 0,
            words: 0,
            hits: 0,
            loss: 0.0,
            entities: [0; 3],
        })
    }

    fn main_metric(&self) -> &'static str {
        match self.chunks {
            true => "f1",
            false => "accuracy",
        }
    }

    fn figures(&self) -> &'static [&'static str] {
        match self.chunks {
            true => &["loss", "f1", "precision", "recall", "accuracy"],
            false => &["loss", "accuracy"],
        }
    }

    fn select_metric(&self) -> &'static str {
        self.main_metric()
    }
}

#[derive(Debug)]
struct Words {
    objective: TokenClassification,
    rows: usize,
    words: usize,
    /// Words with the right label.
    hits: usize,
    loss: f64,
    /// Entities that there are, that were predicted, and that are both.
    entities: [usize; 3],
}

impl Tally for Words {
    fn add(&mut self, predictions: &[Prediction], truth: &Truth) -> Result<(), TrainError> {
        let Truth::Words {
            classes, starts, ..
        } = truth
        else {
            return Err(incomparable(NAME));
        };
        if predictions.len() != truth.rows() {
            return Err(incomparable(NAME));
        }
        let labels = &self.objective.labels;
        for (prediction, span) in predictions.iter().zip(starts.windows(2)) {
            let actual = classes.get(span[0]..span[1]).unwrap_or_default();
            let actual: Vec<u32> = actual.iter().copied().filter(|c| *c != IGNORED).collect();
            let (Prediction::Words { scores, .. }, Some(predicted)) =
                (prediction, prediction.classes())
            else {
                return Err(incomparable(NAME));
            };
            let known = |class: &u32| (*class as usize) < labels.len();
            if predicted.len() != actual.len()
                || !actual.iter().all(known)
                || scores.iter().any(|scores| scores.len() != labels.len())
            {
                return Err(incomparable(NAME));
            }
            self.rows += 1;
            self.words += actual.len();
            for ((scores, class), found) in scores.iter().zip(&actual).zip(&predicted) {
                self.loss += cost(scores, *class as usize);
                self.hits += usize::from(class == found);
            }
            if self.objective.chunks {
                let [actual, predicted] = [&actual, &predicted].map(|classes| {
                    let names = classes.iter().map(|class| labels[*class as usize].as_str());
                    entities(&names.collect::<Vec<_>>())
                });
                let both = predicted.iter().filter(|found| actual.contains(found));
                let counts = [actual.len(), predicted.len(), both.count()];
                self.entities
                    .iter_mut()
                    .zip(counts)
                    .for_each(|(sum, count)| *sum += count);
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Evaluation, TrainError> {
        if self.words == 0 {
            return Err(nothing(NAME));
        }
        let ratio = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let mut metrics = Metrics::from([("accuracy".to_owned(), ratio(self.hits, self.words))]);
        if self.objective.chunks {
            let [actual, predicted, both] = self.entities;
            metrics.extend([
                ("precision".to_owned(), ratio(both, predicted)),
                ("recall".to_owned(), ratio(both, actual)),
                ("f1".to_owned(), ratio(2 * both, actual + predicted)),
            ]);
        }
        Ok(Evaluation {
            loss: self.loss / self.words as f64,
            metrics,
            rows: self.rows,
            confusion: None,
        })
    }
}
