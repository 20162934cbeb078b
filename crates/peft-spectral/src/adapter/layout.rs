//! What a layer derives from its support, and keeps.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    Tensor,
    module::{Param, ParamId},
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_core::{
    BaseLinear, Cost, add_delta,
    kernels::{self, Applied, CoreEntry, FormedUpdate, HostUpdate, RowUpdate, SparseCore},
};
use serde::{Deserialize, Serialize};

use super::bases::BasisTensor;
use crate::{
    Basis, Real, Sandwich, SpectralError, Support, merge,
    plan::{self, Extent, Machine, Way},
    sandwich::{Fast, Formed},
};

/// How an update is applied to activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// The cheapest of the others for the rows of each pass, by [`plan`](crate::plan).
    #[default]
    Auto,
    /// Products with the used basis rows: the only way on a GPU, the best for supports inside a small product
    /// of rows and columns. On the CPU the core between them is a dense matrix
    /// ([`Way::FactoredDense`](crate::plan::Way)), on a GPU it is sparse.
    Factored,
    /// Fast transforms of the activations, on the CPU.
    Fast,
    /// The update formed and added to a copy of the weight once a pass, on the CPU: for more rows than
    /// the weight has. A weight in half precision takes fast transforms instead, for the update would
    /// be lost in its last bit.
    Merged,
}

impl Route {
    /// `Auto` becomes `Factored` where products with basis rows are the cheapest: the rest of its
    /// choice is made pass by pass.
    fn settled(self, extent: &Extent) -> Self {
        let ways = [Way::FactoredDense, Way::Fast];
        let cheapest = || plan::choose(&ways, extent, TYPICAL_ROWS, &Machine::CPU_CORE).way;
        match self {
            Self::Auto if cheapest() == Way::FactoredDense => Self::Factored,
            chosen => chosen,
        }
    }

    /// What it comes to on a CPU for an update of this extent, in words.
    pub(crate) fn described(self, extent: &Extent) -> String {
        match self.settled(extent) {
            Self::Factored => "products with basis rows".to_owned(),
            Self::Fast => "fast transforms".to_owned(),
            Self::Merged => "added to the weight".to_owned(),
            Self::Auto => match plan::merged_from(extent, &Machine::CPU_CORE) {
                Some(rows) => format!("fast transforms, added to the weight from {rows} tokens"),
                None => "fast transforms".to_owned(),
            },
        }
    }
}

/// Tokens a step for which products with basis rows are weighed against transforms; the choice hardly
/// depends on their number.
const TYPICAL_ROWS: usize = 1024;

/// The factorisation of one layer's update, and where its pieces are on a device.
#[derive(Debug)]
pub struct Layout {
    pub sandwich: Arc<Sandwich>,
    pub update: RowUpdate,
    pub evaluation: Route,
    gamma: f64,
    device: Mutex<Option<Arc<OnDevice>>>,
}

/// The constants of the factored way.
#[derive(Debug)]
pub struct OnDevice {
    in_rows: BasisTensor,
    out_rows: BasisTensor,
    /// `γ K`
    core: SparseCore,
}

impl Layout {
    pub fn new(sandwich: Sandwich, gamma: f64, evaluation: Route) -> Self {
        let evaluation = evaluation.settled(&Extent::from(&sandwich));
        let sandwich = Arc::new(sandwich);
        let update = RowUpdate::new(SandwichUpdate {
            sandwich: sandwich.clone(),
            gamma,
            evaluation,
        });
        Self {
            sandwich,
            update,
            evaluation,
            gamma,
            device: Mutex::new(None),
        }
    }

    /// `x W + b + ΔW x` for coefficients `a`.
    pub fn apply(&self, x: Tensor<2>, base: &BaseLinear, a: Tensor<1>) -> Tensor<2> {
        if self.is_fast()
            && let Some(y) = base.forward_updated(&x, a.clone(), &self.update)
        {
            return y;
        }
        let device = a.device();
        let pieces = self.on_device(FloatDType::from(a.dtype()), &device);
        let (right, left) = (pieces.in_rows(&device), pieces.out_rows(&device));
        if pieces.core.has_kernel() {
            let q = kernels::linear(x.clone(), right.transpose(), None);
            return base.forward_plus(x, kernels::sparse_core(q, a, &pieces.core), left);
        }
        base.forward_core(x, right.transpose(), pieces.core.dense(a), left)
    }

