use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;
use peft_format::{
    AdapterConfig, AdapterFile,
    adapter::{copied_name, saved_name, split_key, split_named_key, strip_prefix},
    near,
};

use super::shared::give_all;
use crate::{
    AdapterError, Common, DynAdapter, Fields, HostTensor, Method, Site, Target,
    common::{MODEL, shared_name},
    widest,
};

/// An adapter as its files hold it.
#[derive(Debug, Clone)]
pub struct LoadedAdapter {
    /// `adapter_config.json`.
    pub config: AdapterConfig,
    /// Tensors by the checkpoint's name of the adapted site, then by suffix.
    pub modules: BTreeMap<String, Fields<HostTensor>>,
    /// Tensors that all adapted modules share, by name.
    pub shared: Fields<HostTensor>,
    /// Tensors of the model as a whole, by name, until they are [spread](Self::spread) over its sites.
    pub whole: Fields<HostTensor>,
    /// Parameters saved in full, by the checkpoint's names.
    pub saved: BTreeMap<String, HostTensor>,
    /// Copies of the base's own weights, by the checkpoint's names: PEFT puts whole tables of tokens into files
    /// whose adapters adapt them. They are the adapter's only where they differ from the base's, which was
    /// another one then.
    pub copies: BTreeMap<String, HostTensor>,
}

impl LoadedAdapter {
    /// The adapter of one site; `None` where the file has none. `widest` is that of the base's sites
    /// that the file adapts, see [`widest`](Self::widest).
    ///
    /// # Errors
    /// Those of [`Method::restore`].
    pub fn restore(
        &self,
        method: &dyn Method,
        target: &Target,
        widest: [usize; 2],
        device: &Device,
    ) -> Result<Option<DynAdapter>, AdapterError> {
        let common = Common {
            widest,
            tensors: &self.shared,
        };
        match self.modules.get(&target.path) {
            None => Ok(None),
            Some(tensors) => method
                .restore_among(target, tensors, &common, device)
                .map(Some),
        }
    }

    /// Give the sites of a base, by the checkpoint's names, what the file holds for the model as a whole.
    ///
    /// # Errors
    /// If the file was made for another base.
    pub fn spread(&mut self, method: &dyn Method, sites: &[Site]) -> Result<(), AdapterError> {
        if self.whole.is_empty() {
            return Ok(());
        }
        let sites = sites.iter();
        let own = sites.filter(|site| method.site_kinds().contains(&site.kind));
        let own: Vec<Site> = own.cloned().collect();
        let spread = method.spread(&self.whole, &own)?;
        self.whole.clear();
        for (site, tensors) in spread {
            self.modules.entry(site).or_default().extend(tensors);
        }
        Ok(())
    }

    /// The largest widths of the sites that the file adapts, of those of a base in the checkpoint's
    /// names.
    pub fn widest<'a>(&self, sites: impl IntoIterator<Item = &'a Site>) -> [usize; 2] {
        let adapted = |site: &&Site| self.modules.contains_key(&site.path);
        widest(sites.into_iter().filter(adapted))
    }

    /// What the file holds in full: modules, and by their whole names biases that were trained by themselves.
    pub fn full_modules(&self) -> Vec<String> {
        let full = self.saved.keys().map(|name| match name.rsplit_once('.') {
            Some((module, "bias")) if !self.saved.contains_key(&format!("{module}.weight")) => {
                name.clone()
            }
            Some((module, _)) => module.to_owned(),
            None => name.clone(),
        });
        let mut full: Vec<String> = full.collect();
        full.dedup();
        full
    }

    /// Refuse an adapter with tensors for sites that are not among `sites`, or with saved
    /// parameters that are not among `parameters` (both in the checkpoint's names).
    ///
    /// # Errors
    /// [`AdapterError::NoPlace`].
    pub fn expect_places(&self, sites: &[Site], parameters: &[String]) -> Result<(), AdapterError> {
        let is_site = |name: &String| sites.iter().any(|site| site.path == *name);
        let lost: Vec<&String> = (self.modules.keys().filter(|name| !is_site(name)))
            .chain(self.saved.keys().filter(|name| !parameters.contains(name)))
            .collect();
        let Some(first) = lost.first() else {
            return Ok(());
        };
        let known = sites.iter().map(|site| &site.path).chain(parameters);
        let known = known.map(String::as_str);
        let hint = near::did_you_mean(&near::nearest(first, known, 3));
        Err(AdapterError::NoPlace {
            count: lost.len(),
            first: (*first).clone(),
            hint,
        })
    }
}

/// Read an adapter folder; `method` tells which tensors belong to it.
///
/// # Errors
/// If the files are missing or broken.
pub fn read_adapter(
    dir: &Path,
    config: AdapterConfig,
    method: &dyn Method,
) -> Result<LoadedAdapter, AdapterError> {
    let file = AdapterFile::read(dir)?;
    let mut loaded = LoadedAdapter {
        config,
        modules: BTreeMap::new(),
        shared: Fields::new(),
        whole: Fields::new(),
        saved: BTreeMap::new(),
        copies: BTreeMap::new(),
    };
    // The name that is in the keys, where a program saved them with it: in all of them, then.
    let mut named_by: Option<Option<String>> = None;
    // PEFT has one wrapper less around a model whose adapter is none of its modules.
    let mut whole = method.whole_names().iter();
    let beside_whole = whole.any(|name| file.tensors.contains_key(*name));
    for (key, tensor) in file.tensors {
        if method.whole_names().contains(&key.as_str()) {
            loaded.whole.insert(key, tensor);
            continue;
        }
        if let Some(name) = shared_name(&key, method.shared_names()) {
            loaded.shared.insert(name.to_owned(), tensor);
            continue;
        }
        let suffixes = method.suffixes();
        let split = split_key(&key, suffixes).map(|split| (split, None));
        let named = || split_named_key(&key, suffixes).map(|(split, name)| (split, Some(name)));
        match split.or_else(named) {
            Some((split, name)) => {
                let first = named_by.get_or_insert_with(|| name.map(str::to_owned));
                if first.as_deref() != name {
                    let shown = |name: Option<&str>| match name {
                        Some(name) => format!("`{name}`"),
                        None => "one without a name".to_owned(),
                    };
                    return Err(AdapterError::SeveralAdapters {
                        path: dir.to_owned(),
                        first: shown(first.as_deref()),
                        other: shown(name),
                    });
                }
                let site = method.site_of(split.module, split.suffix);
                let tensors = loaded.modules.entry(site).or_default();
                tensors.insert(split.suffix.to_owned(), tensor);
            }
            None => {
                let plain = match beside_whole {
                    true => key.strip_prefix(MODEL),
                    false => strip_prefix(&key),
                };
                let name = plain.unwrap_or(&key);
                if let Some(name) = copied_name(name) {
                    loaded.copies.insert(name, tensor);
                } else if let Some(name) = saved_name(name) {
                    loaded.saved.insert(name, tensor);
                }
            }
        }
    }
    for suffix in method.shared_suffixes() {
        give_all(suffix, &mut loaded.modules);
    }
    Ok(loaded)
}
