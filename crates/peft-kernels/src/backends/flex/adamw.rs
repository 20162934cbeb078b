//! AdamW over all trained tensors in one loop.
//!
//! Called directly and not through Burn's dispatch, whose operations take no lists of tensors.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::parallel::GRAIN;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{elements, whole};
use crate::{AdamWStep, AdamWTensor};

/// The numbers of a step for one tensor, rounded to its type.
#[derive(Clone, Copy)]
struct Factors<T> {
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    gradient: T,
    root: T,
    eps: T,
    pace: T,
    decay: T,
}

impl<T: Real> Factors<T> {
    fn new(step: &AdamWStep, rate: f64) -> Self {
        let (mean, root) = step.corrections();
        Self {
            beta1: T::of(step.beta1),
            rest1: T::of(1.0 - step.beta1),
            beta2: T::of(step.beta2),
            rest2: T::of(1.0 - step.beta2),
            gradient: T::of(step.gradient_scale),
            root: T::of(root),
            eps: T::of(step.eps),
            pace: T::of(rate / mean),
            decay: T::of(1.0 - rate * step.weight_decay),
        }
    }
}

/// A piece of a tensor. No multiplication is fused with an addition, so that all machines train
/// alike: the loop waits for memory anyway.
struct Update<'a, T> {
    value: &'a mut [T],
    mean: &'a mut [T],
    square: &'a mut [T],
    gradient: &'a [T],
    factors: Factors<T>,
}

impl<T: Real> Kernel for Update<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let f = self.factors;
        let moments = self.mean.iter_mut().zip(self.square);
        for ((w, (m, v)), &g) in self.value.iter_mut().zip(moments).zip(self.gradient) {
            let g = g * f.gradient;
            *m = *m * f.beta1 + g * f.rest1;
            *v = *v * f.beta2 + g * g * f.rest2;
            let denominator = v.root() / f.root + f.eps;
            *w = *w * f.decay - *m / denominator * f.pace;
        }
    }
}

/// One tensor's primitives.
struct Item {
    value: FlexTensor,
    mean: FlexTensor,
    square: FlexTensor,
    gradient: FlexTensor,
    rate: f64,
}

fn pieces<'a, T: Real>(
    item: &'a mut Item,
    step: &AdamWStep,
) -> impl Iterator<Item = Update<'a, T>> + use<'a, T> {
    let factors = Factors::new(step, item.rate);
    let values = item.value.storage_mut::<T>().chunks_mut(GRAIN);
    let means = item.mean.storage_mut::<T>().chunks_mut(GRAIN);
    let squares = item.square.storage_mut::<T>().chunks_mut(GRAIN);
    let gradients = elements::<T>(&item.gradient).chunks(GRAIN);
    values
        .zip(means)
        .zip(squares)
        .zip(gradients)
        .map(move |(((value, mean), square), gradient)| Update {
            value,
            mean,
            square,
            gradient,
            factors,
        })
}

fn update<T: Real>(items: &mut [Item], step: &AdamWStep) {
    let of_type = items
        .iter_mut()
        .filter(|item| item.value.dtype() == T::TYPE);
    let work: Vec<Update<'_, T>> = of_type.flat_map(|item| pieces(item, step)).collect();
    work.into_par_iter().for_each(dispatch);
}

/// See [`adamw`](crate::adamw).
pub fn adamw(tensors: Vec<AdamWTensor>, step: &AdamWStep) -> Vec<AdamWTensor> {
    let mut items: Vec<Item> = tensors
        .into_iter()
        .map(|t| Item {
            value: whole(t.value),
            mean: whole(t.mean),
            square: whole(t.square),
            gradient: whole(t.gradient),
            rate: t.rate,
        })
        .collect();
    update::<f32>(&mut items, step);
    update::<f64>(&mut items, step);
    let wrapped = Tensor::from_primitive::<Flex>;
    items
        .into_iter()
        .map(|item| AdamWTensor {
            value: wrapped(item.value),
            mean: wrapped(item.mean),
            square: wrapped(item.square),
            gradient: wrapped(item.gradient),
            rate: item.rate,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const STEP: AdamWStep = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        count: 1,
        gradient_scale: 1.0,
    };

    fn place(x: &Tensor<1>) -> *const f32 {
        elements::<f32>(&whole(x.clone())).as_ptr()
    }

    #[test]
    fn what_nothing_else_refers_to_is_written_in_place() {
        let ones = || Tensor::<1>::ones([40_000], &Device::flex());
        let tensor = AdamWTensor {
            value: ones(),
            mean: ones(),
            square: ones(),
            gradient: ones(),
            rate: 0.1,
        };
        let kept = tensor.mean.clone();
        let places = [&tensor.value, &tensor.mean, &tensor.square].map(place);
        let new = adamw(vec![tensor], &STEP).remove(0);
        let after = [&new.value, &new.mean, &new.square].map(place);
        assert_eq!(places[0], after[0]);
        assert_eq!(places[2], after[2]);
        // Someone holds the mean: it must not change under their hands.
        assert_ne!(places[1], after[1]);
        assert_eq!(place(&kept), places[1]);
        assert!(kept.into_data().iter::<f32>().all(|v| v == 1.0));
    }
}
