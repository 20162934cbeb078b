//! Which sites are meant.

use std::collections::{BTreeSet, HashSet};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
};
use peft_format::{ModuleInfo, TargetSpec, targets::ResolveOptions};

use crate::{AdapterError, NameMap, ParamPath, Site, SiteKind, sites};

/// The sites of some kinds that targets match, of those of a model, by the checkpoint's names.
///
/// # Errors
/// If nothing matches, or a name in the targets matches nothing.
pub fn matched_modules<M: Module>(
    model: &M,
    targets: &TargetSpec,
    kinds: &[SiteKind],
    names: &NameMap,
    heads: &[&str],
) -> Result<BTreeSet<String>, AdapterError> {
    matched_sites(named_sites(model, names), targets, kinds, heads)
}

/// The sites of a model, by the checkpoint's names.
pub fn named_sites<M: Module>(model: &M, names: &NameMap) -> Vec<Site> {
    let named = sites(model).into_iter().map(|site| Site {
        path: names.to_hf(&site.path),
        ..site
    });
    named.collect()
}

/// The same of sites by the checkpoint's names, such as a layout has.
///
/// # Errors
/// If nothing matches, or a name in the targets matches nothing.
pub fn matched_sites(
    sites: impl IntoIterator<Item = Site>,
    targets: &TargetSpec,
    kinds: &[SiteKind],
    heads: &[&str],
) -> Result<BTreeSet<String>, AdapterError> {
    let resolved = resolve_sites(sites, targets, kinds, heads)?;
    if let Some(near) = resolved.near {
        let names = resolved.unmatched.join("`, `");
        return Err(AdapterError::Unmatched {
            names,
            near: near.to_string(),
        });
    }
    Ok(resolved.matched.into_iter().collect())
}

/// What targets come to among sites by the checkpoint's names: those matched, in the order of the sites, and
/// entries that no site answers to.
///
/// # Errors
/// If nothing matches.
pub fn resolve_sites(
    sites: impl IntoIterator<Item = Site>,
    targets: &TargetSpec,
    kinds: &[SiteKind],
    heads: &[&str],
) -> Result<peft_format::targets::Resolved, AdapterError> {
    let sites: Vec<Site> = sites.into_iter().collect();
    let known: HashSet<&str> = sites.iter().map(|site| site.path.as_str()).collect();
    // A norm is no site, but its parameters are.
    let holder = |site: &Site| {
        let (holder, _) = site.path.rsplit_once('.')?;
        let own = site.kind == SiteKind::Parameter && !known.contains(holder);
        own.then(|| holder.to_owned())
    };
    let adapted = sites.iter().filter(|site| kinds.contains(&site.kind));
    let modules: Vec<ModuleInfo> = adapted
        .map(|site| {
            let module = ModuleInfo::new(site.path.clone(), site.kind.module_kind());
            module.held_by(holder(site))
        })
        .collect();
    let supported: Vec<_> = kinds.iter().map(|kind| kind.module_kind()).collect();
    let options = ResolveOptions {
        heads,
        supported: &supported,
    };
    Ok(targets.resolve(&modules, options)?)
}

/// Let gradients through to the weights of linear layers, by the checkpoint's names, and to nothing
/// else: what a method looks at before it attaches.
pub fn train_weights<M: Module>(model: M, names: &NameMap, modules: &BTreeSet<String>) -> M {
    struct Only<'a> {
        path: ParamPath,
        names: &'a NameMap,
        modules: &'a BTreeSet<String>,
    }
    impl ModuleMapper for Only<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.path.linear_of_weight() {
                Some(path) if self.modules.contains(&self.names.to_hf(&path)) => {
                    param.set_require_grad(true)
                }
                _ => param,
            }
        }
    }
    model.no_grad().map(&mut Only {
        path: ParamPath::default(),
        names,
        modules,
    })
}
