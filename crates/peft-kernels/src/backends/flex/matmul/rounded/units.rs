//! What computes with pairs of bfloat16 on this machine.

#[cfg(target_arch = "x86_64")]
use core::arch::{asm, x86_64::*};
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::super::F32x16;
use super::super::{Four, Vector};
use super::pack::word_of;
use super::{Job, Product};

/// Lines of a block.
pub const LINES: usize = 16;
/// Of `k` in a block.
pub const DEPTH: usize = 32;
/// Words of a block, pairs of numbers.
pub const BLOCK: usize = LINES * DEPTH / 2;
/// Rows and columns of a tile.
pub const TILE: usize = 2 * LINES;

/// The instructions for such products.
#[derive(Clone, Copy)]
pub struct Units {
    /// What they are called.
    pub name: &'static str,
    /// Whether the processor has them: else the same products are made of others, which is no faster than `f32`.
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

    /// The sums of [`TILE`] rows and as many columns, or half of them, over so many blocks.
    ///
    /// # Safety
    /// And two groups of lines on the left, one or, if `wide`, two on the right must be laid out, and a tile be writable.
    unsafe fn tile(left: *const u32, right: *const u32, size: (usize, bool), out: *mut f32);
}

/// Numbers one by one, for machines without units.
struct Plain;

impl Unit for Plain {
    type V = Four<f32>;

    #[inline(always)]
    unsafe fn tile(
        left: *const u32,
        right: *const u32,
        (blocks, wide): (usize, bool),
        out: *mut f32,
    ) {
        for (group, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            if column == 1 && !wide {
                continue;
            }
            for i in 0..LINES {
                let mut sums = [0f32; LINES];
                for at in 0..blocks * DEPTH / 2 {
                    let (block, pair) = (at / LINES, at % LINES);
                    // SAFETY: the caller's promise.
                    unsafe {
                        let left = *left.add((group * blocks + block) * BLOCK + i * LINES + pair);
                        let right = right.add((column * blocks + block) * BLOCK + pair * LINES);
                        let right = &*right.cast::<[u32; LINES]>();
                        let (first, second) = (low(left), high(left));
                        for (sum, &right) in sums.iter_mut().zip(right) {
                            *sum += first * low(right) + second * high(right);
                        }
                    }
                }
                // SAFETY: the caller's promise.
                unsafe {
                    let to = out.add((group * LINES + i) * TILE + column * LINES);
                    to.cast::<[f32; LINES]>().write_unaligned(sums);
                }
            }
        }
    }
}

#[inline(always)]
fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

#[inline(always)]
fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

/// 32 neighbours as 16 words, by the instruction for it. It takes numbers below the least normal one for zero, as the
/// products do.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn convert(from: *const f32, to: *mut u32) {
    // SAFETY: the caller's promise.
    unsafe {
        let (first, second) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(LINES)));
        let words: __m512i = core::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
        _mm512_storeu_si512(to.cast(), words);
    }
}

/// AVX-512 BF16: two products for each number of a register.
#[cfg(target_arch = "x86_64")]
struct Dot;

#[cfg(target_arch = "x86_64")]
impl Unit for Dot {
    type V = F32x16;

    #[inline(always)]
    unsafe fn pairs(from: *const f32, to: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { convert(from, to) }
    }

    #[inline(always)]
    unsafe fn tile(
        left: *const u32,
        right: *const u32,
        (blocks, wide): (usize, bool),
        out: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for part in 0..TILE / ROWS {
                let group = part * ROWS / LINES;
                let left = left.add(group * blocks * BLOCK + part * ROWS % LINES * LINES);
                let out = out.add(part * ROWS * TILE);
                match wide {
                    true => dots::<2>(left, right, blocks, out),
                    false => dots::<1>(left, right, blocks, out),
                }
            }
        }
    }
}

/// Rows whose sums fit into the registers, two wide.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 8;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn dots<const WIDTH: usize>(
    left: *const u32,
    right: *const u32,
    blocks: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); WIDTH]; ROWS];
        for block in 0..blocks {
            for pair in 0..LINES {
                let mut columns = [_mm512_setzero_si512(); WIDTH];
                for (j, column) in columns.iter_mut().enumerate() {
                    let at = (j * blocks + block) * BLOCK + pair * LINES;
                    *column = _mm512_loadu_si512(right.add(at).cast());
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let word = *left.add(block * BLOCK + i * LINES + pair);
                    let row: __m512bh = core::mem::transmute(_mm512_set1_epi32(word as i32));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        let column: __m512bh = core::mem::transmute(column);
                        *sum = _mm512_dpbf16_ps(*sum, row, column);
                    }
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(out.add(i * TILE + j * LINES), sum);
            }
        }
    }
}

/// AMX: tiles of 16 × 16 sums as registers.
#[cfg(target_arch = "x86_64")]
struct Amx;

/// The shape of each of the eight tile registers: 16 rows of 64 bytes.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

