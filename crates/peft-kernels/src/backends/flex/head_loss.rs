//! The mean negative log-likelihood of targets under a language head: logits exist for some rows at a time, and the
//! gradients are made while they do.
//!
//! The loss is linear in what its rows contribute, so that its gradient is known up to the factor that comes from above.

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::lanes::{max, sum};
use super::matmul::{Operand, Output, Start, Term, Threads, multiply};
use super::parallel::over_rows2;
use super::product::operand;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{Matrix, Target, indices, wrap};
use crate::ops::HeadPlan;

/// Bytes of logits that exist at a time.
const LOGITS: usize = 32 << 20;

/// Turns logits into the gradient to them, if that is wanted, and finds the loss of each row.
struct Rows<'a, T> {
    logits: &'a mut [T],
    losses: &'a mut [f64],
    targets: &'a [usize],
    cap: Option<T>,
    /// Factor of the gradient.
    slope: Option<T>,
    classes: usize,
}

impl<T: Real> Kernel for Rows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.logits.chunks_exact_mut(self.classes);
        for ((x, loss), &target) in rows.zip(self.losses).zip(self.targets) {
            if let Some(cap) = self.cap {
                let inverse = T::ONE / cap;
                for v in x.iter_mut() {
                    *v = cap * (*v * inverse).hyperbolic_tangent::<FMA>();
                }
            }
            let top = max(x);
            let lse = top + sum(x, |v| (v - top).exponential::<FMA>()).log();
            *loss = lse.wide() - x[target].wide();
            let Some(slope) = self.slope else {
                continue;
            };
            // Of the target by itself: 1 less, before the slope of the bound.
            let at_target = x[target];
            let inverse = self.cap.map_or(T::ZERO, |cap| T::ONE / cap);
            let bounded = |v: T| T::ONE - v * inverse * (v * inverse);
            for v in x.iter_mut() {
                *v = (*v - lse).exponential::<FMA>() * bounded(*v) * slope;
            }
            let p = (at_target - lse).exponential::<FMA>();
            x[target] = (p - T::ONE) * bounded(at_target) * slope;
        }
    }
}

/// The loss, `[1]`, and its gradients to the hidden rows, `[T, d]`, and the weight, `[d, V]`, those that are wanted.
pub fn head_loss<T: Real>(
    hidden: &FlexTensor,
    weight: &FlexTensor,
    targets: FlexTensor,
    plan: HeadPlan,
    wanted: [bool; 2],
) -> (FlexTensor, [Option<FlexTensor>; 2]) {
    let (x, w) = (Matrix::<T>::of(hidden), operand::<T>(weight));
    let (rows, d, classes) = (x.rows, x.cols, weight.layout().shape()[1]);
    let targets = indices(targets, classes, || "head_cross_entropy: target".to_owned());
    let most = (LOGITS / (classes * size_of::<T>())).max(1);
    let run = rows.div_ceil(rows.div_ceil(most));
    let mut logits = vec![T::ZERO; run * classes];
    let mut losses = vec![0.0; rows];
    let mut to_hidden = wanted[0].then(|| vec![T::ZERO; rows * d]);
    let mut to_weight = wanted[1].then(|| vec![T::ZERO; d * classes]);
    let (cap, scale) = (plan.softcap.map(T::of), T::of(plan.scale));
    let slope = (wanted[0] || wanted[1]).then(|| T::of(plan.scale / rows as f64));
    let output = |to: *mut T, rows: usize, cols: usize| Output {
        to: Target(to),
        rows,
        cols,
        row_stride: cols as isize,
        col_stride: 1,
    };

    for from in (0..rows).step_by(run) {
        let to = rows.min(from + run);
        let count = to - from;
        let part = x.part(from..to, 0..d);
        let logits = &mut logits[..count * classes];
        let term = Term {
            a: part,
            b: w,
            scale,
        };
        let out = output(logits.as_mut_ptr(), count, classes);
        // SAFETY: the scratch holds the logits of these rows; the operands are views of live tensors, whose shapes the
        // caller checked.
        unsafe { multiply(out, Start::Zero, &[term], Threads::Pool) };
        let work = |row: usize, logits: &mut [T], losses: &mut [f64]| {
            let targets = &targets[from + row..][..losses.len()];
            dispatch(Rows {
                logits,
                losses,
                targets,
                cap,
                slope,
                classes,
            });
        };
        over_rows2((logits, classes), (&mut losses[from..to], 1), work);
        let slopes = Matrix {
            start: logits.as_ptr(),
            rows: count,
            cols: classes,
            row_stride: classes as isize,
            col_stride: 1,
        };
        if let Some(to_hidden) = &mut to_hidden {
            let term = Term {
                a: slopes,
                b: w.transposed(),
                scale: T::ONE,
            };
            let out = output(to_hidden[from * d..to * d].as_mut_ptr(), count, d);
            // SAFETY: the rows of this part, which no operand shares.
            unsafe { multiply(out, Start::Zero, &[term], Threads::Pool) };
        }
        if let Some(to_weight) = &mut to_weight {
            let term = Term {
                a: part.transposed(),
                b: Operand::Same(slopes),
                scale: T::ONE,
            };
            let out = output(to_weight.as_mut_ptr(), d, classes);
            // SAFETY: as large as the weight, and zeroed before the first part.
            unsafe { multiply(out, Start::Output, &[term], Threads::Pool) };
        }
    }
    let mean = T::of(losses.iter().sum::<f64>() / rows as f64);
    (
        wrap(vec![mean], Shape::new([1])),
        [
            to_hidden.map(|data| wrap(data, Shape::new([rows, d]))),
            to_weight.map(|data| wrap(data, Shape::new([d, classes]))),
        ],
    )
}
