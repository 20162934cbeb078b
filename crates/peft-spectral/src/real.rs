use std::{
    fmt::Debug,
    iter::Sum,
    ops::{AddAssign, MulAssign, SubAssign},
    sync::{Arc, Mutex, PoisonError},
};

use peft_core::kernels::Scalar;
use peft_fft::Planned;

use crate::transform::{Basis, Transform};

/// The element types of this crate: `f32` and `f64`.
pub trait Real:
    Planned
    + Scalar
    + Default
    + Debug
    + PartialOrd
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + sealed::Shared
{
    /// The nearest value of this type.
    fn of(value: f64) -> Self;

    /// This value in double precision, exactly.
    fn wide(self) -> f64;
}

mod sealed {
    use super::{Arc, Mutex, Transform};

    pub trait Shared: Sized {
        fn transforms() -> &'static Mutex<Vec<Arc<Transform<Self>>>>;
    }
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $type
            }

            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }
        }

        impl sealed::Shared for $type {
            fn transforms() -> &'static Mutex<Vec<Arc<Transform<$type>>>> {
                static TRANSFORMS: Mutex<Vec<Arc<Transform<$type>>>> = Mutex::new(Vec::new());
                &TRANSFORMS
            }
        }
    };
}

real!(f32);
real!(f64);

/// The transform of an axis, shared by all layers of the process: a model has a few widths, and a
/// step asks for each of them hundreds of times.
pub(crate) fn shared_transform<T: Real>(basis: Basis, features: usize) -> Arc<Transform<T>> {
    let mut known = T::transforms()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known
        .iter()
        .find(|t| t.basis() == basis && t.features() == features)
    {
        return found.clone();
    }
    let new = Arc::new(Transform::new(basis, features));
    known.push(new.clone());
    new
}
