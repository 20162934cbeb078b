//! What a model's parameters are: where, how large, trained or not.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param, Reparameterization},
    tensor::Int,
};

use crate::{
    DynAdapter, NameMap, ParamPath,
    adapter::{MARK, SET},
    slot::OCCUPIED,
};

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

/// The adapters of a model, by the paths of their parameters up to the field: `<parameter>.adapter` or
/// `<slot>.adapter`, and `<parameter>.adapter.@<name>` for each member of a set beside the set itself.
pub(crate) fn adapters<M: Module>(model: &M) -> Vec<(String, DynAdapter)> {
    #[derive(Default)]
    struct Visitor {
        path: ParamPath,
        paths: Vec<String>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
            let alone = name == DynAdapter::NAME
                && (container == "Reparameterization" || container == OCCUPIED);
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

/// The path of the parameter that an adapter at a path of [`adapters`] adapts, or of its slot.
pub(crate) fn adapted(path: &str) -> String {
    let end = format!(".{}", DynAdapter::NAME);
    let member = format!("{end}.{MARK}{}", owner_of(path));
    let parameter = path.strip_suffix(&member).or(path.strip_suffix(&end));
    parameter.unwrap_or(path).to_owned()
}

/// The fields of an adapter, with the numbers of their values.
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
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            let values = param.lazy_shape().num_elements();
            self.fields.push((self.path.text(), values));
        }
    }
    let mut visitor = Visitor::default();
    adapter.visit(&mut visitor);
    visitor.fields
}

/// The paths of the parameters, slots and whole modules that have adapters, trained or not, in the model's order.
pub fn adapted_places<M: Module>(model: &M) -> Vec<String> {
    let adapters = adapters(model).into_iter();
    adapters.map(|(path, _)| adapted(&path)).collect()
}

/// The factors that adapters put on the learning rates of their fields, by parameter path.
///
/// Fields that are not listed have factor 1.
pub fn learning_rate_factors<M: Module>(model: &M) -> BTreeMap<String, f64> {
    let mut factors = BTreeMap::new();
    for (path, adapter) in adapters(model) {
        if adapter.is_implied() {
            continue;
        }
        for (field, _) in fields_of(&adapter) {
            let factor = adapter.learning_rate_factor(&field);
            if factor != 1.0 {
                factors.insert(format!("{path}.{field}"), factor);
            }
        }
    }
    factors
}

/// The [names](crate::Method::name) of the methods that made the fields of adapters, by parameter path, where
/// they are known.
pub fn field_methods<M: Module>(model: &M) -> BTreeMap<String, &'static str> {
    let mut methods = BTreeMap::new();
    for (path, adapter) in adapters(model) {
        let Some(method) = adapter.method() else {
            continue;
        };
        let fields = fields_of(&adapter).into_iter();
        methods.extend(fields.map(|(field, _)| (format!("{path}.{field}"), method)));
    }
    methods
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
    /// Whether it is the copy of a weight's adapter that the bias beside it carries, and not an adapter's
    /// own field.
    pub implied: bool,
}

/// Every copy but the first of the parameters that adapters [share](crate::WeightAdapter::tie), in the
/// model's order.
pub fn tied_parameters<M: Module>(model: &M) -> Vec<TiedParameter> {
    let mut firsts: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut tied = Vec::new();
    for (path, adapter) in adapters(model) {
        if adapter.is_implied() {
            tied.extend(copies_at_bias(&path, &adapter));
            continue;
        }
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
                    implied: false,
                }),
                None => {
                    firsts.insert(name, path);
                }
            }
        }
    }
    tied
}

/// What a bias carries of the adapter of the weight beside it: copies of that adapter's fields.
fn copies_at_bias(path: &str, adapter: &DynAdapter) -> Vec<TiedParameter> {
    let bias = adapted(path);
    let module = bias.rsplit_once('.').map_or("", |(module, _)| module);
    let rest = &path[bias.len()..];
    let copies = fields_of(adapter).into_iter().map(|(field, values)| {
        // The field without the part that marks a copy.
        let own = field.split_once('.').map_or("", |(_, own)| own);
        TiedParameter {
            path: format!("{path}.{field}"),
            first: format!("{module}.weight{rest}.{own}"),
            values,
            implied: true,
        }
    });
    copies.collect()
}

/// The mean of the [penalties](crate::WeightAdapter::penalty) of a model's adapters over those that have
/// one, `[1]`, summed over the names of a set; `None` if there are none. Only those of the names that are
/// `chosen` count; an adapter without a name has none to be chosen by, and counts.
pub fn mean_penalty<M: Module>(model: &M, chosen: impl Fn(&str) -> bool) -> Option<Tensor<1>> {
    let mut named: BTreeMap<String, Vec<Tensor<1>>> = BTreeMap::new();
    for (path, adapter) in adapters(model) {
        let name = owner_of(&path);
        if !name.is_empty() && !chosen(name) {
            continue;
        }
        if let Some(penalty) = adapter.penalty() {
            named.entry(name.to_owned()).or_default().push(penalty);
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

/// The checkpoint's names of a model's own parameters.
pub(crate) fn hf_parameters<M: Module>(model: &M, names: &NameMap) -> Vec<String> {
    let names = parameters(model)
        .into_iter()
        .map(|site| names.to_hf(&site.torch_path));
    names.collect()
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
