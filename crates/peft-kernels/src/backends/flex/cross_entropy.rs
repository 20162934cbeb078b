//! Cross entropy: one pass over the logits forward, one back, and only a number for each row kept.

use core::mem::MaybeUninit;

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::lanes::{max, sum};
use super::parallel::{over_rows, over_rows_of};
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements, indices, wrap};

/// Log-sum-exp of each row.
struct LogSumExp<'a, T> {
    x: &'a [T],
    lse: &'a mut [T],
    classes: usize,
}

impl<T: Real> Kernel for LogSumExp<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (x, lse) in self.x.chunks_exact(self.classes).zip(self.lse) {
            let top = max(x);
            *lse = top + sum(x, |v| (v - top).exponential::<FMA>()).log();
        }
    }
}

struct Softmax<'a, T> {
    x: &'a [T],
    lse: &'a [T],
    targets: &'a [usize],
    factor: T,
    dx: &'a mut [MaybeUninit<T>],
    classes: usize,
}

impl<T: Real> Kernel for Softmax<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self
            .x
            .chunks_exact(self.classes)
            .zip(self.dx.chunks_exact_mut(self.classes));
        for (((x, dx), &lse), &target) in rows.zip(self.lse).zip(self.targets) {
            for (d, &v) in dx.iter_mut().zip(x) {
                d.write((v - lse).exponential::<FMA>() * self.factor);
            }
            dx[target].write(((x[target] - lse).exponential::<FMA>() - T::ONE) * self.factor);
        }
    }
}

fn classes_of(targets: FlexTensor, classes: usize) -> Vec<usize> {
    indices(targets, classes, || "cross_entropy: target".to_owned())
}

/// The loss, `[1]`, and the log-sum-exp of each row.
pub fn cross_entropy<T: Real>(
    logits: &FlexTensor,
    targets: FlexTensor,
) -> (FlexTensor, FlexTensor) {
    let logits = contiguous(logits);
    let (x, classes) = (elements::<T>(&logits), logits.layout().shape()[1]);
    let targets = classes_of(targets, classes);
    let mut lse = vec![T::ZERO; targets.len()];
    let rows_of = |row: usize, lse: &mut [T]| {
        dispatch(LogSumExp {
            x: &x[row * classes..(row + lse.len()) * classes],
            lse,
            classes,
        });
    };
    over_rows_of(&mut lse, classes, rows_of);
    let losses = targets.iter().zip(&lse).enumerate();
    let total: f64 = losses
        .map(|(i, (&t, &l))| l.wide() - x[i * classes + t].wide())
        .sum();
    let mean = T::of(total / targets.len() as f64);
    let rows = targets.len();
    (
        wrap(vec![mean], Shape::new([1])),
        wrap(lse, Shape::new([rows])),
    )
}

/// `(softmax − one-hot) · grad / rows`.
pub fn cross_entropy_grad<T: Real>(
    logits: &FlexTensor,
    targets: FlexTensor,
    lse: &FlexTensor,
    grad: &FlexTensor,
) -> FlexTensor {
    let (logits, grad) = (contiguous(logits), contiguous(grad));
    let (x, lse, classes) = (
        elements::<T>(&logits),
        elements::<T>(lse),
        logits.layout().shape()[1],
    );
    let targets = classes_of(targets, classes);
    let factor = elements::<T>(&grad)[0] / T::of(targets.len() as f64);
    let work = |row: usize, dx: &mut [MaybeUninit<T>]| {
        let rows = row..row + dx.len() / classes;
        let x = &x[row * classes..row * classes + dx.len()];
        dispatch(Softmax {
            x,
            lse: &lse[rows.clone()],
            targets: &targets[rows],
            factor,
            dx,
            classes,
        });
    };
    // SAFETY: pieces cover the output in whole rows, and the kernel writes every row of a piece.
    unsafe {
        build(logits.layout().shape().clone(), |out| {
            over_rows(out, classes, work)
        })
    }
}
