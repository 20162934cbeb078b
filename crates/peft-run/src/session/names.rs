//! Names in the settings that match nothing: mostly typing errors, and silent ones.

use peft_core::{AdapterError, Method, Site, is_saved, resolve_sites};
use peft_format::{
    TargetError, TargetModules, TargetSpec, near,
    targets::{Exclude, PatternMap},
};
use peft_models::ModelLayout;
use serde_json::Value;

use crate::RunError;

/// Refuse names of modules and layers that a model does not have. `spec` is what the user asks for, without
/// the heads that are saved in any case.
pub fn expect_matches(
    spec: &TargetSpec,
    method: &dyn Method,
    layout: &ModelLayout,
    heads: &[&str],
) -> Result<(), RunError> {
    method.fits(&layout.sites)?;
    for name in &spec.modules_to_save {
        let one = std::slice::from_ref(name);
        if !layout
            .parameters
            .iter()
            .any(|(path, _)| is_saved(path, one))
        {
            let modules = layout.parameters.iter().map(|(path, _)| module_of(path));
            return Err(unmatched(
                "modules_to_save",
                name,
                "no module of the model",
                modules,
            ));
        }
    }
    let sites = || layout.sites.iter().cloned();
    let kinds = method.site_kinds();
    let find = |sites: Vec<Site>, spec: &TargetSpec| resolve_sites(sites, spec, kinds, heads);
    let entries: Vec<(&str, TargetModules)> = match &spec.exclude {
        None => Vec::new(),
        Some(Exclude::Regex(regex)) if regex.is_empty() => Vec::new(),
        Some(Exclude::Regex(regex)) => vec![(regex, TargetModules::Regex(regex.clone()))],
        Some(Exclude::List(names)) => {
            let one = |name: &String| TargetModules::List(vec![name.clone()]);
            names
                .iter()
                .map(|name| (name.as_str(), one(name)))
                .collect()
        }
    };
    for (name, modules) in entries {
        let wanted = TargetSpec::new(modules);
        if is_nothing(&find(sites().collect(), &wanted)) {
            let adaptable = layout
                .sites
                .iter()
                .filter(|site| kinds.contains(&site.kind));
            let paths = adaptable.map(|site| site.path.as_str());
            return Err(unmatched(
                "exclude_modules",
                name,
                "no module that could be adapted",
                paths,
            ));
        }
    }
    expect_layers(spec, &|wanted, layer| {
        let found = find(sites().collect(), wanted);
        // A whole name is a target whatever the layers, so the numbers are looked at.
        let elsewhere = |paths: &[String]| {
            let inside = |site: &&Site| site.layer() == layer && paths.contains(&site.path);
            layer.is_some() && layout.sites.iter().find(inside).is_none()
        };
        is_nothing(&found) || found.is_ok_and(|found| elsewhere(&found.matched))
    })?;
    // Targets that match nothing have errors of their own.
    let Ok(resolved) = find(sites().collect(), spec) else {
        return Ok(());
    };
    let matched = |site: &&Site| resolved.matched.contains(&site.path);
    let matched: Vec<&Site> = layout.sites.iter().filter(matched).collect();
    method.fits_targets(&matched)?;
    for (setting, value) in method.config() {
        let (Value::Object(patterns), true) = (value, setting.ends_with("_pattern")) else {
            continue;
        };
        for name in patterns.keys() {
            let pattern =
                PatternMap::new("pattern", [(name.as_str(), ())]).map_err(AdapterError::from)?;
            let mut answers = false;
            for path in &resolved.matched {
                answers |= pattern.get(path).map_err(AdapterError::from)?.is_some();
            }
            if !answers {
                let paths = resolved.matched.iter().map(String::as_str);
                return Err(unmatched(&setting, name, "no adapted module", paths));
            }
        }
    }
    Ok(())
}

/// Each layer, and each name before its number, must be that of a target. `is_nothing` tells whether targets match nothing,
/// or nothing in a layer.
fn expect_layers(
    spec: &TargetSpec,
    is_nothing: &dyn Fn(&TargetSpec, Option<usize>) -> bool,
) -> Result<(), RunError> {
    let Some(layers) = &spec.layers_to_transform else {
        return Ok(());
    };
    let mut sorted = layers.clone();
    sorted.sort_unstable();
    for layer in sorted {
        let alone = TargetSpec {
            layers_to_transform: Some(vec![layer]),
            exclude: None,
            ..spec.clone()
        };
        let number = spec.layers_pattern.is_none().then_some(layer);
        if is_nothing(&alone, number) {
            return Err(RunError::setting(
                "`layers`",
                format!("no target is in layer {layer}; they are counted from 0"),
                "leave it out, or correct the number, `layers_pattern` or `target_modules`",
            ));
        }
    }
    for name in spec.layers_pattern.iter().flatten() {
        let alone = TargetSpec {
            layers_pattern: Some(vec![name.clone()]),
            exclude: None,
            ..spec.clone()
        };
        if is_nothing(&alone, None) {
            return Err(RunError::setting(
                "`layers_pattern`",
                format!("no target has `{name}` before the number of its layer"),
                "correct the name, or leave it out",
            ));
        }
    }
    Ok(())
}

/// Whether targets match nothing; other faults are told where they are used.
fn is_nothing<T>(found: &Result<T, AdapterError>) -> bool {
    matches!(
        found,
        Err(AdapterError::Targets(TargetError::NoMatch { .. }))
    )
}

fn module_of(parameter: &str) -> &str {
    parameter
        .rsplit_once('.')
        .map_or(parameter, |(module, _)| module)
}

/// A name without a match, with the names most like it: whole paths for one with dots, else last names.
fn unmatched<'a>(
    setting: &str,
    name: &str,
    what: &str,
    paths: impl Iterator<Item = &'a str>,
) -> RunError {
    let shown = |path: &'a str| match name.contains('.') {
        true => path,
        false => path.rsplit('.').next().unwrap_or(path),
    };
    let mut known: Vec<&str> = paths.map(shown).collect();
    known.sort_unstable();
    known.dedup();
    let similar = near::nearest(name, known.iter().copied(), 3);
    let hint = match similar.is_empty() {
        false => near::did_you_mean(&similar),
        true => {
            let first: Vec<&str> = known.iter().copied().take(12).collect();
            format!("; there are `{}`", first.join("`, `"))
        }
    };
    let name = peft_format::shorten(name);
    RunError::setting(
        format!("`{setting}`"),
        format!("`{name}` matches {what}{hint}"),
        "correct the name, or leave it out",
    )
}
