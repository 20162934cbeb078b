use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::TensorData,
};
use peft_core::{AdapterContext, BaseLinear, Cost, WeightAdapter};

use super::layout::{Layout, Route};
use crate::{Basis, Sandwich, Support};

/// LoCA's adapter: `n` coefficients of the orthonormal DCT-II whose places are trained, too.
///
/// ```text
/// ΔW = γ · C_outᵀ S C_in     S[u_l, v_l] += a_l     u = round(l₀ (M − 1)), v = round(l₁ (N − 1))
/// ```
///
/// The update does not change while a place stays in its cell; its gradient is taken to be the central
/// difference `∂/∂u ≈ a/2 · (K[u+1, v] − K[u−1, v])` of the spectrum `K` of the weight's gradient,
/// clamped at the borders (2502.06820). Only the entries beside the places are computed, not `K`. A share
/// outside of `[0, 1]` stands for the border and has no gradient.
///
/// The authors' code stops shares at 0.999, so that the last frequencies of an axis of more than 500 are
/// never reached, and differences at magnitude 1; this does neither.
#[derive(Module, Debug)]
pub struct Loca {
    /// Trained values `a`, `[n]`.
    pub coefficients: Param<Tensor<1>>,
    /// Trained places as shares of the axes, `[2, n]`: output frequencies, then input frequencies.
    pub locations: Param<Tensor<2>>,
    /// Outputs and inputs of the weight.
    #[module(skip)]
    pub shape: [usize; 2],
    /// The factor `γ`.
    #[module(skip)]
    pub gamma: f64,
    /// How the update is applied.
    #[module(skip)]
    pub evaluation: Route,
    /// Whether the places are trained.
    #[module(skip)]
    pub train_locations: bool,
    #[module(skip)]
    layout: Cached,
}

/// The layout of the places that were seen last.
#[derive(Debug, Clone, Default)]
struct Cached(Arc<Mutex<Option<Known>>>);

#[derive(Debug)]
struct Known {
    entries: Vec<[u32; 2]>,
    layout: Arc<Layout>,
}

impl Loca {
    /// An adapter with its places trained, or fixed.
    ///
    /// # Panics
    /// If the places are not `[2, n]` for `n` coefficients.
    pub fn new(
        coefficients: Tensor<1>,
        locations: Tensor<2>,
        shape: [usize; 2],
        gamma: f64,
        evaluation: Route,
        train_locations: bool,
    ) -> Self {
        let [n] = coefficients.dims();
        assert_eq!(locations.dims(), [2, n], "a place for every coefficient");
        Self {
            coefficients: Param::from_tensor(coefficients),
            locations: Param::from_tensor(locations).set_require_grad(train_locations),
            shape,
            gamma,
            evaluation,
            train_locations,
            layout: Cached::default(),
        }
    }

    /// Where the coefficients are: `[output frequency, input frequency]`.
    pub fn places(&self) -> Vec<[u32; 2]> {
        let values: Vec<f64> = self.locations.val().into_data().iter::<f64>().collect();
        places(&values, self.shape)
    }

    /// The layout and the values of its entries.
    ///
    /// While the places are trained, every coefficient has four more entries around its own, of value
    /// zero, whose derivatives by the place are the two sides of its central differences. A pass of training
    /// that keeps nothing for gradients has them, too, for it must come to the same bits.
    fn entries(&self, training: bool) -> (Arc<Layout>, Tensor<1>) {
        let a = self.coefficients.val();
        let at = self.locations.val();
        let own = self.places();
        // By whether gradients are taken, not by the flag: inference needs no neighbours.
        if !(at.is_require_grad() || training && self.train_locations) {
            return (self.layout.get(own, self), a);
        }
        let [n] = a.dims();
        let [rows, cols] = self.shape.map(|side| side as u32);
        let beside = |change: fn([u32; 2], [u32; 2]) -> [u32; 2]| -> Vec<[u32; 2]> {
            let last = [rows - 1, cols - 1];
            own.iter().map(|&place| change(place, last)).collect()
        };
        let entries: Vec<[u32; 2]> = (own.iter().copied())
            .chain(beside(|[u, v], [last, _]| [(u + 1).min(last), v]))
            .chain(beside(|[u, v], _| [u.saturating_sub(1), v]))
            .chain(beside(|[u, v], [_, last]| [u, (v + 1).min(last)]))
            .chain(beside(|[u, v], _| [u, v.saturating_sub(1)]))
            .collect();
        // Zero in value: what it adds is the derivative by the place, none outside of the grid.
        let inside = at.clamp(0.0, 1.0);
        let moved = inside.clone() - inside.detach();
        let half = a.clone().detach().mul_scalar(0.5);
        let side = |axis: usize| {
            let steps = (self.shape[axis] - 1) as f64;
            let line = moved.clone().slice([axis..axis + 1, 0..n]).reshape([n]);
            line.mul_scalar(steps) * half.clone()
        };
        let [along_u, along_v] = [side(0), side(1)];
        let values = Tensor::cat(
            vec![
                a,
                along_u.clone(),
                along_u.neg(),
                along_v.clone(),
                along_v.neg(),
            ],
            0,
        );
        (self.layout.get(entries, self), values)
    }
}

/// The grid entries of shares of the axes.
pub(crate) fn places(shares: &[f64], shape: [usize; 2]) -> Vec<[u32; 2]> {
    let (rows, cols) = shares.split_at(shares.len() / 2);
    let place =
        |share: f64, side: usize| (share.clamp(0.0, 1.0) * (side - 1) as f64).round() as u32;
    let pairs = rows.iter().zip(cols);
    pairs
        .map(|(&u, &v)| [place(u, shape[0]), place(v, shape[1])])
        .collect()
}

impl Cached {
    fn get(&self, entries: Vec<[u32; 2]>, adapter: &Loca) -> Arc<Layout> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.entries == entries) {
            return known.layout.clone();
        }
        let [out, inner] = adapter.shape;
        let sandwich = Support::with_repeats(out, inner, entries.clone())
            .and_then(|support| Sandwich::new(Basis::Dct, out, inner, &support))
            .unwrap_or_else(|error| unreachable!("clamped to the grid: {error}"));
        let layout = Arc::new(Layout::new(sandwich, adapter.gamma, adapter.evaluation));
        *known = Some(Known {
            entries,
            layout: layout.clone(),
        });
        layout
    }
}

impl WeightAdapter for Loca {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        let (layout, values) = self.entries(context.is_training());
        layout.apply(x, base, values)
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let (layout, values) = self.entries(false);
        layout.merged(weight, values)
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        let (layout, _) = self.entries(false);
        let n = self.coefficients.lazy_shape()[0];
        let trained = if self.train_locations { 3 } else { 1 };
        Cost {
            parameters: trained * n,
            ..layout.cost()
        }
    }

    fn learning_rate_factor(&self, field: &str) -> f64 {
        match field {
            "coefficients" => 1.0 / self.gamma.abs(),
            _ => 1.0,
        }
    }
}

/// Shares of the axes that stand for grid entries.
pub(crate) fn shares(entries: &[[u32; 2]], shape: [usize; 2]) -> TensorData {
    let share = |place: u32, side: usize| f64::from(place) / (side.max(2) - 1) as f64;
    let line = |axis: usize| {
        entries
            .iter()
            .map(move |entry| share(entry[axis], shape[axis]))
    };
    let values: Vec<f64> = line(0).chain(line(1)).collect();
    TensorData::new(values, [2, entries.len()])
}
