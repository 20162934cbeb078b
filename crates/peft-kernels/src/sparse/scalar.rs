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

/// `Σ aᵢ bᵢ`, in an order that vectorises and depends on nothing but the length.
#[inline(always)]
pub(super) fn dot<T: Scalar, const L: usize>(a: [T; L], b: [T; L]) -> T {
    const EIGHT: usize = 8;
    if L < EIGHT || !L.is_multiple_of(EIGHT) {
        let mut sum = T::default();
        for i in 0..L {
            sum += a[i] * b[i];
        }
        return sum;
    }
    let mut eight = [T::default(); EIGHT];
    for block in 0..L / EIGHT {
        for i in 0..EIGHT {
            eight[i] += a[block * EIGHT + i] * b[block * EIGHT + i];
        }
    }
    let mut four = [T::default(); 4];
    for i in 0..4 {
        four[i] = eight[i] + eight[i + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}
