//! Adapters of models whose head is their table of tokens.

use peft_core::{AdapterError, Fields, HostTensor, HostTensorExt, LoadedAdapter};
use peft_format::{TargetError, TargetModules, TargetSpec, adapter::is_token_rows};
use peft_models::{HeadKind, ModelFolder, TiedHead};
use serde_json::{Map, Value};

use crate::{
    RunConfig, RunError,
    merge::head_of,
    objective::{head_kind, objective},
    session::{resolve, target_spec},
};

/// What an adapter needs of a model whose head is its table of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// That it stays so: both change together.
    Kept,
    /// That they are two: one of them changes, or each by itself.
    Parted,
}

/// Whether an adapter was trained with head and table as one or as two, as PEFT takes its files; `None` where it
/// concerns neither.
pub fn tie_of(loaded: &LoadedAdapter, tied: &TiedHead) -> Option<Tie> {
    let weight = |module: &str| loaded.saved.get(&format!("{module}.weight"));
    let (table, head) = (
        loaded.modules.get(&tied.table),
        loaded.modules.get(&tied.head),
    );
    let saved = (weight(&tied.table), weight(&tied.head));
    let touched = table.is_some() || head.is_some() || saved != (None, None);
    if !touched {
        return None;
    }
    let ensured = ensures_tie(loaded.config.fields());
    let of_rows = |tensors: &Fields<HostTensor>| tensors.keys().all(|suffix| is_token_rows(suffix));
    let kept = ensured
        || match saved {
            (None, None) => head.is_none() && table.is_some_and(of_rows),
            (Some(table), Some(head)) => table == head,
            _ => false,
        };
    Some(if kept { Tie::Kept } else { Tie::Parted })
}

/// Whether settings keep head and table one, or settings inside of them do.
fn ensures_tie(settings: &Map<String, Value>) -> bool {
    fn inside(value: &Value) -> bool {
        match value {
            Value::Object(settings) => ensures_tie(settings),
            Value::Array(all) => all.iter().any(inside),
            _ => false,
        }
    }
    settings.get("ensure_weight_tying") == Some(&Value::Bool(true)) || settings.values().any(inside)
}

/// Make a folder the base that an adapter needs: with a head of its own where the adapter has head and table
/// apart. Says what it needs.
///
/// # Errors
/// Those of the folder.
pub fn fit_tie(folder: &mut ModelFolder, loaded: &LoadedAdapter) -> Result<Option<Tie>, RunError> {
    let Some(tied) = folder.tied_head() else {
        return Ok(None);
    };
    if head_of(folder, Some(loaded), None) != HeadKind::Language {
        return Ok(None);
    }
    let tie = tie_of(loaded, &tied);
    if tie == Some(Tie::Parted) {
        folder.part_head()?;
    }
    Ok(tie)
}

/// Take out of an adapter what a file says twice of head and table where they are one; refuse a copy of the
/// base's table that is not this base's.
///
/// # Errors
/// If such a copy differs.
pub fn fit_adapter(folder: &ModelFolder, loaded: &mut LoadedAdapter) -> Result<(), RunError> {
    if let (Some(tied), false) = (folder.tied_head(), folder.is_parted())
        && tie_of(loaded, &tied) == Some(Tie::Kept)
    {
        let head = format!("{}.weight", tied.head);
        loaded.modules.remove(&tied.head);
        loaded.copies.remove(&head);
        let head = loaded.saved.remove(&head);
        if let Some(head) = head {
            let table = format!("{}.weight", tied.table);
            loaded.saved.entry(table).or_insert(head);
        }
    }
    for (name, copy) in &loaded.copies {
        expect_own_copy(folder, name, copy)?;
    }
    Ok(())
}

