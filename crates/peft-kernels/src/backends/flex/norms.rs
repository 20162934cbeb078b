//! The norms of many tensors, read in one loop.

use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::parallel::GRAIN;
use super::real::Real;
use super::simd::{Kernel, dispatch};
use super::view::{elements, whole};

/// `Σ xᵢ²` in double precision, in an order that depends on the length alone.
struct Squares<'a, T> {
    x: &'a [T],
    sum: &'a mut f64,
}

impl<T: Real> Kernel for Squares<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (blocks, rest) = self.x.as_chunks::<16>();
        let mut lanes = [0.0; 16];
        for block in blocks {
            for (lane, v) in lanes.iter_mut().zip(block) {
                *lane += v.wide() * v.wide();
            }
        }
        let rest: f64 = rest.iter().map(|v| v.wide() * v.wide()).sum();
        *self.sum = lanes.iter().sum::<f64>() + rest;
    }
}

fn squares<T: Real>(x: &[T]) -> f64 {
    let mut sum = 0.0;
    dispatch(Squares { x, sum: &mut sum });
    sum
}

/// A piece of one of the tensors.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

/// See [`norms`](crate::norms).
pub fn norms(tensors: &[Tensor<1>]) -> Vec<f64> {
    let all: Vec<FlexTensor> = tensors
        .iter()
        .map(|x| whole(x.clone().without_autodiff()))
        .collect();
    let pieces: Vec<(usize, Piece<'_>)> = all
        .iter()
        .enumerate()
        .flat_map(|(place, x)| -> Vec<(usize, Piece<'_>)> {
            match x.dtype() {
                DType::F32 => {
                    let pieces = elements::<f32>(x).chunks(GRAIN);
                    pieces.map(|p| (place, Piece::Single(p))).collect()
                }
                _ => {
                    let pieces = elements::<f64>(x).chunks(GRAIN);
                    pieces.map(|p| (place, Piece::Double(p))).collect()
                }
            }
        })
        .collect();
    let sums: Vec<f64> = pieces
        .par_iter()
        .map(|(_, piece)| match piece {
            Piece::Single(x) => squares(x),
            Piece::Double(x) => squares(x),
        })
        .collect();
    let mut totals = vec![0.0; all.len()];
    for ((place, _), sum) in pieces.iter().zip(sums) {
        totals[*place] += sum;
    }
    totals.into_iter().map(f64::sqrt).collect()
}
