//! Modules that are trained and saved in full.

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
};

use peft_format::Bias;
use peft_kernels::decoded;

use crate::{AdapterError, NameMap, ParamPath, Whole};

/// Let gradients through to whole modules (by the checkpoint's names, suffix match); tells how many
/// values they hold.
pub fn train_modules<M: Module>(model: M, names: &NameMap, modules: &[String]) -> (M, usize) {
    let mut saved = Unfreeze {
        path: ParamPath::default(),
        names,
        modules,
        values: 0,
    };
    let model = model.map(&mut saved);
    (model, saved.values)
}

/// Modules trained in full, and beside them the biases that are trained by themselves, by their whole names:
/// those of `parameters` that [`Bias`] chooses and no such module has. `is_adapted` tells the modules with
/// adapters. All names are the checkpoint's.
pub fn saved_with_biases(
    modules: &[String],
    bias: &Bias,
    parameters: &[String],
    is_adapted: impl Fn(&str) -> bool,
) -> Vec<String> {
    let alone = parameters
        .iter()
        .filter(|name| bias.trains(name, &is_adapted) && !is_saved(name, modules));
    modules.iter().chain(alone).cloned().collect()
}

/// Whether the parameter `name` lies in one of the modules to save, by PEFT's rule: the path of the module, or of
/// one around it, ends in the text, so that `classifier` means DistilBERT's `pre_classifier`, too. A parameter
/// that is trained by itself is there by its whole name.
pub fn is_saved(name: &str, modules: &[String]) -> bool {
    if modules.iter().any(|saved| saved == name) {
        return true;
    }
    let mut path = name;
    while let Some((module, _)) = path.rsplit_once('.') {
        if modules.iter().any(|saved| module.ends_with(saved.as_str())) {
            return true;
        }
        path = module;
    }
    false
}

/// The parameters of modules that an adapter of a set has in full, as it will have them, by Burn path.
///
/// # Errors
/// For a parameter of more than two dimensions.
pub fn wholes<M: Module>(
    model: &M,
    names: &NameMap,
    modules: &[String],
) -> Result<Vec<(String, Whole)>, AdapterError> {
    let mut gather = Gather {
        path: ParamPath::default(),
        names,
        modules,
        found: Vec::new(),
        error: None,
    };
    model.visit(&mut gather);
    match gather.error {
        Some(error) => Err(error),
        None => Ok(gather.found),
    }
}

struct Gather<'a> {
    path: ParamPath,
    names: &'a NameMap,
    modules: &'a [String],
    found: Vec<(String, Whole)>,
    error: Option<AdapterError>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.names.to_hf(&self.path.torch_leaves());
        if self.path.in_adapter() || !is_saved(&name, self.modules) {
            return;
        }
        let value = decoded(param.base());
        let shape = match *value.shape() {
            [length] => [1, length],
            [rows, columns] => [rows, columns],
            _ => {
                let shape = value.shape().to_vec();
                self.error
                    .get_or_insert(AdapterError::WholeShape { name, shape });
                return;
            }
        };
        self.found
            .push((self.path.text(), Whole::new(value.reshape(shape))));
    }
}

/// Lets gradients through to the modules that are saved in full.
struct Unfreeze<'a> {
    path: ParamPath,
    names: &'a NameMap,
    modules: &'a [String],
    values: usize,
}

impl ModuleMapper for Unfreeze<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.in_adapter() {
            return param;
        }
        if !is_saved(&self.names.to_hf(&self.path.torch_leaves()), self.modules) {
            return param;
        }
        self.values += param.lazy_shape().num_elements();
        // What is trained is in floats.
        param.map(decoded).set_require_grad(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bias, is_saved, saved_with_biases};

    #[test]
    fn saved_modules_are_suffixes_of_module_paths() {
        let saved = ["classifier".to_owned(), "pooler".to_owned()];
        assert!(is_saved("classifier.weight", &saved));
        assert!(is_saved("bert.pooler.dense.bias", &saved));
        assert!(is_saved("pre_classifier.weight", &saved));
        assert!(!is_saved("bert.encoder.weight", &saved));
        let parameters = [
            "bert.a.weight",
            "bert.a.bias",
            "classifier.bias",
            "bert.b.bias",
        ];
        let parameters = parameters.map(str::to_owned);
        let adapted = |module: &str| module == "bert.a";
        let with = |bias| saved_with_biases(&saved[..1], &bias, &parameters, adapted);
        assert_eq!(with(Bias::None), ["classifier"]);
        assert_eq!(
            with(Bias::All),
            ["classifier", "bert.a.bias", "bert.b.bias"]
        );
        let only = with(Bias::Targets("lora_only".into()));
        assert_eq!(only, ["classifier", "bert.a.bias"]);
        assert!(is_saved("bert.a.bias", &only) && !is_saved("bert.a.weight", &only));
    }
}
