//! The rows of a run, and the labels they may have.

use std::path::Path;

use peft_data::{
    CausalOptions, ChatTemplate, ColumnMap, DataError, Dataset, LabelMap, Labels, LoadOptions,
    LoadReport, ReadOptions, SPILL_BYTES, TextTokenizer,
};
use peft_models::{HeadState, ModelFolder};

use crate::{
    RunConfig, RunError, TaskFile,
    objective::{expect_variety, has_labels, label_names, labelling},
    text::chat_template,
};

/// The rows of a run.
#[derive(Debug, Clone)]
pub struct Data {
    /// Rows to learn from.
    pub fit: Dataset,
    /// Rows that choose the adapter to keep.
    pub select: Dataset,
    /// Rows that are only reported on.
    pub report: Option<Dataset>,
    /// What is predicted.
    pub task: TaskFile,
    /// What reading found.
    pub loaded: LoadReport,
    /// Whether the labels' names are the data's, and an adapter is continued that tells none.
    pub names_of_data: bool,
    /// What is said of other files of rows, some of which were left out.
    left_out: Vec<String>,
}

impl Data {
    /// Reads and splits what the configuration names.
    pub fn load(
        config: &RunConfig,
        folder: &ModelFolder,
        tokenizer: &TextTokenizer,
        max_length: usize,
    ) -> Result<Self, RunError> {
        let given = given_labels(config, folder)?;
        let of_head = given.is_some() && config.adapter.is_none();
        let names_of_data = has_labels(config.task) && given.is_none() && config.adapter.is_some();
        let template = chat_template(folder.path(), tokenizer)?;
        let mut options = options(config, folder, template.as_ref(), max_length);
        options.labels = given.as_ref();
        let (fit, loaded) = Dataset::load(&config.data, &options, tokenizer).map_err(|error| {
            if of_head {
                other_labels(error)
            } else {
                error.into()
            }
        })?;
        let labels = fit.label_map().cloned();
        options.labels = labels.as_ref();
        let mut left_out = Vec::new();
        let mut load = |path: &Path| {
            let (rows, loaded) = Dataset::load(path, &options, tokenizer)?;
            left_out.extend(left_out_of(&loaded, path, max_length));
            Ok::<_, RunError>(rows)
        };
        let report = config.eval_data.as_deref().map(&mut load).transpose()?;
        let (fit, select) = match config.select_data.as_deref() {
            Some(path) => (fit, load(path)?),
            None => fit.split_sets(0.1, config.seed)?,
        };
        let labels = labels.map(|map| map.names().to_vec()).unwrap_or_default();
        expect_variety(config.task, &labels, &fit, &config.data)?;
        let task = TaskFile {
            task: config.task,
            labels,
            max_length,
        };
        Ok(Self {
            fit,
            select,
            report,
            task,
            loaded,
            names_of_data,
            left_out,
        })
    }

    /// Other rows, with the labels of these.
    pub fn read(
        &self,
        path: &Path,
        config: &RunConfig,
        folder: &ModelFolder,
        tokenizer: &TextTokenizer,
    ) -> Result<Dataset, RunError> {
        let template = chat_template(folder.path(), tokenizer)?;
        let mut options = options(config, folder, template.as_ref(), self.task.max_length);
        options.labels = self.fit.label_map();
        Ok(Dataset::load(path, &options, tokenizer)?.0)
    }

    /// Whether rows that are evaluated lack one of more than two classes.
    pub fn lacks_classes(&self) -> bool {
        let classes = self.task.labels.len();
        let lacks = |set: &Dataset| match set.labels() {
            Labels::Classes(rows) => {
                let mut seen = vec![false; classes];
                rows.iter().for_each(|class| seen[*class as usize] = true);
                seen.contains(&false)
            }
            _ => false,
        };
        let sets = [Some(&self.select), self.report.as_ref()];
        classes > 2 && sets.into_iter().flatten().any(lacks)
    }

