//! What of a model can be adapted.

use std::{any::Any, fmt};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::FloatDType,
};
use peft_format::ModuleKind;

use crate::{ParamPath, Target, slot};

/// What kind of thing a [`Site`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SiteKind {
    /// The weight of a linear layer: a module called `Linear`, weight `[in, out]`, which files hold as
    /// `[out, in]`.
    Linear,
    /// The weight of a linear layer that files hold as `[in, out]`, too, as those of GPT-2 do: a module
    /// called `TransposedLinear`, weight `[in, out]`.
    TransposedLinear,
    /// The weight of a one-dimensional convolution: a module called `Conv1d`, weight
    /// `[out, in / groups, kernel]`; a depthwise one has as many groups as channels.
    Conv1d,
    /// A table of vectors: a module called `Embedding`, weight `[entries, width]`.
    Embedding,
    /// Any other parameter, of any rank: a bias, a norm's scale, `A_log` and `D` of a state-space model.
    Parameter,
    /// A place of a block where a module may be inserted: a [`Slot`](crate::Slot).
    Slot,
}

impl SiteKind {
    /// The kinds of linear layers, what a weight adapter is for.
    pub const LINEAR: &'static [Self] = &[Self::Linear, Self::TransposedLinear];

    /// Whether it is the weight of a linear layer.
    pub const fn is_linear(self) -> bool {
        matches!(self, Self::Linear | Self::TransposedLinear)
    }

    /// The kind of a module with a `weight`, by what Burn's traversals call its container.
    pub(crate) fn of_container(container: &str) -> Option<Self> {
        Some(match container {
            "Struct:Linear" => Self::Linear,
            "Struct:TransposedLinear" => Self::TransposedLinear,
            "Struct:Conv1d" => Self::Conv1d,
            "Struct:Embedding" => Self::Embedding,
            _ => return None,
        })
    }

    /// The kind by which targets are resolved.
    pub const fn module_kind(self) -> ModuleKind {
        match self {
            Self::Linear => ModuleKind::Linear,
            Self::TransposedLinear => ModuleKind::TransposedLinear,
            Self::Conv1d => ModuleKind::Conv1d,
            Self::Embedding => ModuleKind::Embedding,
            Self::Parameter => ModuleKind::Parameter,
            Self::Slot => ModuleKind::Slot,
        }
    }

    /// What files call the adapted thing of a site: the module of a weight, else the parameter or slot.
    pub const fn is_module(self) -> bool {
        matches!(
            self,
            Self::Linear | Self::TransposedLinear | Self::Conv1d | Self::Embedding
        )
    }
}

impl fmt::Display for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear layer",
            Self::TransposedLinear => "linear layer with a transposed weight",
            Self::Conv1d => "one-dimensional convolution",
            Self::Embedding => "embedding",
            Self::Parameter => "parameter",
            Self::Slot => "slot",
        })
    }
}

/// Something of a model that can be adapted: a weight, another parameter, or a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Burn path: of the module, where the kind [is a module's](SiteKind::is_module) weight; of the
    /// parameter or the slot itself otherwise. In a [layout](crate::Target) by the checkpoint's names it
    /// is that name.
    pub path: String,
    /// What it is.
    pub kind: SiteKind,
    /// Its shape as Burn holds it, `[in, out]` of a linear layer; of a slot the widths of what passes.
    pub shape: Vec<usize>,
}

impl Site {
    /// The weight of a linear layer.
    pub fn linear(path: impl Into<String>, in_features: usize, out_features: usize) -> Self {
        Self {
            path: path.into(),
            kind: SiteKind::Linear,
            shape: vec![in_features, out_features],
        }
    }

    /// Width of the input, and of the output, of what is seen as a matrix: see [`matrix_shape`].
    pub fn matrix(&self) -> [usize; 2] {
        matrix_shape(self.kind, &self.shape)
    }

