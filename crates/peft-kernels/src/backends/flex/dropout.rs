//! Dropout; the backward pass is the same function of the gradient, for the mask follows from the
//! key.

use core::mem::MaybeUninit;

use burn_flex::FlexTensor;

use super::parallel::over_rows;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{build, contiguous, elements};
use crate::{Dropout, Keep};

struct Drop<'a, T> {
    x: &'a [T],
    y: &'a mut [MaybeUninit<T>],
    first: u64,
    rule: Keep,
    scale: T,
}

impl<T: Real> Kernel for Drop<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (i, (y, &x)) in self.y.iter_mut().zip(self.x).enumerate() {
            let factor = if self.rule.at(self.first + i as u64) {
                self.scale
            } else {
                T::ZERO
            };
            // A product and not a choice, so that NaN stays NaN as in the portable body.
            y.write(x * factor);
        }
    }
}

/// `xᵢ · scale` where the rule keeps element `i`, else `xᵢ · 0`.
pub fn dropout<T: Real>(x: &FlexTensor, dropout: Dropout) -> FlexTensor {
    let rule = Keep::new(dropout.key, dropout.probability);
    let scale = T::of(dropout.scale());
    let x = contiguous(x);
    let source = elements::<T>(&x);
    let work = |at: usize, y: &mut [MaybeUninit<T>]| {
        dispatch(Drop {
            x: &source[at..at + y.len()],
            y,
            first: at as u64,
            rule,
            scale,
        });
    };
    // SAFETY: pieces cover the output, and the kernel writes each element of a piece.
    unsafe { build(x.layout().shape().clone(), |out| over_rows(out, 1, work)) }
}
