#![warn(missing_docs)]
//! One binary, the widest vectors of the machine it runs on.
//!
//! Code is written once, over slices and arrays, and compiled for each instruction set; which of them
//! runs is decided by what the processor has.
//!
//! ```
//! struct Scale<'a>(&'a mut [f32], f32);
//!
//! impl peft_simd::Kernel for Scale<'_> {
//!     #[inline(always)]
//!     fn run<const FMA: bool>(self) {
//!         for x in self.0 {
//!             *x *= self.1;
//!         }
//!     }
//! }
//!
//! let mut values = [1.0, 2.0, 3.0];
//! peft_simd::dispatch(Scale(&mut values, 2.0));
//! assert_eq!(values, [2.0, 4.0, 6.0]);
//! ```

/// A piece of work whose body the compiler vectorises for each instruction set.
///
/// `run` must be `#[inline(always)]`: it is compiled anew inside each of the wrappers below, with
/// their instructions.
pub trait Kernel {
    /// Works. `FMA` says whether a fused multiply-add is one instruction; without it `mul_add`
    /// would be a library call.
    fn run<const FMA: bool>(self);
}

/// Instruction sets with code of their own.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// AVX-512 and what comes with it, fused multiply-add among it.
    Avx512,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// What every machine of the architecture has.
    Common,
}

/// The best of this machine. The answer is cached by the standard library.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn level() -> Level {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        return Level::Avx512;
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return Level::Avx2;
    }
    Level::Common
}

/// What decides about the last digits of sums on this machine: its architecture and, where there is a choice,
/// the instructions that are used.
pub fn instructions() -> String {
    let architecture = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    return match level() {
        Level::Avx512 => format!("{architecture} with AVX-512"),
        Level::Avx2 => format!("{architecture} with AVX2"),
        Level::Common => architecture.to_owned(),
    };
    #[cfg(not(target_arch = "x86_64"))]
    architecture.to_owned()
}

/// Runs a kernel with the widest vectors of the machine.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the instructions were detected.
        Level::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        Level::Avx2 => unsafe { avx2(kernel) },
        Level::Common => kernel.run::<false>(),
    }
    // Every 64-bit ARM has FMA.
    #[cfg(target_arch = "aarch64")]
    kernel.run::<true>();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    kernel.run::<false>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) {
    kernel.run::<true>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) {
    kernel.run::<true>();
}
