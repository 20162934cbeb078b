//! What a task of the data means to the loop: the only place that tells tasks apart.

use std::path::Path;

use peft_data::{Batch, Dataset, Labels, Task};
use peft_models::HeadKind;
use peft_train::{
    Classification, HeadNeed, MultiLabel, NextToken, Objective, Regression, TokenClassification,
    Truth,
};

use crate::{RunConfig, RunError, TaskFile};

/// The objective of a task with so many labels; a task without labels takes no notice of their number.
pub fn objective(task: Task, labels: usize) -> Box<dyn Objective> {
    match task {
        Task::Classify => Box::new(Classification::new(labels)),
        Task::MultiLabel => Box::new(MultiLabel::new(labels)),
        Task::Regress => Box::new(Regression),
        Task::TokenClassify => Box::new(TokenClassification::new(label_names(Vec::new(), labels))),
        Task::CausalLm => Box::new(NextToken),
    }
}

/// An objective, and the weights of its classes where there are any.
pub(crate) type Weighted = (Box<dyn Objective>, Option<Vec<f64>>);

/// What a run learns: the objective of its task, with weights of classes where they are asked for. The weights come
/// with it.
pub(crate) fn trained_objective(
    config: &RunConfig,
    task: &TaskFile,
    rows: &Dataset,
) -> Result<Weighted, RunError> {
    let Some(weights) = &config.class_weights else {
        return Ok((task.objective(), None));
    };
    let weights = weights.of(&task.labels, rows)?;
    let objective = Classification::new(task.labels.len()).with_weights(weights.clone());
    Ok((Box::new(objective), Some(weights)))
}

/// Whether what is predicted are labels that have names.
pub(crate) fn has_labels(task: Task) -> bool {
    match task {
        Task::Classify | Task::MultiLabel | Task::TokenClassify => true,
        Task::Regress | Task::CausalLm => false,
    }
}

/// The task of a model with a language head, where nothing else is said.
pub(crate) const CAUSAL: Task = Task::CausalLm;

/// The task of Hugging Face PEFT's `task_type`, if that tells it.
pub(crate) fn task_of_type(task_type: Option<&str>) -> Option<Task> {
    let known = [CAUSAL, Task::TokenClassify];
    let is = |task: &Task| task_type == Some(objective(*task, 0).task_type());
    known.into_iter().find(is)
}

/// The task that a head of so many outputs is most likely for, where nothing tells.
pub(crate) fn likely_task(outputs: usize) -> Task {
    match outputs {
        1 => Task::Regress,
        _ => Task::Classify,
    }
}

/// The names of a head's labels, Hugging Face's for those without a name.
pub(crate) fn label_names(known: Vec<String>, outputs: usize) -> Vec<String> {
    if known.len() == outputs {
        return known;
    }
    (0..outputs).map(|i| format!("LABEL_{i}")).collect()
}

/// The head that an objective needs of a model.
pub(crate) fn head_kind(objective: &dyn Objective) -> HeadKind {
    match objective.head() {
        HeadNeed::Sequence { outputs } => HeadKind::Sequence { outputs },
        HeadNeed::Tokens { outputs } => HeadKind::Tokens { outputs },
        HeadNeed::Language => HeadKind::Language,
    }
}

/// The head that gives labels, of so many outputs: of words for the task of that, else of sequences.
pub(crate) fn labelling(task: Option<Task>, outputs: usize) -> HeadKind {
    match task {
        Some(Task::TokenClassify) => HeadKind::Tokens { outputs },
        _ => HeadKind::Sequence { outputs },
    }
}

/// Outputs of a head that scores sequences or words; 0 for any other.
pub(crate) fn outputs(head: HeadKind) -> usize {
    match head {
        HeadKind::Sequence { outputs } | HeadKind::Tokens { outputs } => outputs,
        HeadKind::Language => 0,
    }
}

/// Refuse rows from which nothing can be learned.
pub(crate) fn expect_variety(
    task: Task,
    labels: &[String],
    rows: &Dataset,
    path: &Path,
) -> Result<(), RunError> {
    let (problem, fix) = match task {
        Task::Classify if labels.len() < 2 => (
            format!("all rows have the label `{}`", labels.join("")),
            "give rows of two labels or more, or name the column with `label_column`",
        ),
        Task::TokenClassify if labels.len() < 2 => (
            format!("all words have the label `{}`", labels.join("")),
            "give rows of two labels or more, or name the column with `label_column`",
        ),
        Task::TokenClassify if rows.targets() == 0 => (
            format!(
                "no word of `{}` that is learned from has a label: all are passed over, or beyond the longest sequence",
                path.display()
            ),
            "give labels other than -100, or a larger `max_length`",
        ),
        Task::MultiLabel if no_label(rows) => (
            format!("no row of `{}` has a label", path.display()),
            "give rows with labels, or name the column with `label_column`",
        ),
        _ => return Ok(()),
    };
    Err(RunError::setting("`data`", problem, fix))
}

fn no_label(rows: &Dataset) -> bool {
    match rows.labels() {
        Labels::MultiHot { values, .. } => values.iter().all(|value| *value == 0.0),
        _ => false,
    }
}

/// What the rows of a batch really are; nothing where they have no labels.
pub fn truth(batch: &Batch) -> Option<Truth<'_>> {
    match &batch.labels {
        Labels::None => None,
        Labels::Classes(classes) => Some(Truth::Classes(classes)),
        Labels::Numbers(numbers) => Some(Truth::Numbers(numbers)),
        Labels::MultiHot { values, width } => Some(Truth::MultiHot {
            values,
            width: *width,
        }),
        Labels::Words { classes, words } => Some(Truth::Words {
            classes,
            words,
            starts: &batch.row_starts,
        }),
        Labels::Tokens { trained } => Some(Truth::Tokens {
            ids: &batch.ids,
            starts: &batch.row_starts,
            trained,
        }),
    }
}

/// What the rows of a batch to learn from really are.
pub(crate) fn expect_truth(batch: &Batch) -> Result<Truth<'_>, RunError> {
    truth(batch).ok_or_else(|| {
        RunError::setting(
            "`data`",
            "the rows have no labels",
            "name the column with `label_column`",
        )
    })
}
