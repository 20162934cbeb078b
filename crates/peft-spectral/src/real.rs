use std::{
    fmt::Debug,
    iter::Sum,
    ops::{AddAssign, MulAssign, SubAssign},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use realfft::{FftNum, RealFftPlanner};

use crate::transform::{Basis, Transform};

/// The element types of this crate: `f32` and `f64`.
pub trait Real:
    FftNum + Default + Debug + PartialOrd + AddAssign + SubAssign + MulAssign + Sum + sealed::Planned
{
    /// The nearest value of this type.
    fn of(value: f64) -> Self;

    /// The same value in double precision.
    fn wide(self) -> f64;
}

mod sealed {
    use super::{Arc, Mutex, RealFftPlanner, Transform};

    pub trait Planned: Sized + realfft::FftNum {
        fn planner() -> &'static Mutex<RealFftPlanner<Self>>;

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

        impl sealed::Planned for $type {
            fn planner() -> &'static Mutex<RealFftPlanner<Self>> {
                // Plans are shared by all layers of a width: a model has two or three widths and
                // hundreds of layers.
                static PLANNER: LazyLock<Mutex<RealFftPlanner<$type>>> =
                    LazyLock::new(|| Mutex::new(RealFftPlanner::new()));
                &PLANNER
            }

            fn transforms() -> &'static Mutex<Vec<Arc<Transform<$type>>>> {
                static TRANSFORMS: Mutex<Vec<Arc<Transform<$type>>>> = Mutex::new(Vec::new());
                &TRANSFORMS
            }
        }
    };
}

real!(f32);
real!(f64);

/// Runs `use_planner` on the process-wide planner of `T`.
pub(crate) fn with_planner<T: Real, R>(use_planner: impl FnOnce(&mut RealFftPlanner<T>) -> R) -> R {
    // A panic while planning leaves the planner's cache as it was: it is safe to go on with.
    use_planner(&mut T::planner().lock().unwrap_or_else(PoisonError::into_inner))
}

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
