use super::{Evaluation, Objective};
use crate::TrainError;

/// Figures of which less is better.
const LOWER: [&str; 3] = ["loss", "mse", "perplexity"];

/// Whether less of a figure of evaluations is better, as of a loss.
pub fn less_is_better(figure: &str) -> bool {
    LOWER.contains(&figure)
}

/// What makes one evaluation better than another: a figure, and the loss where that is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    figure: String,
    by_loss: bool,
}

impl Selector {
    /// By a figure of an objective's evaluations, its [own](Objective::select_metric) if none is named.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if the objective's evaluations have no such figure.
    pub fn new(objective: &dyn Objective, figure: Option<&str>) -> Result<Self, TrainError> {
        let figure = figure.unwrap_or(objective.select_metric());
        let known = objective.figures();
        if !known.contains(&figure) {
            return Err(TrainError::setting(
                "`select_metric`",
                format!("{} has no metric `{figure}`", objective.name()),
                format!("choose one of {}", known.join(", ")),
            ));
        }
        Ok(Self {
            figure: figure.to_owned(),
            by_loss: true,
        })
    }

    /// The same, but of two evaluations that are equal in the figure the earlier is kept, whatever their losses.
    #[must_use]
    pub fn keeping_the_earlier(self) -> Self {
        Self {
            by_loss: false,
            ..self
        }
    }

    /// The figure.
    pub fn figure(&self) -> &str {
        &self.figure
    }

    /// Whether less of the figure is better.
    pub fn less_is_better(&self) -> bool {
        less_is_better(&self.figure)
    }

    /// Whether an evaluation is better than one before it; equal ones keep the earlier.
    pub fn better(&self, new: &Evaluation, old: &Evaluation) -> bool {
        let [now, before] = [new, old].map(|evaluation| self.of(evaluation));
        now > before || (self.by_loss && now == before && new.loss < old.loss)
    }

    /// The figure of an evaluation as it is; no number where it has none.
    pub fn value(&self, evaluation: &Evaluation) -> f64 {
        match self.figure.as_str() {
            "loss" => evaluation.loss,
            figure => evaluation.metrics.get(figure).copied().unwrap_or(f64::NAN),
        }
    }

    /// The figure of an evaluation, more being better. One that is no number is worse than all others.
    fn of(&self, evaluation: &Evaluation) -> f64 {
        let sign = if self.less_is_better() { -1.0 } else { 1.0 };
        match self.value(evaluation) {
            value if value.is_nan() => f64::NEG_INFINITY,
            value => sign * value,
        }
    }
}
