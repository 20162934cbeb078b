use std::collections::BTreeSet;

use peft_core::LinearSite;

use super::Description;

/// What a model is made of, without loading it: names are the checkpoint's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLayout {
    /// Prefix that checkpoints of the bare model leave out.
    pub prefix: String,
    /// The linear layers, in the model's order.
    pub linears: Vec<LinearSite>,
    /// All parameters and their shapes in the checkpoint (`[out, in]` for linear layers).
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Those of the parameters that are kept in the type of the frozen matrices.
    pub narrowed: BTreeSet<String>,
    /// Linear layers that are made where the checkpoint has none.
    pub heads: Vec<String>,
}

impl Description {
    /// The layout of the model.
    pub fn layout(&self) -> ModelLayout {
        let mut layout = ModelLayout {
            prefix: self.prefix.clone(),
            linears: Vec::new(),
            parameters: Vec::new(),
            narrowed: BTreeSet::new(),
            heads: self.heads().map(str::to_owned).collect(),
        };
        for (_, part) in self.parts() {
            if let Some([in_features, out_features]) = part.widths() {
                layout.linears.push(LinearSite {
                    path: part.name.clone(),
                    in_features,
                    out_features,
                });
            }
            for (leaf, shape) in part.parameters() {
                let name = format!("{}{leaf}", part.name);
                if part.is_narrowed() && leaf == ".weight" {
                    layout.narrowed.insert(name.clone());
                }
                layout.parameters.push((name, shape));
            }
        }
        layout
    }
}

impl ModelLayout {
    /// Number of values.
    pub fn values(&self) -> usize {
        let sizes = self.parameters.iter();
        sizes
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Paths of the linear layers.
    pub fn linear_names(&self) -> Vec<String> {
        self.linears.iter().map(|site| site.path.clone()).collect()
    }

    /// Names of all parameters.
    pub fn parameter_names(&self) -> Vec<String> {
        let names = self.parameters.iter();
        names.map(|(name, _)| name.clone()).collect()
    }
}
