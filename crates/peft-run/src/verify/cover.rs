//! Whether targets, tensors and modules belong together.

use std::collections::BTreeSet;

use burn::tensor::FloatDType;
use peft_core::{
    AdapterError, Fields, HostTensor, HostTensorExt, LoadedAdapter, Method, Site, Target, is_saved,
    saved_with_biases, shared_key,
};
use peft_format::{Dtype, TargetError, adapter::join_key, near};
use peft_models::{ModelFolder, ModelLayout};

use super::{VerifyReport, target_of};
use crate::{RunError, merge::adapted_sites, open::targeted as of_configuration};

/// Compare the adapter's modules with the base's and the configuration's; gives those whose tensors
/// are whole, of the right shape and finite.
pub fn modules(
    folder: &ModelFolder,
    layout: &ModelLayout,
    method: &dyn Method,
    loaded: &LoadedAdapter,
    report: &mut VerifyReport,
) -> Result<Vec<Target>, RunError> {
    let sites = adapted_sites(layout, method);
    let targeted = targeted(folder, &sites, method, loaded, report)?;
    for module in targeted.iter().filter(|m| !loaded.modules.contains_key(*m)) {
        let problem = "the configuration targets it, but the adapter has no tensors for it";
        report.problem(module, "no tensors", problem.to_owned());
    }
    let paths = || sites.iter().map(|site| site.path.as_str());
    for module in loaded.modules.keys() {
        if !paths().any(|path| path == module) {
            let hint = near::did_you_mean(&near::nearest(module, paths(), 2));
            let problem = format!("the base has nothing of that name that the method adapts{hint}");
            report.problem(module, "no place", problem);
        } else if !targeted.contains(module) {
            let problem = "the adapter has tensors for it, but the configuration does not target it: \
                           PEFT would pass over them";
            report.problem(module, "not targeted", problem.to_owned());
        }
    }
    for (name, tensor) in &loaded.shared {
        finite(&shared_key(name), tensor, report);
    }
    let mut good = Vec::new();
    for site in &sites {
        let Some(tensors) = loaded.modules.get(&site.path) else {
            continue;
        };
        let target = target_of(site);
        // What is wrong with one is wrong with all, and told once.
        if let Err(error) = method.expect_own(&target, tensors) {
            report.problem("adapter", "not ours to read", error.to_string());
            return Ok(Vec::new());
        }
        let before = report.problems.len();
        shapes(site, &target, method, tensors, report)?;
        for (suffix, tensor) in tensors {
            finite(&join_key(&site.path, suffix), tensor, report);
        }
        if report.problems.len() == before {
            good.push(target);
        }
    }
    Ok(good)
}

/// The modules that the configuration chooses in this base.
fn targeted(
    folder: &ModelFolder,
    sites: &[Site],
    method: &dyn Method,
    loaded: &LoadedAdapter,
    report: &mut VerifyReport,
) -> Result<BTreeSet<String>, RunError> {
    match of_configuration(folder, sites, method, loaded) {
        Ok(resolved) => {
            // An entry that is there, but excluded or saved in full, is no typing error.
            let there = |name: &&String| {
                let ending = format!(".{name}");
                let mut paths = sites.iter().map(|site| &site.path);
                paths.any(|path| path == *name || path.ends_with(&ending))
            };
            for name in resolved.unmatched.iter().filter(|name| !there(name)) {
                let problem = "no module of the base answers to this entry of target_modules";
                report.problem(name, "target", problem.to_owned());
            }
            Ok(resolved.matched.into_iter().collect())
        }
        Err(RunError::Adapter(AdapterError::Targets(error @ TargetError::NoMatch { .. }))) => {
            report.problem("target_modules", "target", error.to_string());
            Ok(BTreeSet::new())
        }
        Err(error) => Err(error),
    }
}

