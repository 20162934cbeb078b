//! What a method may know of the loss's gradients before it makes adapters.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use burn::Tensor;
use peft_kernels::linear;

use crate::Method;

/// Over what second moments of gradients are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentScope {
    /// Batches: every weight has its own.
    Module,
    /// Batches and layers: weights of one [`layer_type`] and shape share theirs.
    LayerType,
}

/// What a [`Method`] wants of the gradients of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GradientWishes {
    /// Batches over which [`Method::init`] wants them summed; 0 if it wants none.
    pub batches: usize,
    /// Whether it wants second moments, and over what.
    pub moments: Option<MomentScope>,
    /// Whether it wants the magnitudes summed, too.
    pub magnitudes: bool,
    /// Whether it wants the squares summed, too.
    pub squares: bool,
}

impl GradientWishes {
    /// The sums over so many batches, and nothing else.
    pub fn sums(batches: usize) -> Self {
        Self {
            batches,
            ..Self::default()
        }
    }
}

/// The gradients of weights, over a few batches.
#[derive(Debug, Clone, Default)]
pub struct WeightGradients {
    /// How many batches they are of.
    pub batches: usize,
    /// Sums over the batches, `[in, out]`, by the checkpoint's names of their modules.
    pub sums: BTreeMap<String, Tensor<2>>,
    /// Sums of their magnitudes, entry by entry, by the same names, for methods that [want
    /// them](GradientWishes::magnitudes).
    pub magnitudes: BTreeMap<String, Tensor<2>>,
    /// Sums of their squares, entry by entry, for methods that [want
    /// them](GradientWishes::squares).
    pub squares: BTreeMap<String, Tensor<2>>,
    /// Second moments, by the same names, for methods that [want
    /// them](GradientWishes::moments).
    pub moments: BTreeMap<String, Arc<GradientMoments>>,
}

impl WeightGradients {
    /// Nothing yet, for [`add`](Self::add).
    pub fn new() -> Self {
        Self::default()
    }

    /// Take in the gradients of one batch, by the checkpoint's names of their modules: what `method`
    /// wants of them.
    pub fn add(
        &mut self,
        gradients: impl IntoIterator<Item = (String, Tensor<2>)>,
        method: &dyn Method,
    ) {
        let add = |sums: &mut BTreeMap<String, Tensor<2>>, path: &str, new: Tensor<2>| {
            let sum = match sums.remove(path) {
                Some(sum) => sum + new,
                None => new,
            };
            sums.insert(path.to_owned(), sum);
        };
        self.batches += 1;
        let wishes = method.gradients();
        for (path, gradient) in gradients {
            if let Some(scope) = wishes.moments {
                self.add_moments(&path, &gradient, scope);
            }
            if wishes.magnitudes {
                add(&mut self.magnitudes, &path, gradient.clone().abs());
            }
            if wishes.squares {
                let square = gradient.clone().powi_scalar(2);
                add(&mut self.squares, &path, square);
            }
            add(&mut self.sums, &path, gradient);
        }
    }

    fn add_moments(&mut self, path: &str, gradient: &Tensor<2>, scope: MomentScope) {
        let shape = gradient.dims();
        let kin = |other: &str, moments: &GradientMoments| match scope {
            MomentScope::Module => other == path,
            MomentScope::LayerType => {
                layer_type(other) == layer_type(path) && moments.shape() == shape
            }
        };
        let known = match self.moments.get(path) {
            Some(known) => Some(known.clone()),
            None => (self.moments.iter())
                .find(|(other, moments)| kin(other, moments))
                .map(|(_, moments)| moments.clone()),
        };
        let moments = known.unwrap_or_else(|| Arc::new(GradientMoments::new(gradient)));
        moments.add(gradient);
        self.moments.insert(path.to_owned(), moments);
    }
}

/// The path of a module with `*` for the numbers in it: what its fellows in other layers share.
pub fn layer_type(path: &str) -> String {
    let parts = path.split('.');
    let parts: Vec<&str> = parts
        .map(|part| match part.parse::<u64>() {
            Ok(_) => "*",
            Err(_) => part,
        })
        .collect();
    parts.join(".")
}

