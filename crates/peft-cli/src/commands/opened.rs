//! The model of `peft predict` and `peft eval`, with the adapters that are asked for.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use peft_run::{
    BaseOptions, OpenOptions, OpenSetOptions, SelectedDevice, TaskFile,
    core::{AdapterChoice, AdapterRoster, check_adapter_name, format::gguf, set_active},
    data::{ChoiceColumn, Task, TextTokenizer},
    models::{Model, Network},
    open, open_set,
};

use crate::args::AdapterArgs;

/// A model ready to predict.
pub struct Opened {
    pub model: Model,
    pub task: TaskFile,
    pub tokenizer: TextTokenizer,
    /// Where rows choose their adapters: the column, what may stand there, and the model's roster.
    pub by_rows: Option<ByRows>,
}

pub struct ByRows {
    column: String,
    names: Vec<String>,
    pub roster: AdapterRoster,
}

impl Opened {
    pub fn new(
        model: &Path,
        args: &AdapterArgs,
        task: Option<Task>,
        base: BaseOptions,
        selected: &SelectedDevice,
    ) -> Result<Self> {
        let device = &selected.device;
        let named = args.named()?;
        if named.is_empty() {
            let adapted = open(&OpenOptions {
                model,
                adapter: args.adapter.first().map(PathBuf::as_path),
                any_base: args.any_base,
                task,
                base,
                device,
            })?;
            return Ok(Self {
                model: adapted.model,
                task: adapted.task,
                tokenizer: adapted.tokenizer,
                by_rows: None,
            });
        }
        let set = open_set(&OpenSetOptions {
            model,
            adapters: &named,
            any_base: args.any_base,
            task,
            base,
            device,
        })?;
        let mut model = set.model;
        if let Some(name) = &args.adapter_name {
            let choice = AdapterChoice::one(name);
            set.roster.check(&choice)?;
            model = set_active(model, &choice)?;
        }
        let by_rows = args.adapter_column.clone().map(|column| ByRows {
            column,
            names: set.roster.choices(),
            roster: set.roster,
        });
        Ok(Self {
            model,
            task: set.task,
            tokenizer: set.tokenizer,
            by_rows,
        })
    }

    /// How many tokens the model has embeddings for.
    pub fn vocab_size(&self) -> usize {
        self.model.description().input.vocab_size
    }

    /// The column that chooses adapters.
    pub fn choice(&self) -> Option<ChoiceColumn<'_>> {
        let by_rows = self.by_rows.as_ref()?;
        Some(ChoiceColumn {
            column: &by_rows.column,
            names: &by_rows.names,
        })
    }
}

impl AdapterArgs {
    /// The adapters with names; none where there is at most one, without a name.
    pub fn named(&self) -> Result<Vec<(&str, &Path)>> {
        let named: Vec<(&str, &Path)> = self.adapter.iter().filter_map(|a| split(a)).collect();
        let plain = self.adapter.len() - named.len();
        let chosen = [&self.adapter_name, &self.adapter_column];
        if named.is_empty() {
            ensure!(
                plain < 2,
                "--adapter: several adapters need names; give each as --adapter NAME=DIR"
            );
            ensure!(
                chosen.iter().all(|flag| flag.is_none()),
                "--adapter-name and --adapter-column choose among adapters with names; give them as \
                 --adapter NAME=DIR"
            );
            if let Some(folder) = self.adapter.first() {
                expect_folder(folder, &folder.to_string_lossy())?;
            }
            return Ok(named);
        }
        if plain > 0 {
            bail!("--adapter: some adapters have names; give all of them as --adapter NAME=DIR");
        }
        for (place, (name, folder)) in named.iter().enumerate() {
            check_adapter_name(name)?;
            ensure!(
                named[..place].iter().all(|(before, _)| before != name),
                "--adapter: two adapters are called `{name}`; give each a name of its own"
            );
            expect_folder(folder, &format!("{name}={}", folder.display()))?;
        }
        ensure!(
            named.len() == 1 || chosen.iter().any(|flag| flag.is_some()),
            "--adapter: there are several; choose one with --adapter-name NAME, or let the rows choose \
             with --adapter-column COLUMN"
        );
        Ok(named)
    }
}

pub fn expect_folder(folder: &Path, given: &str) -> Result<()> {
    ensure!(
        !folder.is_file() || gguf::locate(folder)?.is_none(),
        "--adapter {given}: this is a GGUF file; an adapter is a folder with adapter_config.json in it, and \
         a GGUF model goes to --model"
    );
    ensure!(
        folder.is_dir(),
        "--adapter {given}: no such folder; an adapter is the folder that `peft train` wrote, with \
         adapter_config.json in it"
    );
    Ok(())
}

/// `NAME=DIR`, unless a folder is called so as a whole.
fn split(text: &Path) -> Option<(&str, &Path)> {
    if text.exists() {
        return None;
    }
    let (name, folder) = text.to_str()?.split_once('=')?;
    Some((name, Path::new(folder)))
}
