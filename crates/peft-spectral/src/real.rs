use std::{
    fmt::Debug,
    iter::Sum,
    ops::{AddAssign, MulAssign, SubAssign},
    sync::{LazyLock, Mutex, PoisonError},
};

use realfft::{FftNum, RealFftPlanner};

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
    use super::{Mutex, RealFftPlanner};

    pub trait Planned: Sized + realfft::FftNum {
        fn planner() -> &'static Mutex<RealFftPlanner<Self>>;
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
