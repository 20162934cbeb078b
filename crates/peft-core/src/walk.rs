//! What a model's parameters are: where, how large, trained or not.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param, Reparameterization},
    tensor::FloatDType,
};

use crate::{
    DynAdapter, ParamPath, Target,
    adapter::{MARK, SET},
};

/// A linear layer: a module named `Linear` with a matrix called `weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearSite {
    /// Burn path of the module.
    pub path: String,
    /// Width of the input.
    pub in_features: usize,
    /// Width of the output.
    pub out_features: usize,
}

impl LinearSite {
    /// The target at this layer, by the checkpoint's name `path`, trained in single precision.
    pub fn target(&self, path: String) -> Target {
        Target {
            path,
            in_features: self.in_features,
            out_features: self.out_features,
            dtype: FloatDType::F32,
        }
    }
}

/// A floating-point parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSite {
    /// Burn path of the parameter.
    pub path: String,
    /// The same with PyTorch's names of the leaves (`weight` and `bias` of norms).
    pub torch_path: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether gradients are taken for it.
    pub trainable: bool,
}

impl ParamSite {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every linear layer of a model, in the model's order.
pub fn linear_sites<M: Module>(model: &M) -> Vec<LinearSite> {
    #[derive(Default)]
    struct Visitor {
        path: ParamPath,
        sites: Vec<LinearSite>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D != 2 {
                return;
            }
            if let Some(path) = self.path.linear_of_weight() {
                let shape = param.lazy_shape();
                self.sites.push(LinearSite {
                    path,
                    in_features: shape[0],
                    out_features: shape[1],
                });
            }
        }
    }
    let mut visitor = Visitor::default();
    model.visit(&mut visitor);
    visitor.sites
}

/// The adapters of a model, by the paths of their parameters up to the field: `<module>.weight.adapter`,
/// and `<module>.weight.adapter.@<name>` for each member of a set beside the set itself.
pub(crate) fn adapters<M: Module>(model: &M) -> Vec<(String, DynAdapter)> {
    #[derive(Default)]
    struct Visitor {
        path: ParamPath,
        paths: Vec<String>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
            let alone = name == DynAdapter::NAME && container == "Reparameterization";
            if alone || container == SET {
                self.paths.push(self.path.text());
            }
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
    }
    let mut visitor = Visitor::default();
    let adapters = DynAdapter::met(|| model.visit(&mut visitor));
    visitor.paths.into_iter().zip(adapters).collect()
}

/// The path of the parameter that an adapter at a path of [`adapters`] adapts.
pub(crate) fn adapted(path: &str) -> String {
    let end = format!(".{}", DynAdapter::NAME);
    let member = format!("{end}.{MARK}{}", owner_of(path));
    let parameter = path.strip_suffix(&member).or(path.strip_suffix(&end));
    parameter.unwrap_or(path).to_owned()
}

/// The floating-point fields of an adapter, with the numbers of their values.
fn fields_of(adapter: &DynAdapter) -> Vec<(String, usize)> {
    #[derive(Default)]
    struct Visitor {
        path: ParamPath,
        fields: Vec<(String, usize)>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.lazy_shape().num_elements();
            self.fields.push((self.path.text(), values));
        }
    }
    let mut visitor = Visitor::default();
    adapter.visit(&mut visitor);
    visitor.fields
}

/// The factors that adapters put on the learning rates of their fields, by parameter path.
///
/// Fields that are not listed have factor 1.
pub fn learning_rate_factors<M: Module>(model: &M) -> BTreeMap<String, f64> {
    let mut factors = BTreeMap::new();
    for (path, adapter) in adapters(model) {
        for (field, _) in fields_of(&adapter) {
            let factor = adapter.learning_rate_factor(&field);
            if factor != 1.0 {
                factors.insert(format!("{path}.{field}"), factor);
            }
        }
    }
    factors
}

/// A copy of a parameter that several adapters share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiedParameter {
    /// Its path.
    pub path: String,
    /// The path of the first of the copies, which is the one that is trained.
    pub first: String,
    /// Number of its values.
    pub values: usize,
}

/// Every copy but the first of the parameters that adapters [share](crate::WeightAdapter::tie), in the
/// model's order.
pub fn tied_parameters<M: Module>(model: &M) -> Vec<TiedParameter> {
    let mut firsts: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut tied = Vec::new();
    for (path, adapter) in adapters(model) {
        for (field, values) in fields_of(&adapter) {
            let Some(name) = adapter.tie(&field) else {
                continue;
            };
            // Adapters of different names share nothing.
            let name = (owner_of(&path).to_owned(), name);
            let path = format!("{path}.{field}");
            match firsts.get(&name) {
                Some(first) => tied.push(TiedParameter {
                    path,
                    first: first.clone(),
                    values,
                }),
                None => {
                    firsts.insert(name, path);
                }
            }
        }
    }
    tied
}

/// The mean of the [penalties](crate::WeightAdapter::penalty) of a model's adapters over those that have
/// one, `[1]`, summed over the names of a set; `None` if there are none.
pub fn mean_penalty<M: Module>(model: &M) -> Option<Tensor<1>> {
    let mut named: BTreeMap<String, Vec<Tensor<1>>> = BTreeMap::new();
    for (path, adapter) in adapters(model) {
        if let Some(penalty) = adapter.penalty() {
            let all = named.entry(owner_of(&path).to_owned()).or_default();
            all.push(penalty);
        }
    }
    let means = named.into_values().map(|all| Tensor::cat(all, 0).mean());
    means.reduce(|sum, mean| sum + mean)
}

/// The name of the adapter at a path of [`adapters`]; empty for one without a name.
pub(crate) fn owner_of(path: &str) -> &str {
    let (_, last) = path.rsplit_once('.').unwrap_or(("", path));
    last.strip_prefix(MARK).unwrap_or_default()
}

/// Every floating-point parameter for which gradients are taken.
///
/// Meaningful on a device with autodiff only; elsewhere no tensor takes gradients.
pub fn trainable_parameters<M: Module>(model: &M) -> Vec<ParamSite> {
    parameters(model)
        .into_iter()
        .filter(|site| site.trainable)
        .collect()
}

/// Every floating-point parameter.
pub(crate) fn parameters<M: Module>(model: &M) -> Vec<ParamSite> {
    #[derive(Default)]
    struct Visitor {
        path: ParamPath,
        sites: Vec<ParamSite>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.sites.push(ParamSite {
                path: self.path.text(),
                torch_path: self.path.torch_leaves(),
                shape: param.lazy_shape().iter().copied().collect(),
                trainable: param.base().is_require_grad(),
            });
        }
    }
    let mut visitor = Visitor::default();
    model.visit(&mut visitor);
    visitor.sites
}