/// The second moments of gradients `G: [in, out]`: `Σ G Gᵀ` and `Σ Gᵀ G`, summed up as the gradients
/// come, so that no more than one is held. Their eigenvectors are the factors of the higher-order
/// singular value decomposition of the gradients stacked to a tensor.
#[derive(Debug)]
pub struct GradientMoments {
    sums: std::sync::Mutex<[Tensor<2>; 2]>,
    shape: [usize; 2],
    bases: OnceLock<Option<[Tensor<2>; 2]>>,
}

impl GradientMoments {
    /// The moments of nothing, for gradients like this one.
    pub fn new(like: &Tensor<2>) -> Self {
        let shape @ [inner, out] = like.dims();
        let options = (&like.device(), like.dtype());
        let zeros = |side| Tensor::zeros([side, side], options);
        Self {
            sums: [zeros(inner), zeros(out)].into(),
            shape,
            bases: OnceLock::new(),
        }
    }

    /// Inputs and outputs of the weights.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Take in a gradient, `[in, out]`.
    ///
    /// # Panics
    /// If it is of another shape, or [`bases`](Self::bases) have been made of the moments.
    pub fn add(&self, gradient: &Tensor<2>) {
        assert_eq!(gradient.dims(), self.shape, "gradients of one shape");
        assert!(self.bases.get().is_none(), "bases have been made already");
        let transposed = gradient.clone().transpose();
        let new = [
            linear(gradient.clone(), transposed.clone(), None),
            linear(transposed, gradient.clone(), None),
        ];
        let mut sums = self.locked();
        let [input, output] = &*sums;
        let [for_input, for_output] = new;
        *sums = [input.clone() + for_input, output.clone() + for_output];
    }

    /// `Σ G Gᵀ`, `[in, in]`.
    pub fn input(&self) -> Tensor<2> {
        self.locked()[0].clone()
    }

    /// `Σ Gᵀ G`, `[out, out]`.
    pub fn output(&self) -> Tensor<2> {
        self.locked()[1].clone()
    }

    /// What a method makes of the moments, once for all weights that share them: by convention a basis
    /// for the inputs, `[in, q]`, and one for the outputs, `[out, p]`; `None` if it can make nothing of
    /// them.
    pub fn bases(
        &self,
        make: impl FnOnce(&Self) -> Option<[Tensor<2>; 2]>,
    ) -> Option<[Tensor<2>; 2]> {
        self.bases.get_or_init(|| make(self)).clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, [Tensor<2>; 2]> {
        // Sums are replaced as a whole: a panic elsewhere leaves them as they were.
        let sums = self.sums.lock();
        sums.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn gradient(key: u64) -> Tensor<2> {
        let data = TensorData::new(peft_kernels::normal(key, 12), [3, 4]);
        Tensor::from_data(data, &Device::default())
    }

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn layers_of_a_type_share_their_moments() {
        let paths = ["layer.0.up", "layer.1.up", "layer.1.down"];
        let gather = |scope| {
            let mut all = WeightGradients::new();
            for batch in 0..2 {
                for (path, i) in paths.iter().zip(0..) {
                    let gradient = gradient(10 * batch + i);
                    all.add_moments(path, &gradient, scope);
                }
            }
            all
        };
        let shared = gather(MomentScope::LayerType);
        assert!(Arc::ptr_eq(
            &shared.moments[paths[0]],
            &shared.moments[paths[1]]
        ));
        assert!(!Arc::ptr_eq(
            &shared.moments[paths[0]],
            &shared.moments[paths[2]]
        ));
        let own = gather(MomentScope::Module);
        assert!(!Arc::ptr_eq(&own.moments[paths[0]], &own.moments[paths[1]]));
        let sum = own.moments[paths[0]].input() + own.moments[paths[1]].input();
        let together = values(shared.moments[paths[0]].input());
        for (a, b) in together.iter().zip(values(sum)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        // And by hand, for one of them.
        let [a, b] = [0, 10].map(gradient);
        let wanted =
            a.clone().transpose().matmul(a.clone()) + b.clone().transpose().matmul(b.clone());
        for (a, b) in values(own.moments[paths[0]].output())
            .iter()
            .zip(values(wanted))
        {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
