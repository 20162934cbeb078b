//! Reductions over a row in a fixed order that vectorises.
//!
//! Sixteen running values, each over every sixteenth element, are combined pairwise at the end; the
//! leftovers come last. The order depends on the row length alone.

use super::real::Real;

const LANES: usize = 16;

#[inline(always)]
fn pairwise<T: Real>(mut lanes: [T; LANES], combine: impl Fn(T, T) -> T) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ f(xᵢ)`.
#[inline(always)]
pub fn sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [T::ZERO; LANES];
    for block in blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            *lane += f(v);
        }
    }
    rest.iter()
        .fold(pairwise(lanes, |a, b| a + b), |s, &v| s + f(v))
}

/// `Σ f(xᵢ, yᵢ)`. The slices must be equally long.
#[inline(always)]
pub fn sum2<T: Real>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    assert_eq!(x.len(), y.len());
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let mut lanes = [T::ZERO; LANES];
    for (a, b) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    x_rest
        .iter()
        .zip(y_rest)
        .fold(pairwise(lanes, |a, b| a + b), |s, (&a, &b)| s + f(a, b))
}

/// The two sums `Σ gᵢwᵢ` and `Σ gᵢwᵢ(xᵢ − mean)` that the gradient of a normalisation needs.
#[inline(always)]
pub fn sums3<T: Real>(g: &[T], w: &[T], x: &[T], mean: T) -> (T, T) {
    assert!(g.len() == w.len() && w.len() == x.len());
    let ((gs, g_rest), (ws, w_rest), (xs, x_rest)) = (
        g.as_chunks::<LANES>(),
        w.as_chunks::<LANES>(),
        x.as_chunks::<LANES>(),
    );
    let (mut plain, mut along) = ([T::ZERO; LANES], [T::ZERO; LANES]);
    for ((a, b), c) in gs.iter().zip(ws).zip(xs) {
        for i in 0..LANES {
            let p = a[i] * b[i];
            plain[i] += p;
            along[i] += p * (c[i] - mean);
        }
    }
    let mut sums = (pairwise(plain, |a, b| a + b), pairwise(along, |a, b| a + b));
    for ((&a, &b), &c) in g_rest.iter().zip(w_rest).zip(x_rest) {
        sums.0 += a * b;
        sums.1 += a * b * (c - mean);
    }
    sums
}

/// The largest element, NaN ignored; −∞ for none.
#[inline(always)]
pub fn max<T: Real>(x: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [T::LOWEST; LANES];
    for block in blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, v);
        }
    }
    rest.iter()
        .fold(pairwise(lanes, larger), |m, &v| larger(m, v))
}
