//! Products with a weight and a change of it that another crate applies.

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::product::product;
use super::real::Real;
use super::view::{contiguous, elements, wrap};
use crate::RowUpdate;

/// `x · w + bias + Δ(x; a)`, and what the update keeps of `x`.
pub fn updated_product<T: Real>(
    x: &FlexTensor,
    w: &FlexTensor,
    bias: &FlexTensor,
    a: &FlexTensor,
    update: &RowUpdate,
) -> (FlexTensor, FlexTensor) {
    let (x, a) = (contiguous(x), contiguous(a));
    let rows = x.layout().shape()[0];
    let kept = update.saved_per_row();
    let mut saved = vec![T::ZERO; rows * kept];
    let mut y = product::<T>(&x, w, Some(bias), 1.0);
    T::applied(update).forward(elements(&x), elements(&a), y.storage_mut::<T>(), &mut saved);
    (y, wrap(saved, Shape::new([rows, kept])))
}

/// `dx = dy · wᵀ + Δᵀ(dy; a)`, if `w` is given, and `da`.
pub fn updated_product_grads<T: Real>(
    saved: &FlexTensor,
    dy: &FlexTensor,
    w: Option<&FlexTensor>,
    a: &FlexTensor,
    update: &RowUpdate,
) -> (Option<FlexTensor>, FlexTensor) {
    let (saved, dy, a) = (contiguous(saved), contiguous(dy), contiguous(a));
    let mut dx = w.map(|w| product::<T>(&dy, &w.transpose(0, 1), None, 1.0));
    let mut da = vec![0.0; update.coefficients()];
    T::applied(update).backward(
        elements(&saved),
        elements(&dy),
        elements(&a),
        dx.as_mut().map(FlexTensor::storage_mut::<T>),
        &mut da,
    );
    let da: Vec<T> = da.into_iter().map(T::of).collect();
    let shape = Shape::new([da.len()]);
    (dx, wrap(da, shape))
}
