//! Tensors that modules of one type have in common, which a file holds once.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::{Fields, HostTensor, gradients::layer_type};

/// The modules of each layer type.
fn by_type<'a>(modules: impl Iterator<Item = &'a String>) -> Vec<Vec<String>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for module in modules {
        types
            .entry(layer_type(module))
            .or_default()
            .push(module.clone());
    }
    types.into_values().collect()
}

/// Give a shared tensor to all modules of the type of the one that has it.
pub fn give_all(suffix: &str, modules: &mut BTreeMap<String, Fields<HostTensor>>) {
    for kin in by_type(modules.keys()) {
        let mut owners = kin
            .iter()
            .filter(|module| modules[*module].contains_key(suffix));
        let (Some(owner), None) = (owners.next(), owners.next()) else {
            continue;
        };
        let tensor = modules[owner][suffix].clone();
        for module in &kin {
            let tensors = modules.get_mut(module).expect("listed just above");
            tensors
                .entry(suffix.to_owned())
                .or_insert_with(|| tensor.clone());
        }
    }
}

/// Leave a tensor to the first of the modules of a type, where all have the same.
pub fn keep_one(suffix: &str, modules: &mut IndexMap<String, Fields<HostTensor>>) {
    for kin in by_type(modules.keys()) {
        let [first, others @ ..] = kin.as_slice() else {
            continue;
        };
        let Some(tensor) = modules[first].get(suffix).cloned() else {
            continue;
        };
        if others
            .iter()
            .all(|module| modules[module].get(suffix) == Some(&tensor))
        {
            for module in others {
                modules[module].remove(suffix);
            }
        }
    }
}
