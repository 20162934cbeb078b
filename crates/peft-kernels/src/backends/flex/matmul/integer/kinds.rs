//! What the codes of a type mean, group by group.

use peft_blocks::{BlockType, floats::half, scale_and_min};

use super::GROUP;
use super::units::Unit;

/// A type of blocks: `w = s c + m` in each run, with codes that have no sign.
pub trait Kind {
    /// How the codes of a group lie.
    const LAYOUT: Layout;

    /// Of so many runs of a group of a line `s` and `m`, in turns, and the codes; zeros, times which nothing counts, for the other
    /// runs.
    ///
    /// # Safety
    /// The line must have the group, and the instructions of `U` be there.
    unsafe fn read<U: Unit>(
        line: *const u8,
        group: usize,
        count: usize,
    ) -> (U::Pairs, [U::Codes; 2]);
}

/// In which of the two registers of codes, and where, the halves of each run of a group lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The first halves of all four, then the second ones.
    Together,
    /// Runs 0 and 1, then 2 and 3.
    InTurn,
    /// Runs 0 and 2, then 1 and 3.
    Crossed,
}

impl Layout {
    /// The halves of runs in the order of the codes: half `h` of run `r` is `2 r + h`.
    pub const fn halves(self) -> [usize; 2 * GROUP] {
        match self {
            Self::Together => [0, 2, 4, 6, 1, 3, 5, 7],
            Self::InTurn => [0, 1, 2, 3, 4, 5, 6, 7],
            Self::Crossed => [0, 1, 4, 5, 2, 3, 6, 7],
        }
    }
}

/// The types that have such codes.
pub const KNOWN: [BlockType; 4] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q8_0,
    BlockType::Q4K,
];

/// How the codes of such a type lie.
pub fn layout(kind: BlockType) -> Layout {
    match kind {
        BlockType::Q4_0 => Q40::LAYOUT,
        BlockType::Q4_1 => Q41::LAYOUT,
        BlockType::Q8_0 => Q80::LAYOUT,
        BlockType::Q4K => Q4K::LAYOUT,
        _ => unreachable!("a type without such codes"),
    }
}

/// 32 codes of 4 bits around 8.
pub struct Q40;

impl Kind for Q40 {
    const LAYOUT: Layout = Layout::Together;

    #[inline(always)]
    unsafe fn read<U: Unit>(
        line: *const u8,
        group: usize,
        count: usize,
    ) -> (U::Pairs, [U::Codes; 2]) {
        // SAFETY: the caller's promise; so below.
        unsafe { U::q4_0(line.add(group * GROUP * 18), count) }
    }
}

/// 32 codes of 4 bits above a least value.
pub struct Q41;

impl Kind for Q41 {
    const LAYOUT: Layout = Layout::Together;

    #[inline(always)]
    unsafe fn read<U: Unit>(
        line: *const u8,
        group: usize,
        count: usize,
    ) -> (U::Pairs, [U::Codes; 2]) {
        // SAFETY: as above.
        unsafe { U::q4_1(line.add(group * GROUP * 20), count) }
    }
}

/// 32 bytes with a sign: 128 less than codes without one.
pub struct Q80;

impl Kind for Q80 {
    const LAYOUT: Layout = Layout::InTurn;

    #[inline(always)]
    unsafe fn read<U: Unit>(
        line: *const u8,
        group: usize,
        count: usize,
    ) -> (U::Pairs, [U::Codes; 2]) {
        // SAFETY: as above.
        unsafe { U::q8_0(line.add(group * GROUP * 34), count) }
    }
}

/// 256 codes of 4 bits, a scale and a least value for each 32 of them: two groups.
pub struct Q4K;

impl Kind for Q4K {
    const LAYOUT: Layout = Layout::Crossed;

    #[inline(always)]
    unsafe fn read<U: Unit>(line: *const u8, group: usize, _: usize) -> (U::Pairs, [U::Codes; 2]) {
        // SAFETY: as above; blocks are whole, and a block two groups.
        unsafe {
            let block = &*line.add(group / 2 * 144).cast::<[u8; 144]>();
            let [_, _, _, _, packed @ ..] = block.first_chunk::<16>().expect("scales");
            let d = half(u16::from_le_bytes([block[0], block[1]]));
            let dmin = half(u16::from_le_bytes([block[2], block[3]]));
            let mut pairs = [0.0; 2 * GROUP];
            for run in 0..GROUP {
                let (scale, min) = scale_and_min(packed, group % 2 * GROUP + run);
                pairs[2 * run] = d * scale;
                pairs[2 * run + 1] = -dmin * min;
            }
            let codes = U::split(block.as_ptr().add(16 + group % 2 * 64));
            (U::load(pairs.as_ptr()), codes)
        }
    }
}