    /// Whether the update is worked on by fast transforms, of the activations or of itself, rather than
    /// by products with basis rows.
    pub fn is_fast(&self) -> bool {
        self.evaluation != Route::Factored
    }

    /// The way that a pass over so many rows takes on the CPU, for a weight in full precision.
    pub fn evaluation_for(&self, rows: usize) -> Route {
        match self.evaluation {
            Route::Auto if forming_pays(&self.sandwich, rows) => Route::Merged,
            Route::Auto => Route::Fast,
            chosen => chosen,
        }
    }

    /// `W + ΔW`, `[in, out]`, for coefficients `a`.
    pub fn merged(&self, weight: Tensor<2>, a: Tensor<1>) -> Tensor<2> {
        let device = a.device();
        let delta = if a.is_require_grad() || a.is_tracked() || !kernels::has_fast_body(&a) {
            let pieces = self.on_device(FloatDType::from(a.dtype()), &device);
            let right = pieces.core.dense(a).matmul(pieces.out_rows(&device));
            pieces.in_rows(&device).transpose().matmul(right)
        } else {
            // In Burn's layout the weight is `[in, out]`.
            let transposed = self.sandwich.transposed();
            let shape = [transposed.out_features(), transposed.in_features()];
            let dtype = FloatDType::from(a.dtype());
            let data = match dtype {
                FloatDType::F64 => TensorData::new(delta::<f64>(a, &transposed, self.gamma), shape),
                _ => TensorData::new(delta::<f32>(a, &transposed, self.gamma), shape),
            };
            Tensor::from_data(data, (&device, dtype.into()))
        };
        add_delta(weight, delta)
    }

    pub fn cost(&self) -> Cost {
        let core = self.sandwich.core();
        let (p, q) = (core.rows(), core.cols());
        let (inner, out) = (self.sandwich.in_features(), self.sandwich.out_features());
        let flops_per_row = if self.is_fast() {
            let basis = self.sandwich.basis();
            let transforms = basis.transform_flops(inner) + basis.transform_flops(out);
            2 * transforms as usize + 6 * core.places()
        } else {
            4 * (q * inner + p * out) + 6 * p * q
        };
        Cost {
            parameters: core.coefficients(),
            flops_per_row,
            saved_per_row: q,
        }
    }

    /// The constants of the factored way, for coefficients of a type on a device.
    fn on_device(&self, dtype: FloatDType, device: &Device) -> Arc<OnDevice> {
        let mut known = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.as_ref().filter(|it| it.in_rows.suits(dtype, device)) {
            return found.clone();
        }
        let new = Arc::new(self.make(dtype, device));
        *known = Some(new.clone());
        new
    }

    fn make(&self, dtype: FloatDType, device: &Device) -> OnDevice {
        let (sandwich, core) = (&self.sandwich, self.sandwich.core());
        let side =
            |features, rows| BasisTensor::new(sandwich.basis(), features, rows, dtype, device);
        let places = core.row_of_places().into_iter().zip(core.columns());
        let values = core.indices().iter().zip(core.signs());
        let entries: Vec<CoreEntry> = places
            .zip(values)
            .map(|((output, &input), (&value, &sign))| CoreEntry {
                output,
                input,
                value,
                negative: sign < 0,
            })
            .collect();
        let sizes = [core.rows(), core.cols(), core.coefficients()];
        OnDevice {
            in_rows: side(sandwich.in_features(), sandwich.in_rows()),
            out_rows: side(sandwich.out_features(), sandwich.out_rows()),
            core: SparseCore::new(sizes, &entries, self.gamma, dtype, device),
        }
    }
}

/// `ΔW` of coefficients that are on the CPU.
fn delta<T: Real + burn::tensor::Element>(a: Tensor<1>, sandwich: &Sandwich, gamma: f64) -> Vec<T> {
    let values: Vec<T> = a.into_data().iter::<T>().collect();
    merge::delta_weight(sandwich, &values, gamma)
}

impl OnDevice {
    /// `R`, `[q, in]`.
    pub fn in_rows(&self, device: &Device) -> Tensor<2> {
        self.in_rows.rows(device)
    }

