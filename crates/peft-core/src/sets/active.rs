//! Changing the sets of a model.

use std::collections::BTreeMap;

use burn::module::Module;

use super::AdapterRoster;
use crate::{AdapterChoice, AdapterError, AdapterSet, DynAdapter, attach::replace, walk};

/// Let adapters of a model compute where a pass does not choose others: one, none, or the sum of
/// several.
///
/// No parameter changes, and to go back gives the same bits. `Module::materialize` then merges what is
/// active and takes all adapters off.
///
/// # Errors
/// If the model has no such adapter, or adapters cannot be summed.
pub fn set_active<M: Module>(model: M, choice: &AdapterChoice) -> Result<M, AdapterError> {
    AdapterRoster::of(&model).check(choice)?;
    Ok(changed(model, |set| set.set_active(choice.clone())))
}

/// Take an adapter off a model; where it was active, the unadapted model is.
///
/// # Errors
/// If the model has no such adapter.
pub fn remove_adapter<M: Module>(model: M, name: &str) -> Result<M, AdapterError> {
    AdapterRoster::of(&model).expect_name(name)?;
    Ok(changed(model, |set| {
        set.remove(name);
        let left = set.active().names().filter(|active| *active != name);
        let left = AdapterChoice::sum(left);
        set.set_active(left);
    }))
}

fn changed<M: Module>(model: M, change: impl Fn(&mut AdapterSet)) -> M {
    let adapters = walk::adapters(&model).into_iter();
    let sets: BTreeMap<String, DynAdapter> = adapters
        .filter_map(|(path, adapter)| {
            let mut set = adapter.as_set()?.clone();
            change(&mut set);
            Some((walk::adapted(&path), DynAdapter::of_set(set)))
        })
        .collect();
    replace(model, sets)
}