    /// What is said of labels whose numbers or names are taken for others.
    pub fn notices(&self, config: &RunConfig) -> Vec<String> {
        let labels = &self.task.labels;
        let unnamed = config.adapter.as_deref().filter(|_| self.names_of_data);
        let unnamed = unnamed.map(|adapter| {
            format!(
                "{}: the adapter does not tell the names of its labels, so that those of {} are taken for \
                 them in their order: {}",
                adapter.display(),
                config.data.display(),
                pairs(labels)
            )
        });
        let numbered = numbered(&self.loaded, labels, &config.data);
        let left_out = self.left_out.iter().cloned();
        unnamed
            .into_iter()
            .chain(numbered)
            .chain(left_out)
            .collect()
    }

    /// Bytes of the tokens in memory; longer lists lie in temporary files.
    pub fn resident(&self) -> usize {
        let sets = [Some(&self.fit), Some(&self.select), self.report.as_ref()];
        let bytes = |set: &Dataset| (set.tokens() * size_of::<u32>()).min(SPILL_BYTES);
        sets.into_iter().flatten().map(bytes).sum()
    }
}

/// How the rows of a run are read, but for the labels that they may have.
fn options<'a>(
    config: &RunConfig,
    folder: &ModelFolder,
    template: Option<&'a ChatTemplate>,
    max_length: usize,
) -> LoadOptions<'a> {
    LoadOptions {
        columns: ColumnMap {
            text: config.text_column.clone(),
            text_pair: config.pair_column.clone(),
            label: config.label_column.clone(),
        },
        read: ReadOptions {
            format: config.data_format,
            header: !config.no_header,
            delimiter: config.delimiter,
        },
        vocab_size: Some(folder.config().vocab_size()),
        label_separator: config.label_separator,
        causal: CausalOptions {
            loss_on: config.loss,
            template,
            ..CausalOptions::default()
        },
        ..LoadOptions::new(config.task, max_length)
    }
}

/// A sentence about labels that are numbers where the classes have names: which is taken for which. None
/// where no row has such a label.
pub fn numbered(loaded: &LoadReport, labels: &[String], path: &Path) -> Option<String> {
    if loaded.by_number == 0 {
        return None;
    }
    Some(format!(
        "{}: {} labels are numbers, taken for those of the names that are known: {}",
        path.display(),
        loaded.by_number,
        pairs(labels)
    ))
}

/// A sentence about rows of a language model that are not among those of the file. None where all are.
pub fn left_out_of(loaded: &LoadReport, path: &Path, max_length: usize) -> Option<String> {
    let because = loaded.causal.as_ref()?.left_out_because()?;
    Some(format!(
        "{}: some rows are left out, with a maximum length of {max_length} tokens: {because}",
        path.display()
    ))
}

/// The first labels with their numbers.
fn pairs(labels: &[String]) -> String {
    const SHOWN: usize = 10;
    let pairs = labels.iter().enumerate().take(SHOWN);
    let pairs: Vec<String> = pairs
        .map(|(id, name)| format!("{id} is `{name}`"))
        .collect();
    let more = if labels.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", pairs.join(", "))
}

/// A label that the checkpoint's own head does not know: the head may be replaced.
fn other_labels(error: DataError) -> RunError {
    match error {
        DataError::UnknownLabel { at, value, known } => RunError::setting(
            "`data`",
            format!("{at}: the checkpoint's own head has no label `{value}`, only {known}"),
            "correct the row, or put a new head on the model with `new_head`",
        ),
        other => other.into(),
    }
}

/// The labels that an adapter to continue from, or the checkpoint's own head, prescribes.
fn given_labels(config: &RunConfig, folder: &ModelFolder) -> Result<Option<LabelMap>, RunError> {
    if !has_labels(config.task) {
        return Ok(None);
    }
    if let Some(path) = &config.adapter
        && let Some(task) = TaskFile::read(path)?
    {
        return task.label_map();
    }
    match folder.head_for(labelling(Some(config.task), 1)) {
        HeadState::Absent => Ok(None),
        HeadState::Present { outputs, labels } => {
            Ok(Some(LabelMap::from_names(label_names(labels, outputs))?))
        }
    }
}
