//! What computes with pairs of bfloat16 on this machine.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod dot;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;

use std::sync::OnceLock;

use super::super::{Vector, plan::Job};
use super::{Product, pack::word_of};

/// Lines of a block.
pub const LINES: usize = 16;
/// Of `k` in a block.
pub const DEPTH: usize = 32;
/// Words of a block, pairs of numbers.
pub const BLOCK: usize = LINES * DEPTH / 2;
/// Rows and columns of a tile: two groups of lines each.
pub const TILE: usize = 2 * LINES;

/// The instructions for such products.
#[derive(Clone, Copy)]
pub struct Units {
    /// What they are called.
    pub name: &'static str,
    /// Whether the processor has them: else the same products are made of others, which is slower than `f32`.
    pub native: bool,
    pub(super) job: unsafe fn(&Product<'_>, &Job),
    /// Nothing but products of what is in registers, so many rounds; multiplications and additions of a round.
    pub spin: unsafe fn(usize) -> usize,
}

/// What a kind of units does.
///
/// Every method must end up inlined into a function compiled for its instructions.
pub trait Unit {
    /// Registers for all else.
    type V: Vector<Elem = f32>;

    /// Before the first tile of a job.
    ///
    /// # Safety
    /// The machine must have the units; so below.
    unsafe fn begin() {}

    /// After the last one.
    ///
    /// # Safety
    /// As above.
    unsafe fn end() {}

    /// 32 neighbours as 16 words of two.
    ///
    /// # Safety
    /// And they must be readable, and the words writable.
    #[inline(always)]
    unsafe fn pairs(from: *const f32, to: *mut u32) {
        // SAFETY: the caller's promise.
        let (from, to) = unsafe {
            (
                from.cast::<[[f32; 2]; LINES]>().read_unaligned(),
                &mut *to.cast::<[u32; LINES]>(),
            )
        };
        for (word, [first, second]) in to.iter_mut().zip(from) {
            *word = word_of(first, second);
        }
    }

    /// The sums of [`TILE`] rows and as many columns over so many blocks.
    ///
    /// # Safety
    /// And the groups of lines must be laid out, and a tile be writable.
    unsafe fn tile(left: Groups, right: Groups, blocks: usize, out: *mut f32);
}

/// Two groups of lines: where the blocks of each begin.
pub type Groups = [*const u32; 2];

/// All that this machine has, the best first.
pub fn all() -> &'static [Units] {
    static ALL: OnceLock<Vec<Units>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if dot::is_there() {
            if amx::is_there() {
                all.push(amx::UNITS);
            }
            all.push(dot::UNITS);
        }
        #[cfg(target_arch = "aarch64")]
        if neon::is_there() {
            all.push(neon::UNITS);
        }
        all.push(plain::UNITS);
        all
    })
}

/// The best of this machine.
pub fn best() -> Units {
    all()[0]
}