    /// `L`, `[p, out]`.
    pub fn out_rows(&self, device: &Device) -> Tensor<2> {
        self.out_rows.rows(device)
    }
}

/// Whether the update is formed for less than a pass over so many rows transforms.
fn forming_pays(sandwich: &Sandwich, rows: usize) -> bool {
    let from = plan::merged_from(&Extent::from(sandwich), &Machine::CPU_CORE);
    from.is_some_and(|from| rows >= from)
}

/// The update on rows of the host, by fast transforms of the rows or of itself.
#[derive(Debug)]
struct SandwichUpdate {
    sandwich: Arc<Sandwich>,
    gamma: f64,
    evaluation: Route,
}

impl<T: Real> Applied<T> for SandwichUpdate {
    fn forward(&self, x: &[T], a: &[T], y: &mut [T], saved: &mut [T]) {
        Fast::new(&self.sandwich).forward(x, a, T::of(self.gamma), y, saved);
    }

    fn backward(&self, saved: &[T], dy: &[T], a: &[T], dx: Option<&mut [T]>, da: &mut [f64]) {
        Fast::new(&self.sandwich).backward(saved, dy, a, T::of(self.gamma), dx, da);
    }

    fn formed(&self) -> Option<&dyn FormedUpdate<T>> {
        match self.evaluation {
            Route::Auto | Route::Merged => Some(self),
            Route::Factored | Route::Fast => None,
        }
    }
}

impl<T: Real> FormedUpdate<T> for SandwichUpdate {
    fn pays(&self, rows: usize) -> bool {
        self.evaluation == Route::Merged || forming_pays(&self.sandwich, rows)
    }

    fn add_to(&self, a: &[T], weight: &mut [T]) {
        Formed::new(&self.sandwich).add_to(a, T::of(self.gamma), weight);
    }

    fn keep(&self, x: &[T], saved: &mut [T]) {
        Fast::new(&self.sandwich).project(x, saved);
    }
}

impl HostUpdate for SandwichUpdate {
    fn in_features(&self) -> usize {
        self.sandwich.in_features()
    }

    fn out_features(&self) -> usize {
        self.sandwich.out_features()
    }

    fn coefficients(&self) -> usize {
        self.sandwich.core().coefficients()
    }

    fn saved_per_row(&self) -> usize {
        self.sandwich.core().cols()
    }
}

/// The layout of the places that a parameter holds.
///
/// A record that is loaded into an adapter brings its own places, under its own identity: the
/// layout is then made anew.
#[derive(Debug, Clone)]
pub struct LayoutCell(Arc<Mutex<(ParamId, Arc<Layout>)>>);

impl LayoutCell {
    pub fn new(places: &Param<Tensor<2, Int>>, layout: Layout) -> Self {
        Self(Arc::new(Mutex::new((places.id, Arc::new(layout)))))
    }

    /// # Panics
    /// If the places are not distinct places of the weight's grid.
    pub fn get(&self, places: &Param<Tensor<2, Int>>) -> Arc<Layout> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != places.id {
            let old = &known.1;
            let (basis, out, inner) = (
                old.sandwich.basis(),
                old.sandwich.out_features(),
                old.sandwich.in_features(),
            );
            let values: Vec<i64> = places.val().into_data().iter::<i64>().collect();
            let sandwich = support_of(basis, [out, inner], &values)
                .and_then(|support| Sandwich::new(basis, out, inner, &support))
                .unwrap_or_else(|error| panic!("the places of a spectral adapter: {error}"));
            let new = Layout::new(sandwich, old.gamma, old.evaluation);
            *known = (places.id, Arc::new(new));
        }
        known.1.clone()
    }
}

/// The support of stored places: all rows, then all columns.
pub fn support_of(
    basis: Basis,
    [out_features, in_features]: [usize; 2],
    places: &[i64],
) -> Result<Support, SpectralError> {
    Support::new(
        basis.frequencies(out_features),
        basis.frequencies(in_features),
        entries_of(places),
    )
}

/// Entries of stored places; what does not fit 32 bits is outside any grid.
pub fn entries_of(places: &[i64]) -> Vec<[u32; 2]> {
    let (rows, cols) = places.split_at(places.len() / 2);
    let place = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    let pairs = rows.iter().zip(cols);
    pairs.map(|(&u, &v)| [place(u), place(v)]).collect()
}
