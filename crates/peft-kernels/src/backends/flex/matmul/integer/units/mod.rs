//! What multiplies whole numbers of 8 bits on this machine.

mod plain;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::sync::OnceLock;

use super::super::Matrix;
use super::kinds::Layout;
use super::{GROUP, Rounded, Task};

/// The instructions for such products.
#[derive(Clone, Copy)]
pub struct Units {
    /// What they are called.
    pub name: &'static str,
    /// Whether the processor has them: else the same products are made of others, which may be slower than `f32`.
    pub native: bool,
    pub(super) round: unsafe fn(Matrix<f32>, Layout) -> Rounded,
    pub(super) task: unsafe fn(&Task<'_>),
}

/// Sixteen numbers are sums of products.
pub const LANES: usize = 16;

/// Which of the four scales among eight numbers, that are at even places, each of [`LANES`] lanes takes.
pub struct Spread;

impl Spread {
    /// Each for four lanes.
    pub const FOURS: usize = 0;
    /// The first and the second, for eight lanes each.
    pub const FIRST: usize = 1;
    /// The third and the fourth.
    pub const SECOND: usize = 2;
    /// The first and the third.
    pub const EVEN: usize = 3;
    /// The second and the fourth.
    pub const ODD: usize = 4;

    /// The places of the scales.
    pub const PLACES: [[i32; LANES]; 5] = [
        [0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6],
        [0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2],
        [4, 4, 4, 4, 4, 4, 4, 4, 6, 6, 6, 6, 6, 6, 6, 6],
        [0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4],
        [2, 2, 2, 2, 2, 2, 2, 2, 6, 6, 6, 6, 6, 6, 6, 6],
    ];
}

/// What a kind of units does with codes, 64 numbers without a sign, with sixteen floats, and with four pairs of them: a scale and a
/// least value each.
///
/// Every method must end up inlined into a function compiled for its instructions, which the machine must have.
pub trait Unit {
    /// The codes.
    type Codes: Copy;
    /// Sixteen numbers.
    type Floats: Copy;
    /// Four pairs of numbers.
    type Pairs: Copy;
    /// Sixteen zeros.
    const ZERO: Self::Floats;
    /// Pairs of zeros.
    const NO_PAIRS: Self::Pairs;

    /// So many blocks of Q4_0, of four: their pairs, the low halves of all bytes, and the high ones.
    ///
    /// # Safety
    /// What is pointed to must be there; so below.
    unsafe fn q4_0(from: *const u8, count: usize) -> (Self::Pairs, [Self::Codes; 2]);

    /// The same of Q4_1.
    ///
    /// # Safety
    /// As above.
    unsafe fn q4_1(from: *const u8, count: usize) -> (Self::Pairs, [Self::Codes; 2]);

    /// So many blocks of Q8_0, of four: their pairs, and bytes of two blocks each, 128 more than they are.
    ///
    /// # Safety
    /// As above.
    unsafe fn q8_0(from: *const u8, count: usize) -> (Self::Pairs, [Self::Codes; 2]);

    /// The low halves of 64 bytes, and the high ones.
    ///
    /// # Safety
    /// As above.
    unsafe fn split(from: *const u8) -> [Self::Codes; 2];

    /// Sums of four products each.
    ///
    /// # Safety
    /// As above.
    unsafe fn dot(codes: Self::Codes, with: *const i8) -> Self::Floats;

    /// Sums of four products of the first codes and as many of the second.
    ///
    /// # Safety
    /// As above.
    unsafe fn dot_both(codes: [Self::Codes; 2], with: *const i8) -> Self::Floats;

    /// Four pairs.
    ///
    /// # Safety
    /// As above.
    unsafe fn load(from: *const f32) -> Self::Pairs;

    /// Scales to lanes, by one of the ways of [`Spread`].
    fn spread<const WAY: usize>(of: Self::Pairs) -> Self::Floats;

    /// `a b`
    fn times(a: Self::Pairs, b: Self::Pairs) -> Self::Pairs;

    /// `a + b`
    fn add(a: Self::Pairs, b: Self::Pairs) -> Self::Pairs;

    /// The four pairs.
    fn pairs(of: Self::Pairs) -> [f32; 2 * GROUP];

    /// `a b + c`
    fn add_product(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// `a + b`
    fn plus(a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// The sixteen numbers.
    fn lanes(of: Self::Floats) -> [f32; LANES];

    /// Their sum, in pairs.
    #[inline(always)]
    fn total(of: Self::Floats) -> f32 {
        let mut lanes = Self::lanes(of);
        let mut width = LANES / 2;
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