/// Refuse an adapter that was trained beside another table than the base's.
fn expect_own_copy(folder: &ModelFolder, name: &str, copy: &HostTensor) -> Result<(), RunError> {
    let refuse = |problem: String| {
        RunError::setting(
            "`adapter`",
            problem,
            "give the base that it was trained on, with the tokens that were added to it",
        )
    };
    let Some(stored) = folder.find(name) else {
        return Err(refuse(format!(
            "its file has a copy of `{name}`, which the base does not have"
        )));
    };
    let checkpoint = folder.checkpoint();
    let shape = checkpoint
        .info(&stored)
        .map(|info| info.shape)
        .unwrap_or_default();
    if shape != copy.shape {
        return Err(refuse(format!(
            "its file has a copy of `{name}` of shape {:?}, and the base's is {shape:?}",
            copy.shape
        )));
    }
    if checkpoint.quantised(&stored).is_some() {
        // The copy is of the table that was quantised later.
        return Ok(());
    }
    let own = checkpoint.to_f32(&stored)?;
    let theirs = copy.to_float(name, burn::tensor::FloatDType::F32)?;
    // Half-precision bases were widened, or not, when the file was written.
    let near = |(own, theirs): (f32, f32)| (own - theirs).abs() <= 0.01 * own.abs().max(1e-6);
    match own.into_iter().zip(theirs.iter::<f32>()).all(near) {
        true => Ok(()),
        false => Err(refuse(format!(
            "its file has a copy of `{name}` with other values than the base's: it was trained beside another table"
        ))),
    }
}

/// The same of names alone: what is saved beside what is asked for, where head and table are one.
pub fn saved_as_one(folder: &ModelFolder, modules: &[String]) -> Vec<String> {
    let mut all = modules.to_vec();
    let Some(tied) = folder.tied_head().filter(|_| !folder.is_parted()) else {
        return all;
    };
    let names = |module: &str| peft_core::is_saved(&format!("{module}.weight"), modules);
    let (table, head) = (names(&tied.table), names(&tied.head));
    if table && !head {
        all.push(tied.head.clone());
    }
    if head && !table {
        all.push(tied.table.clone());
    }
    all
}

/// Make a folder the base that a run needs: with a head of its own where head and table are adapted apart, by the
/// adapter that it continues, or by what it is asked to adapt.
///
/// # Errors
/// If the adapter cannot be read, or targets are no patterns.
pub fn fit_run(folder: &mut ModelFolder, config: &RunConfig) -> Result<(), RunError> {
    if let Some(path) = &config.adapter {
        let (_, loaded) = super::read_with_method(path)?;
        super::use_head_of(folder, Some(&loaded));
        fit_tie(folder, &loaded)?;
        return Ok(());
    }
    if parts_head(folder, config)? {
        folder.part_head()?;
    }
    Ok(())
}

/// Whether new adapters of a run need a base whose head is not its table of tokens.
///
/// # Errors
/// If there is no such method, or targets are no patterns.
pub fn parts_head(folder: &ModelFolder, config: &RunConfig) -> Result<bool, RunError> {
    let Some(tied) = folder.tied_head() else {
        return Ok(false);
    };
    // The table may be among the targets that a method, or a part of several, has by itself; the adapter's
    // file names them like any other.
    let config = &resolve(config, folder, peft_methods::by_name(&config.method)?);
    if head_kind(objective(config.task, 0).as_ref()) != HeadKind::Language {
        return Ok(false);
    }
    let setting = |key: &str| config.method_config.get(key);
    let ensured = ensures_tie(&config.method_config);
    // Of tokens, those of the head by themselves.
    let answers = |module: &str, name: &str| {
        module
            .strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if let Some(Value::Object(tables)) = setting("trainable_token_indices") {
        let of = |module: &str| {
            let found = tables.iter().find(|(name, _)| answers(module, name));
            found.map(|(_, tokens)| tokens)
        };
        let (table, head) = (of(&tied.table), of(&tied.head));
        if head.is_some() && head != table {
            return Ok(true);
        }
    }
    if ensured
        || !matches!(
            config.target_modules,
            TargetModules::List(_) | TargetModules::Regex(_)
        )
    {
        return Ok(false);
    }
    let spec: TargetSpec = target_spec(config);
    let matches = || {
        let matcher = spec.compile()?;
        Ok(matcher.matches(&tied.table)? || matcher.matches(&tied.head)?)
    };
    matches().map_err(|error: TargetError| AdapterError::from(error).into())
}
