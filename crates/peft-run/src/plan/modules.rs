//! Modules of all layers together.

use peft_core::AdapterSpec;
use peft_models::ModelLayout;
use serde::Serialize;

/// Linear layers that differ in the number of their layer only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleGroup {
    /// Their name with `{}` for the number.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// Shape of the weight, `[out, in]`.
    pub shape: [usize; 2],
    /// Values trained in all of them; 0 where nothing is.
    pub trained: usize,
    /// How products with the adapted weights are worked out, where the method has a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<String>,
}

/// A target that no module answers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// The target, as given.
    pub target: String,
    /// Names that may have been meant, the likeliest first.
    pub nearest: Vec<String>,
}

/// The sites with an adapter, or the linear layers without one.
pub fn groups(
    layout: &ModelLayout,
    specs: &[Option<AdapterSpec>],
    evaluations: &[Option<String>],
    adapted: bool,
) -> Vec<ModuleGroup> {
    let mut groups: Vec<ModuleGroup> = Vec::new();
    for ((site, spec), evaluation) in layout.sites.iter().zip(specs).zip(evaluations) {
        if spec.is_some() != adapted || !(adapted || site.kind.is_linear()) {
            continue;
        }
        let trained = spec.as_ref().map_or(0, |spec| spec.cost.parameters);
        let numbered = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let parts = site.path.split('.');
        let parts: Vec<&str> = parts
            .map(|part| if numbered(part) { "{}" } else { part })
            .collect();
        let [inputs, outputs] = site.matrix();
        let (name, shape) = (parts.join("."), [outputs, inputs]);
        match groups
            .iter_mut()
            .find(|g| g.name == name && g.shape == shape && g.evaluation == *evaluation)
        {
            Some(group) => {
                group.count += 1;
                group.trained += trained;
            }
            None => groups.push(ModuleGroup {
                name,
                count: 1,
                shape,
                trained,
                evaluation: evaluation.clone(),
            }),
        }
    }
    groups
}
