//! Which linear layers are meant.

use std::collections::BTreeSet;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
};
use peft_format::TargetSpec;

use crate::{AdapterError, NameMap, ParamPath, linear_sites};

/// The linear layers that targets match, by the checkpoint's names.
///
/// # Errors
/// If nothing matches, or a name in the targets matches nothing.
pub fn matched_modules<M: Module>(
    model: &M,
    targets: &TargetSpec,
    names: &NameMap,
    heads: &[&str],
) -> Result<BTreeSet<String>, AdapterError> {
    let sites = linear_sites(model);
    let paths = sites.iter().map(|site| names.to_hf(&site.path));
    let resolved = targets.resolve_linears(paths, heads)?;
    if let Some(near) = resolved.near {
        let names = resolved.unmatched.join("`, `");
        return Err(AdapterError::Unmatched {
            names,
            near: near.to_string(),
        });
    }
    Ok(resolved.matched.into_iter().collect())
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
