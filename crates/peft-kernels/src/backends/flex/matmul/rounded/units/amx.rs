//! AMX: tiles of 16 × 16 sums as registers, by assembly, for its intrinsics are not stable. The compiler knows no tile
//! registers, so nothing of its own is in them.

use core::arch::{asm, x86_64::*};

use super::super::super::{F32x16, plan::Job};
use super::{DEPTH, Groups, LINES, Product, TILE, Unit, Units, dot};

/// AMX.
pub const UNITS: Units = Units {
    name: "AMX",
    native: true,
    job,
    spin,
};

/// The shape of each of the eight tile registers: 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

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

/// Whether the processor has AMX with bfloat16, and the system lets this process use its tiles.
pub fn is_there() -> bool {
    // Leaf 7: AMX-BF16 is bit 22 of edx, AMX-TILE bit 24.
    const BOTH: u32 = 1 << 22 | 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BOTH == BOTH && permitted()
}

/// Linux gives tiles only to those who ask: they make a thread's state larger.
#[cfg(target_os = "linux")]
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

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

struct Amx;

impl Unit for Amx {
    type V = F32x16;

    #[inline(always)]
    unsafe fn begin() {
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
        unsafe { dot::convert(from, to) }
    }

    #[inline(always)]
    unsafe fn tile(left: Groups, right: Groups, blocks: usize, out: *mut f32) {
        let ([upper, lower], [first, second]) = (left, right);
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {line}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{second} + {line}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {line}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 1024",
                "add {lower}, 1024",
                "add {first}, 1024",
                "add {second}, 1024",
                "dec {blocks}",
                "jnz 2b",
                "tilestored [{out} + {row}*1], tmm0",
                "tilestored [{out} + {row}*1 + 64], tmm1",
                "tilestored [{out} + {row}*1 + 2048], tmm2",
                "tilestored [{out} + {row}*1 + 2112], tmm3",
                upper = inout(reg) upper => _,
                lower = inout(reg) lower => _,
                first = inout(reg) first => _,
                second = inout(reg) second => _,
                blocks = inout(reg) blocks => _,
                out = in(reg) out,
                line = in(reg) LINES * size_of::<u32>(),
                row = in(reg) TILE * size_of::<f32>(),
                options(nostack),
            );
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn job(product: &Product<'_>, job: &Job) {
    // SAFETY: the caller detected the instructions.
    unsafe { super::super::run::<Amx>(product, job) }
}

unsafe fn spin(rounds: usize) -> usize {
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
