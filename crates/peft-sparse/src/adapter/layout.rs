//! What a layer derives from its support, and keeps.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    Tensor,
    module::{Param, ParamId},
    tensor::{Device, IndexingUpdateOp, Int, TensorData},
};
use peft_core::{
    BaseLinear, Cost, add_delta,
    kernels::{RowUpdate, SparseUpdate},
};

use crate::Support;

/// The products of one layer's sparse update, and where its indices are on a device.
#[derive(Debug)]
pub struct Layout {
    pub support: Support,
    update: RowUpdate,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    cost: Cost,
    device: Mutex<Option<Arc<OnDevice>>>,
}

/// The constants of the portable products, without autodiff.
#[derive(Debug)]
struct OnDevice {
    device: Device,
    /// Flat place in the weight `[in, out]` of every value.
    whole: Tensor<1, Int>,
    /// Flat place of every value in the core `[inputs, outputs]`, the rows and columns of the weight in use.
    core: Tensor<1, Int>,
    inputs: Tensor<1, Int>,
    outputs: Tensor<1, Int>,
}

impl Layout {
    pub fn new(support: Support) -> Self {
        let [out, inner] = support.shape();
        let update = SparseUpdate::new(out, inner, support.places());
        let kept = 2 * update.inputs().len() <= inner;
        Self {
            inputs: update.inputs().to_vec(),
            outputs: update.outputs().to_vec(),
            cost: Cost {
                parameters: support.len(),
                flops_per_row: update.flops_per_row(),
                saved_per_row: if kept { update.inputs().len() } else { 0 },
            },
            update: RowUpdate::new(update),
            support,
            device: Mutex::new(None),
        }
    }

    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// `x W + b + x S` for values of `S`.
    pub fn apply(&self, x: Tensor<2>, base: &BaseLinear, values: Tensor<1>) -> Tensor<2> {
        if let Some(y) = base.forward_updated(&x, values.clone(), &self.update) {
            return y;
        }
        let pieces = self.on_device(&values.device());
        let [out, inner] = self.support.shape();
        let (q, p) = (self.inputs.len(), self.outputs.len());
        let int = |indices: &Tensor<1, Int>| lift(indices, &values);
        let core = dense([q, p], int(&pieces.core), values.clone());
        let used = match q == inner {
            true => x.clone(),
            false => x.clone().select(1, int(&pieces.inputs)),
        };
        let change = used.matmul(core);
        let y = base.forward(x);
        match p == out {
            true => y + change,
            false => y.select_assign(1, int(&pieces.outputs), change, IndexingUpdateOp::Add),
        }
    }

    /// `W + S`, `[in, out]`.
    pub fn merged(&self, weight: Tensor<2>, values: Tensor<1>) -> Tensor<2> {
        let pieces = self.on_device(&values.device());
        let [out, inner] = self.support.shape();
        let places = lift(&pieces.whole, &values);
        add_delta(weight, dense([inner, out], places, values))
    }

    fn on_device(&self, device: &Device) -> Arc<OnDevice> {
        let device = device.clone().inner();
        let mut known = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.as_ref().filter(|it| it.device == device) {
            return found.clone();
        }
        let ints = |values: Vec<i64>| {
            let length = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [length]), &device)
        };
        let flat = |inputs: &[u32], outputs: &[u32], width: usize| -> Vec<i64> {
            let among = |list: &[u32], at: u32| list.binary_search(&at).unwrap_or(at as usize);
            let place = |[output, input]: [u32; 2]| {
                (among(inputs, input) * width + among(outputs, output)) as i64
            };
            self.support.places().map(place).collect()
        };
        let wide = |list: &[u32]| ints(list.iter().map(|&at| i64::from(at)).collect());
        let new = Arc::new(OnDevice {
            whole: ints(flat(&[], &[], self.support.shape()[0])),
            core: ints(flat(&self.inputs, &self.outputs, self.outputs.len())),
            inputs: wide(&self.inputs),
            outputs: wide(&self.outputs),
            device: device.clone(),
        });
        *known = Some(new.clone());
        new
    }
}

/// Indices where `like` lives: inside autodiff or not.
fn lift(indices: &Tensor<1, Int>, like: &Tensor<1>) -> Tensor<1, Int> {
    match like.device().is_autodiff() {
        true => Tensor::from_inner(indices.clone()),
        false => indices.clone(),
    }
}

/// A matrix of values at flat places.
fn dense(shape: [usize; 2], places: Tensor<1, Int>, values: Tensor<1>) -> Tensor<2> {
    let options = (&values.device(), values.dtype());
    Tensor::<1>::zeros([shape[0] * shape[1]], options)
        .scatter(0, places, values, IndexingUpdateOp::Add)
        .reshape(shape)
}

/// The layout of the tiles that a parameter holds.
///
/// A record that is loaded into an adapter brings its own tiles, under its own identity: the layout is
/// then made anew.
#[derive(Debug, Clone)]
pub struct LayoutCell(Arc<Mutex<(ParamId, Arc<Layout>)>>);

impl LayoutCell {
    pub fn new(tiles: &Param<Tensor<1, Int>>, support: Support) -> Self {
        Self(Arc::new(Mutex::new((
            tiles.id,
            Arc::new(Layout::new(support)),
        ))))
    }

    /// The layout of tiles that stay the same as long as the parameter is, or of tiles that `move`: then
    /// they are compared with those known at every call.
    ///
    /// # Panics
    /// If the tiles are not tiles of the weight that rise.
    pub fn get(&self, tiles: &Param<Tensor<1, Int>>, moving: bool) -> Arc<Layout> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if moving || known.0 != tiles.id {
            let old = &known.1.support;
            let numbers: Vec<i64> = tiles.val().into_data().iter::<i64>().collect();
            let same = numbers
                .iter()
                .copied()
                .eq(old.tiles().iter().map(|&t| i64::from(t)));
            if !same {
                let numbers = numbers.into_iter().map(|number| number as u64);
                let support = Support::new(old.shape(), old.tile(), numbers)
                    .unwrap_or_else(|error| panic!("the tiles of a sparse adapter: {error}"));
                known.1 = Arc::new(Layout::new(support));
            }
            known.0 = tiles.id;
        }
        known.1.clone()
    }
}
