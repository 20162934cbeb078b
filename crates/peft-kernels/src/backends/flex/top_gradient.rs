//! Gradients of which only the largest values stay.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::parallel::sum_over_rows;
use super::real::Real;
use super::view::{contiguous, elements, wrap};
use crate::TopGradient;

/// The places of the `keep` largest values, of equal ones the first.
fn largest<T: Real>(values: &[T], keep: usize, order: &mut Vec<u32>) {
    order.clear();
    order.extend(0..values.len() as u32);
    if keep < values.len() {
        let size = |&place: &u32| (values[place as usize].wide(), core::cmp::Reverse(place));
        order.select_nth_unstable_by(keep, |a, b| {
            let ((x, i), (y, j)) = (size(a), size(b));
            y.total_cmp(&x).then(j.cmp(&i))
        });
        order.truncate(keep);
    }
}

/// See [`top_gradient`](crate::top_gradient).
pub fn largest_only<T: Real>(grad: &FlexTensor, rule: TopGradient) -> FlexTensor {
    let grad = contiguous(grad);
    let source = elements::<T>(&grad);
    let width = grad.layout().shape()[1];
    let mut kept = vec![T::ZERO; source.len()];
    if source.is_empty() {
        return wrap(kept, grad.layout().shape().clone());
    }
    if rule.unified {
        let sums = sum_over_rows::<T>(source.len(), width, width, |part, sums| {
            for row in source[part].chunks(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value.magnitude();
                }
            }
        });
        let mut columns = Vec::new();
        largest(&sums, rule.keep, &mut columns);
        let rows = kept.par_chunks_mut(width).zip(source.par_chunks(width));
        rows.for_each(|(to, from)| {
            for &column in &columns {
                to[column as usize] = from[column as usize];
            }
        });
    } else {
        let rows = kept.par_chunks_mut(width).zip(source.par_chunks(width));
        rows.for_each_init(
            || (vec![T::ZERO; width], Vec::new()),
            |(sizes, columns), (to, from)| {
                for (size, value) in sizes.iter_mut().zip(from) {
                    *size = value.magnitude();
                }
                largest(sizes, rule.keep, columns);
                for &column in &*columns {
                    to[column as usize] = from[column as usize];
                }
            },
        );
    }
    wrap(kept, grad.layout().shape().clone())
}
