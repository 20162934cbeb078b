//! Whether an adapter has tensors for all that its configuration targets.

use std::{collections::BTreeSet, path::Path};

use peft_core::{LoadedAdapter, Method, Site, resolve_sites};
use peft_format::{TargetModules, targets::Resolved};
use peft_models::{HeadKind, ModelFolder};

use crate::{RunError, merge::adapted_sites, session::default_targets};

/// Where the tensors are, usually.
const WEIGHTS: &str = "adapter_model.safetensors";

/// The modules that an adapter's configuration chooses in a base, and its targets that are none.
///
/// # Errors
/// If no module is chosen.
pub(crate) fn targeted(
    folder: &ModelFolder,
    sites: &[Site],
    method: &dyn Method,
    loaded: &LoadedAdapter,
) -> Result<Resolved, RunError> {
    let mut spec = loaded.config.target().clone();
    if spec.modules == TargetModules::Unspecified {
        spec.modules = default_targets(folder.description(), method.default_targets());
    }
    let (named, heads) = (sites.iter().cloned(), folder.head_modules());
    let mut resolved = resolve_sites(named, &spec, method.site_kinds(), heads)?;
    resolved.matched.extend(method.also_adapts(sites)?);
    Ok(resolved)
}

/// Refuse an adapter that has no tensors for a module that it targets: such a file was cut, or is another's, and
/// computes something else than what was trained.
///
/// # Errors
/// If it has none for one or all.
pub(crate) fn expect_covered(
    path: &Path,
    folder: &ModelFolder,
    head: HeadKind,
    method: &dyn Method,
    loaded: &LoadedAdapter,
) -> Result<(), RunError> {
    if !method.adapts_weights() {
        return Ok(());
    }
    let layout = folder.layout(head)?;
    let sites = adapted_sites(&layout, method);
    let spread;
    let loaded = match loaded.whole.is_empty() {
        true => loaded,
        false => {
            let mut whole = loaded.clone();
            whole.spread(method, &layout.sites)?;
            spread = whole;
            &spread
        }
    };
    // Of another architecture: its tensors have no place, which is told where they are put there.
    let has_place = |module: &String| sites.iter().any(|site| site.path == *module);
    if !loaded.modules.keys().all(has_place) {
        return Ok(());
    }
    let refuse = |problem: String| {
        Err(RunError::File {
            path: match path.join(WEIGHTS) {
                file if file.is_file() => file,
                _ => path.to_owned(),
            },
            problem,
            fix: "take the whole adapter anew from where it was trained, or give the base that it was trained on; `peft \
                  verify` tells all that is wrong"
                .into(),
        })
    };
    let targets: BTreeSet<String> = match targeted(folder, &sites, method, loaded) {
        Ok(resolved) => resolved.matched.into_iter().collect(),
        Err(_) if !loaded.modules.is_empty() => return Ok(()),
        Err(error) => return Err(error),
    };
    let lacking: Vec<&String> = targets
        .iter()
        .filter(|module| !loaded.modules.contains_key(*module))
        .collect();
    match lacking.as_slice() {
        [] => Ok(()),
        _ if loaded.modules.is_empty() => refuse(format!(
            "there are no tensors of {} in it, for none of the {} modules that the configuration targets",
            method.name(),
            targets.len()
        )),
        [first, ..] => refuse(format!(
            "the configuration targets `{first}`, but the adapter has no tensors for it (nor for {} others of {})",
            lacking.len() - 1,
            targets.len()
        )),
    }
}