    /// Number of values; none in a slot.
    pub fn len(&self) -> usize {
        match self.kind {
            SiteKind::Slot => 0,
            _ => self.shape.iter().product(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of its layer: the first part of its path that is a number, as for `layers_to_transform`.
    pub fn layer(&self) -> Option<usize> {
        self.path.split('.').find_map(|part| part.parse().ok())
    }

    /// The target at this site, by the checkpoint's name `path`, trained in single precision.
    pub fn target(&self, path: String) -> Target {
        let [in_features, out_features] = self.matrix();
        Target {
            path,
            kind: self.kind,
            shape: self.shape.clone(),
            in_features,
            out_features,
            dtype: FloatDType::F32,
        }
    }
}

/// A site's values seen as a matrix `[in, out]`: a linear weight and an embedding as they are, a
/// convolution's `[out, in / groups, kernel]` as `[in / groups · kernel, out]`, any other parameter as
/// `[all but the last, last]`, a vector as one row; a slot as the width of what passes on both sides.
pub fn matrix_shape(kind: SiteKind, shape: &[usize]) -> [usize; 2] {
    match (kind, shape) {
        (SiteKind::Conv1d, [out, rest @ ..]) => [rest.iter().product(), *out],
        (SiteKind::Slot, [width, ..]) => [*width, *width],
        (_, [rest @ .., last]) => [rest.iter().product(), *last],
        (_, []) => [1, 1],
    }
}

/// A site's value, as the model holds it, seen as a matrix of [`matrix_shape`].
pub(crate) fn as_matrix<const D: usize>(kind: SiteKind, value: Tensor<D>) -> Tensor<2> {
    let shape = value.dims();
    let [inputs, outputs] = matrix_shape(kind, &shape);
    match kind {
        SiteKind::Conv1d => reshaped(value, [outputs, inputs]).transpose(),
        _ => reshaped(value, [inputs, outputs]),
    }
}

/// A tensor in another shape; as it is where it has that shape. Burn's `reshape` would copy a weight that is seen
/// transposed, and a copy of each is another model in memory.
pub(crate) fn reshaped<const D: usize, const E: usize>(
    tensor: Tensor<D>,
    shape: [usize; E],
) -> Tensor<E> {
    if tensor.dims().as_slice() != shape {
        return tensor.reshape(shape);
    }
    let same: Box<dyn Any> = Box::new(tensor);
    let same = same.downcast::<Tensor<E>>();
    *same.expect("as many dimensions, which is all that the type says")
}

/// Everything of a model that can be adapted, in the model's order: its own floating-point parameters
/// and its slots, but nothing of the adapters that it carries.
pub fn sites<M: Module>(model: &M) -> Vec<Site> {
    let mut visitor = Sites::default();
    let slots = slot::met(|| model.visit(&mut visitor));
    let mut slots = slots.into_iter();
    let fill = |mut site: Site| {
        if site.kind == SiteKind::Slot {
            site.shape = slots.next().unwrap_or_default();
        }
        site
    };
    visitor.sites.into_iter().map(fill).collect()
}

/// The weights of linear layers among the [`sites`].
pub fn linear_sites<M: Module>(model: &M) -> Vec<Site> {
    let mut all = sites(model);
    all.retain(|site| site.kind.is_linear());
    all
}

#[derive(Default)]
struct Sites {
    path: ParamPath,
    sites: Vec<Site>,
}

impl ModuleVisitor for Sites {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
        if let Some(path) = self.path.slot() {
            self.sites.push(Site {
                path,
                kind: SiteKind::Slot,
                shape: Vec::new(),
            });
        }
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.in_adapter() {
            return;
        }
        let (path, kind) = self.path.site();
        self.sites.push(Site {
            path,
            kind,
            shape: param.lazy_shape().iter().copied().collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_a_matrix_of_some_shape() {
        for (kind, shape, wanted) in [
            (SiteKind::Linear, vec![3, 5], [3, 5]),
            (SiteKind::Embedding, vec![7, 2], [7, 2]),
            (SiteKind::Conv1d, vec![6, 1, 4], [4, 6]),
            (SiteKind::Parameter, vec![9], [1, 9]),
            (SiteKind::Parameter, vec![2, 3, 4], [6, 4]),
            (SiteKind::Slot, vec![8], [8, 8]),
        ] {
            assert_eq!(matrix_shape(kind, &shape), wanted, "{kind}");
        }
    }
}
