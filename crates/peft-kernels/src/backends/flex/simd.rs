//! One binary, the widest vectors of the machine it runs on.

/// A piece of work whose body the compiler vectorises for each instruction set.
///
/// `run` must be `#[inline(always)]`: it is compiled anew inside each of the wrappers below, with
/// their instructions.
pub trait Kernel {
    /// Works. `FMA` says whether a fused multiply-add is one instruction; without it `mul_add`
    /// would be a library call.
    fn run<const FMA: bool>(self);
}

/// Runs a kernel with AVX-512, with AVX2, or with what every machine of the architecture has.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the features were detected just above; AVX-512 machines have FMA.
            return unsafe { avx512(kernel) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { avx2(kernel) };
        }
    }
    // Every 64-bit ARM has FMA.
    #[cfg(target_arch = "aarch64")]
    kernel.run::<true>();
    #[cfg(not(target_arch = "aarch64"))]
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