#[cfg(target_arch = "x86_64")]
static SHAPES: Shapes = {
    let (mut bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < 8 {
        (bytes[register], rows[register]) = (64, 16);
        register += 1;
    }
    Shapes {
        palette: 1,
        start: 0,
        reserved: [0; 14],
        bytes,
        rows,
    }
};

#[cfg(target_arch = "x86_64")]
impl Unit for Amx {
    type V = F32x16;

    #[inline(always)]
    unsafe fn begin() {
        // The compiler knows no tile registers, so nothing of its own is in them.
        // SAFETY: the units are there; only their state changes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) }
    }

    #[inline(always)]
    unsafe fn end() {
        // SAFETY: as above.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    #[inline(always)]
    unsafe fn pairs(from: *const f32, to: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { convert(from, to) }
    }

    #[inline(always)]
    unsafe fn tile(
        left: *const u32,
        right: *const u32,
        (blocks, wide): (usize, bool),
        out: *mut f32,
    ) {
        let (lower, beside) = (
            left.wrapping_add(blocks * BLOCK),
            right.wrapping_add(blocks * BLOCK),
        );
        let (block, row) = (LINES * 4, TILE * 4);
        // SAFETY: the caller's promise.
        unsafe {
            if wide {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{a} + {block}*1]",
                    "tileloadd tmm6, [{b} + {block}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{beside} + {block}*1]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{lower} + {block}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 1024",
                    "add {b}, 1024",
                    "add {lower}, 1024",
                    "add {beside}, 1024",
                    "dec {blocks}",
                    "jnz 2b",
                    "tilestored [{out} + {row}*1], tmm0",
                    "tilestored [{out} + {row}*1 + 64], tmm1",
                    "tilestored [{out} + {row}*1 + 2048], tmm2",
                    "tilestored [{out} + {row}*1 + 2112], tmm3",
                    a = inout(reg) left => _,
                    b = inout(reg) right => _,
                    lower = inout(reg) lower => _,
                    beside = inout(reg) beside => _,
                    blocks = inout(reg) blocks => _,
                    out = in(reg) out,
                    block = in(reg) block,
                    row = in(reg) row,
                    options(nostack),
                );
            } else {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm2",
                    "2:",
                    "tileloadd tmm4, [{a} + {block}*1]",
                    "tileloadd tmm6, [{b} + {block}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{lower} + {block}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "add {a}, 1024",
                    "add {b}, 1024",
                    "add {lower}, 1024",
                    "dec {blocks}",
                    "jnz 2b",
                    "tilestored [{out} + {row}*1], tmm0",
                    "tilestored [{out} + {row}*1 + 2048], tmm2",
                    a = inout(reg) left => _,
                    b = inout(reg) right => _,
                    lower = inout(reg) lower => _,
                    blocks = inout(reg) blocks => _,
                    out = in(reg) out,
                    block = in(reg) block,
                    row = in(reg) row,
                    options(nostack),
                );
            }
        }
    }
}

fn plain_spin(rounds: usize) -> usize {
    let mut sums = [[0f32; LINES]; 8];
    let factors = core::hint::black_box([0.5f32; LINES]);
    for _ in 0..rounds {
        for sums in &mut sums {
            for (sum, factor) in sums.iter_mut().zip(factors) {
                *sum += factor * factor;
            }
        }
        core::hint::black_box(&mut sums);
    }
    2 * 8 * LINES
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn dot_spin(rounds: usize) -> usize {
    const CHAINS: usize = 16;
    let factors = core::hint::black_box(_mm512_set1_epi32(0x3f00_3f00));
    // SAFETY: registers of the same size.
    let factors: __m512bh = unsafe { core::mem::transmute(factors) };
    let mut sums = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, factors, factors);
        }
    }
    core::hint::black_box(sums);
    4 * CHAINS * LINES
}

#[cfg(target_arch = "x86_64")]
unsafe fn amx_spin(rounds: usize) -> usize {
    // SAFETY: the units are there, by the caller's promise.
    unsafe {
        Amx::begin();
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "tilezero tmm6",
            "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds.max(1) => _,
            options(nostack, nomem),
        );
        Amx::end();
    }
    4 * 2 * LINES * LINES * DEPTH
}

fn plain_job(product: &Product<'_>, job: &Job) {
    // SAFETY: no instructions but those of every machine; the promises of `multiply` hold.
    unsafe { super::run::<Plain>(product, job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn dot_job(product: &Product<'_>, job: &Job) {
    // SAFETY: the caller detected the instructions.
    unsafe { super::run::<Dot>(product, job) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn amx_job(product: &Product<'_>, job: &Job) {
    // SAFETY: the caller detected the instructions.
    unsafe { super::run::<Amx>(product, job) }
}

/// Without units.
const PLAIN: Units = Units {
    name: "no bfloat16 units",
    native: false,
    job: plain_job,
    spin: plain_spin,
};

/// All that this machine has, the best first.
pub fn all() -> &'static [Units] {
    static ALL: OnceLock<Vec<Units>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            if tiles() {
                all.push(Units {
                    name: "AMX",
                    native: true,
                    job: amx_job,
                    spin: amx_spin,
                });
            }
            all.push(Units {
                name: "AVX-512 BF16",
                native: true,
                job: dot_job,
                spin: dot_spin,
            });
        }
        all.push(PLAIN);
        all
    })
}

/// The best of this machine.
pub fn best() -> Units {
    all()[0]
}

/// Whether the processor has AMX with bfloat16, and the system lets this process use its tiles.
#[cfg(target_arch = "x86_64")]
fn tiles() -> bool {
    // Leaf 7: AMX-BF16 is bit 22 of edx, AMX-TILE bit 24.
    const BOTH: u32 = 1 << 22 | 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BOTH == BOTH && permitted()
}

/// Linux gives tiles only to those who ask: they make a thread's state larger.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_STATE: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let answer: isize;
    // SAFETY: a system call that changes only what this process may use.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST_STATE,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn permitted() -> bool {
    false
}
