//! The functions of each instruction set, and which set this machine has.

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Level, level};
use super::dots::{self, Task};
use super::job::run;
use super::plan::{Job, Plan};
use super::tile::{Panel, Sink, tile};
use super::{Real, Vector};

/// The functions for one instruction set.
#[derive(Clone, Copy)]
pub struct Instructions<T> {
    /// Does a job.
    pub job: unsafe fn(&Plan<'_, T>, &Job),
    /// Dot products of a few rows.
    pub dots: unsafe fn(&Task<'_, T>),
    /// Columns of a tile.
    pub width: usize,
}

/// A tile of some height and width.
pub type Tile<T> = unsafe fn(*const T, Panel<T>, &Sink<T>);

/// The least tile of at least so many rows, of those listed.
macro_rules! least_tile {
    ($rows:ident, $wide:ident: $last:literal) => {{
        debug_assert!($rows <= $last);
        least_tile!(@ $wide, $last)
    }};
    ($rows:ident, $wide:ident: $n:literal $($more:literal)+) => {
        if $rows <= $n {
            least_tile!(@ $wide, $n)
        } else {
            least_tile!($rows, $wide: $($more)+)
        }
    };
    (@ $wide:ident, $n:literal) => {
        if $wide { at::<T, $n, 2> } else { at::<T, $n, 1> }
    };
}

/// The functions of one instruction set, with the heights of its tiles.
macro_rules! instruction_set {
    ($module:ident: $vector:ident, [$($rows:literal)+] $(, $features:literal)?) => {
        pub mod $module {
            use super::*;

            type V<T> = <T as Real>::$vector;

            pub fn functions<T: Real>() -> Instructions<T> {
                Instructions {
                    job: job::<T>,
                    dots: dots::<T>,
                    width: 2 * V::<T>::LANES,
                }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn job<T: Real>(plan: &Plan<'_, T>, job: &Job) {
                // SAFETY: the caller detected the instructions.
                unsafe { run::<T, V<T>>(plan, job, select::<T>) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn dots<T: Real>(task: &Task<'_, T>) {
                // SAFETY: the caller detected the instructions.
                unsafe { dots::run::<T, V<T>>(task) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn at<T: Real, const ROWS: usize, const WIDTH: usize>(
                stage: *const T,
                panel: Panel<T>,
                sink: &Sink<T>,
            ) {
                // SAFETY: the caller's promise.
                unsafe { tile::<V<T>, ROWS, WIDTH>(stage, panel, sink) }
            }

            fn select<T: Real>(rows: usize, wide: bool) -> Tile<T> {
                least_tile!(rows, wide: $($rows)+)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
instruction_set!(avx512: Wide, [1 2 4 6 8 10 12 13 14], "avx512f,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2: Middle, [1 2 4 6], "avx2,fma");
#[cfg(not(target_arch = "aarch64"))]
instruction_set!(common: Narrow, [1 2 4 6]);
#[cfg(target_arch = "aarch64")]
instruction_set!(common: Narrow, [1 2 4 6 8 10 12 13 14]);

/// The best of this machine.
pub fn best<T: Real>() -> Instructions<T> {
    #[cfg(target_arch = "x86_64")]
    match level() {
        Level::Avx512 => return avx512::functions(),
        Level::Avx2 => return avx2::functions(),
        Level::Common => {}
    }
    common::functions()
}
