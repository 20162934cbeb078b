//! Products with a weight and a change of it that another crate applies.

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::blocks::Blocks;
use super::product::product;
use super::real::Real;
use super::view::{contiguous, elements, wrap};
use crate::{FormedUpdate, RowUpdate};

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
    let y = match formed(update, rows, w) {
        Some(update) => {
            update.keep(elements(&x), &mut saved);
            product::<T>(&x, &sum(update, w, elements(&a)), Some(bias), 1.0)
        }
        None => {
            let mut y = product::<T>(&x, w, Some(bias), 1.0);
            T::applied(update).forward(
                elements(&x),
                elements(&a),
                y.storage_mut::<T>(),
                &mut saved,
            );
            y
        }
    };
    (y, wrap(saved, Shape::new([rows, kept])))
}

/// The update as one that is added to its weight: where that pays, and where the weight is of the type
/// of the sums (most of an update is smaller than the last bit of a weight in half precision).
fn formed<'a, T: Real>(
    update: &'a RowUpdate,
    rows: usize,
    weight: &FlexTensor,
) -> Option<&'a dyn FormedUpdate<T>> {
    let update = T::applied(update).formed()?;
    let plain = weight.dtype() == T::TYPE && Blocks::of(weight).is_none();
    (plain && update.pays(rows)).then_some(update)
}

/// `w + Δ(a)`, `[in, out]`, as a view of rows of outputs: the way a checkpoint stores it.
fn sum<T: Real>(update: &dyn FormedUpdate<T>, weight: &FlexTensor, a: &[T]) -> FlexTensor {
    let mut sum = contiguous(&weight.transpose(0, 1));
    update.add_to(a, sum.storage_mut::<T>());
    sum.transpose(0, 1)
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
    let rows = dy.layout().shape()[0];
    let formed = w.and_then(|w| Some((formed::<T>(update, rows, w)?, w)));
    let mut dx = w.map(|w| {
        let sum = formed.map(|(update, w)| sum(update, w, elements(&a)));
        let weight = sum.as_ref().unwrap_or(w);
        product::<T>(&dy, &weight.transpose(0, 1), None, 1.0)
    });
    let mut da = vec![0.0; update.coefficients()];
    T::applied(update).backward(
        elements(&saved),
        elements(&dy),
        elements(&a),
        // The update is in the weight already.
        dx.as_mut()
            .filter(|_| formed.is_none())
            .map(FlexTensor::storage_mut::<T>),
        &mut da,
    );
    let da: Vec<T> = da.into_iter().map(T::of).collect();
    let shape = Shape::new([da.len()]);
    (dx, wrap(da, shape))
}