/// Compare the tensors of a module with what the method makes of it.
fn shapes(
    site: &Site,
    target: &Target,
    method: &dyn Method,
    tensors: &Fields<HostTensor>,
    report: &mut VerifyReport,
) -> Result<(), RunError> {
    let spec = method.describe(target)?;
    for (suffix, expected) in &spec.tensors {
        let Some(tensor) = tensors.get(suffix) else {
            let problem = format!("`{suffix}` is not in the adapter");
            report.problem(&site.path, "tensor missing", problem);
            continue;
        };
        if tensor.shape == expected.shape {
            continue;
        }
        let (found, wanted) = (&tensor.shape, &expected.shape);
        let widths = site.matrix();
        let differs: Vec<usize> = match found.len() == wanted.len() {
            true => (0..found.len())
                .filter(|&d| found[d] != wanted[d])
                .collect(),
            false => Vec::new(),
        };
        // A width is the base's, any other size (a rank) the configuration's.
        let why = match differs.as_slice() {
            [] => "it was made by another method or version",
            dims if dims.iter().all(|&d| widths.contains(&wanted[d])) => {
                "it was trained on a base of another width"
            }
            dims if dims.iter().all(|&d| !widths.contains(&wanted[d])) => {
                "adapter_config.json says otherwise than the tensors"
            }
            _ => "neither the base nor adapter_config.json fits",
        };
        let problem = format!("shape {found:?}, but {wanted:?} is expected: {why}");
        report.problem(&join_key(&site.path, suffix), "shape", problem);
    }
    for suffix in tensors.keys().filter(|s| !spec.tensors.contains_key(*s)) {
        let problem = "the method has no such tensor for this module";
        let place = join_key(&site.path, suffix);
        report.problem(&place, "tensor left over", problem.to_owned());
    }
    Ok(())
}

/// Compare the parameters that the adapter holds in full with the base's and the configuration's.
pub fn saved(
    folder: &ModelFolder,
    layout: &ModelLayout,
    loaded: &LoadedAdapter,
    report: &mut VerifyReport,
) {
    let target = loaded.config.target();
    let listed = &saved_with_biases(
        loaded.config.modules_to_save(),
        &target.bias,
        &layout.parameter_names(),
        |module| loaded.modules.contains_key(module),
    );
    for (name, tensor) in &loaded.saved {
        report.saved.push(name.clone());
        finite(name, tensor, report);
        let known = layout.parameters.iter();
        match known.clone().find(|(known, _)| known == name) {
            None => {
                let names = known.map(|(name, _)| name.as_str());
                let hint = near::did_you_mean(&near::nearest(name, names, 2));
                report.problem(
                    name,
                    "no place",
                    format!("the base has no such parameter{hint}"),
                );
            }
            Some((_, shape)) if *shape != tensor.shape => {
                let found = &tensor.shape;
                let problem = format!("shape {found:?}, but {shape:?} is expected");
                report.problem(name, "shape", problem);
            }
            Some(_) if !is_saved(name, listed) => {
                let problem =
                    "it is in the adapter, but not among modules_to_save: PEFT would pass over it";
                report.problem(name, "not targeted", problem.to_owned());
            }
            Some(_) => {}
        }
    }
    for module in listed {
        let alone = [module.clone()];
        // PEFT always lists the heads of several families, `classifier` and `score`.
        let here = layout
            .parameters
            .iter()
            .any(|(name, _)| is_saved(name, &alone));
        if here && !loaded.saved.keys().any(|name| is_saved(name, &alone)) {
            let problem = "modules_to_save names it, but the adapter has no tensors for it";
            report.problem(module, "no tensors", problem.to_owned());
        }
    }
    for head in &layout.heads {
        let weight = format!("{head}.weight");
        if folder.find(&weight).is_none() && !loaded.saved.contains_key(&weight) {
            let problem =
                "neither the base nor the adapter has it, and nothing can be predicted without";
            report.problem(&weight, "head", problem.to_owned());
        }
    }
}

fn finite(name: &str, tensor: &HostTensor, report: &mut VerifyReport) {
    // Places and their codes; the method itself looks at those.
    if matches!(tensor.dtype, Dtype::I64 | Dtype::I32 | Dtype::U8) {
        return;
    }
    if let Err(error) = tensor.to_float(name, FloatDType::F32) {
        report.problem(name, "not finite", error.to_string());
    }
}
