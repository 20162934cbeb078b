//! Basis rows on a device, one copy for all layers that use them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::{
    Tensor,
    tensor::{Device, FloatDType, Int, TensorData},
};

use crate::{Basis, transform::BasisRows};

/// Rows of a basis, `[rows, features]`.
#[derive(Debug)]
struct Shared {
    basis: Basis,
    features: usize,
    /// Which rows; all of them, if none are named.
    rows: Option<Vec<u32>>,
    dtype: FloatDType,
    device: Device,
    tensor: Tensor<2>,
}

/// Rows of a basis for one side of a layer.
#[derive(Debug)]
pub struct BasisTensor {
    shared: Arc<Shared>,
    /// The rows to take of the whole basis, where it holds more.
    select: Option<Tensor<1, Int>>,
}

/// What is alive. Weak, so that memory of a device goes with the last layer that uses it.
static KNOWN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl BasisTensor {
    /// The rows `rows` of the basis of an axis of `features`.
    ///
    /// Few rows are made on their own; many are taken, at every use, out of the whole basis, of which
    /// all layers of this width share one copy.
    pub fn new(
        basis: Basis,
        features: usize,
        rows: &[u32],
        dtype: FloatDType,
        device: &Device,
    ) -> Self {
        let device = device.clone().inner();
        let width = basis.width(features);
        let few = 4 * rows.len() <= width;
        let all = rows.len() == width;
        let shared = shared(basis, features, few.then_some(rows), dtype, &device);
        let select = (!few && !all).then(|| {
            let places: Vec<i64> = rows.iter().map(|&row| i64::from(row)).collect();
            Tensor::from_data(TensorData::new(places, [rows.len()]), &device)
        });
        Self { shared, select }
    }

    /// Whether these rows are of this type and on this device.
    pub fn suits(&self, dtype: FloatDType, device: &Device) -> bool {
        self.shared.dtype == dtype && self.shared.device == device.clone().inner()
    }

    /// The rows, `[rows, features]`; tracked by autodiff where `device` is.
    pub fn rows(&self, device: &Device) -> Tensor<2> {
        let whole = self.shared.tensor.clone();
        let rows = match &self.select {
            Some(places) => whole.select(0, places.clone()),
            None => whole,
        };
        lift(rows, device)
    }
}

/// A constant where `device` lives: inside autodiff or not.
pub fn lift<const D: usize>(x: Tensor<D>, device: &Device) -> Tensor<D> {
    if device.is_autodiff() {
        Tensor::from_inner(x)
    } else {
        x
    }
}

fn shared(
    basis: Basis,
    features: usize,
    rows: Option<&[u32]>,
    dtype: FloatDType,
    device: &Device,
) -> Arc<Shared> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|entry| entry.strong_count() > 0);
    let same = |entry: &Arc<Shared>| {
        (entry.basis, entry.features, entry.dtype) == (basis, features, dtype)
            && entry.rows.as_deref() == rows
            && entry.device == *device
    };
    if let Some(found) = known.iter().filter_map(Weak::upgrade).find(same) {
        return found;
    }
    let all: Vec<u32>;
    let wanted = match rows {
        Some(rows) => rows,
        None => {
            all = (0..basis.width(features) as u32).collect();
            &all
        }
    };
    let values: Vec<f64> = BasisRows::new(basis, features).matrix(wanted);
    let data = TensorData::new(values, [wanted.len(), features]).convert_dtype(dtype.into());
    let new = Arc::new(Shared {
        basis,
        features,
        rows: rows.map(<[u32]>::to_vec),
        dtype,
        device: device.clone(),
        tensor: Tensor::from_data(data, (device, dtype.into())),
    });
    known.push(Arc::downgrade(&new));
    new
}
