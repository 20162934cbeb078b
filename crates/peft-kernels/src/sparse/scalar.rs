use core::{
    fmt::Debug,
    ops::{Add, AddAssign, Mul},
};

/// What sparse products are made of: `f32` and `f64`.
pub trait Scalar:
    Copy
    + Default
    + Debug
    + Send
    + Sync
    + Add<Output = Self>
    + Mul<Output = Self>
    + AddAssign
    + Into<f64>
    + 'static
{
    /// `self · b + c`, fused where that is one instruction.
    #[must_use]
    fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self;
}

macro_rules! scalar {
    ($type:ty) => {
        impl Scalar for $type {
            #[inline(always)]
            fn fma<const FMA: bool>(self, b: Self, c: Self) -> Self {
                if FMA {
                    self.mul_add(b, c)
                } else {
                    self * b + c
                }
            }
        }
    };
}

scalar!(f32);
scalar!(f64);

/// The sum of some values, added pairwise: an order that vectorises and does not depend on anything.
#[inline(always)]
pub(super) fn pairwise<T: Scalar, const L: usize>(mut lanes: [T; L]) -> T {
    let mut width = L;
    while width > 1 {
        let half = width.div_ceil(2);
        for i in 0..width - half {
            lanes[i] = lanes[i] + lanes[i + half];
        }
        width = half;
    }
    lanes[0]
}
