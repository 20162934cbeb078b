//! What multiplies whole numbers of 8 bits on this machine.

mod plain;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::sync::OnceLock;

use super::super::Matrix;
use super::{Rounded, SPAN, Task};

/// The instructions for such products.
#[derive(Clone, Copy)]
pub struct Units {
    /// What they are called.
    pub name: &'static str,
    /// Whether the processor has them: else the same products are made of others, which may be slower than `f32`.
    pub native: bool,
    pub(super) round: unsafe fn(Matrix<f32>) -> Rounded,
    pub(super) task: unsafe fn(&Task<'_>),
}

/// What a kind of units does with the codes of two runs, 64 numbers without a sign, and with sixteen floats.
///
/// Every method must end up inlined into a function compiled for its instructions, which the machine must have.
pub trait Unit {
    /// The codes.
    type Codes: Copy;
    /// Sixteen numbers.
    type Floats: Copy;

    /// Of each of two places the low halves of 16 bytes, then the high ones.
    ///
    /// # Safety
    /// What is pointed to must be there; so below.
    unsafe fn nibbles(from: [*const u8; 2]) -> Self::Codes;

    /// The low halves of 32 bytes, then the high ones.
    ///
    /// # Safety
    /// As above.
    unsafe fn split(from: *const u8) -> Self::Codes;

    /// Of each of two places 32 bytes with a sign, 128 more than they are.
    ///
    /// # Safety
    /// As above.
    unsafe fn bytes(from: [*const u8; 2]) -> Self::Codes;

    /// Sums of four products each: eight of the first run, then eight of the second.
    ///
    /// # Safety
    /// As above.
    unsafe fn dot(codes: Self::Codes, with: *const i8) -> Self::Floats;

    /// The two half floats that each of so many blocks, `BYTES` apart, begins with; zeros behind them.
    ///
    /// # Safety
    /// As above.
    unsafe fn halves<const BYTES: usize>(
        from: *const u8,
        count: usize,
    ) -> (Self::Floats, Self::Floats);

    /// Sixteen numbers.
    ///
    /// # Safety
    /// As above.
    unsafe fn load(from: *const f32) -> Self::Floats;

    /// The same number sixteen times.
    fn splat(value: f32) -> Self::Floats;

    /// Of sixteen numbers a pair, the first eight times and then the second.
    fn spread(of: Self::Floats, pair: usize) -> Self::Floats;

    /// `a b`
    fn times(a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// `a b + c`
    fn add_product(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// `a + b`
    fn plus(a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// The sixteen numbers.
    fn lanes(of: Self::Floats) -> [f32; SPAN];

    /// Their sum, in pairs.
    #[inline(always)]
    fn total(of: Self::Floats) -> f32 {
        let mut lanes = Self::lanes(of);
        let mut width = SPAN / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// All that this machine has, the best first.
pub fn all() -> &'static [Units] {
    static ALL: OnceLock<Vec<Units>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if vnni::is_there() {
            all.push(vnni::UNITS);
        }
        all.push(plain::UNITS);
        all
    })
}

/// The best of this machine.
pub fn best() -> Units {
    all()[0]
}
