//! In what type products are computed on the CPU.

use std::sync::atomic::{AtomicU8, Ordering};

/// In what type the factors of products of `f32` are multiplied on flex, Burn's CPU backend; sums, and all that is no
/// product, are of `f32` in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compute {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16, to nearest, ties to even: 8 bits of precision, by the processor's [units](bf16_units) for it,
    /// which may be faster. Products of up to four rows, as in generating a text, stay as they are: reading the weights bounds them.
    Bf16,
    /// As they are, but in products with a weight in blocks of the types Q4_0, Q4_1, Q8_0 and Q4_K (see `peft-blocks`): there the
    /// rows are rounded to whole numbers of 8 bits, 32 neighbours with a scale of their own, and multiplied with the codes, exactly, by
    /// the processor's [units](int8_units) for it. For generating a text; gradients are those of the numbers as they are.
    Int8,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Choose for all products of this process from now on, of all its threads: runs at the same time share the choice.
///
/// Results depend on it as they do on the processor's instructions: the same choice gives the same bits, whatever the number
/// of threads.
pub fn set_compute(compute: Compute) {
    CHOSEN.store(compute as u8, Ordering::Relaxed);
}

/// What products are computed in.
pub fn compute() -> Compute {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Compute::Bf16,
        2 => Compute::Int8,
        _ => Compute::F32,
    }
}

/// The processor's units for products in bfloat16: `AMX`, `AVX-512 BF16` or `BFMMLA`; `None` where the same products are made of
/// other instructions, which is slower than `f32`. AVX-512 BF16 is not faster than `f32` on every processor.
pub fn bf16_units() -> Option<&'static str> {
    #[cfg(feature = "flex")]
    {
        crate::backends::flex::bf16_units()
    }
    #[cfg(not(feature = "flex"))]
    None
}

/// The processor's units for products of whole numbers of 8 bits: `AVX-512 VNNI`; `None` where the same products are made of other
/// instructions, which may be slower than `f32`.
pub fn int8_units() -> Option<&'static str> {
    #[cfg(feature = "flex")]
    {
        crate::backends::flex::int8_units()
    }
    #[cfg(not(feature = "flex"))]
    None
}
