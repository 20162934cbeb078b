//! Random damage: never a panic, never more memory than the file's size justifies.
//!
//! PEFT_FORMAT_FUZZ_ITERATIONS sets how many files are tried, PEFT_FORMAT_FUZZ_SEED where to start.
//! A failure names its seed: with that as the seed and one iteration it comes again, and the file is
//! kept where the message says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{NAME, open, read};

thread_local! {
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's memory, with what each thread holds counted.
struct Counting;

fn count(change: isize) {
    // A thread that ends has no counters any more, and nothing to be counted.
    let _ = USED.try_with(|used| {
        used.set(used.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(used.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes that mean something in a pickle or a zip header.
const TELLING: &[u8] =
    b"\x80\x02\x8a.(cRbQN\x88\x89JKMGXU)t\x85\x86\x87]ae}suqrhji\x93\x00\x01\x7f\xff";

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = bytes.len().min(at + 1 + random.below(16));
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = TELLING[random.below(TELLING.len())],
            3 => {
                let size = [1, 2, 4, 8][random.below(4)];
                let numbers = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 31, 1 << 40, 0xffff, 64];
                let number = numbers[random.below(numbers.len())].to_le_bytes();
                let end = bytes.len().min(at + size);
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            6 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() - copy.len() + 1);
                bytes[to..to + copy.len()].copy_from_slice(&copy);
            }
            _ if random.below(8) == 0 => bytes.truncate(at),
            _ => bytes.insert(at, TELLING[random.below(TELLING.len())]),
        }
        if bytes.is_empty() {
            return;
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
fn random_damage_neither_panics_nor_floods_memory() {
    let files = [
        "zip.bin",
        "legacy.bin",
        "view.bin",
        "wrapped.bin",
        "adapter/adapter_model.bin",
    ]
    .map(read);
    let first = number("PEFT_FORMAT_FUZZ_SEED", 0);
    let iterations = number("PEFT_FORMAT_FUZZ_ITERATIONS", 20_000);
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, mut worst) = (0u64, 0);
    for seed in (first..).take(iterations as usize) {
        let mut random = Random(seed);
        let mut bytes = files[random.below(files.len())].clone();
        damage(&mut bytes, &mut random);
        let before = USED.get();
        PEAK.set(before);
        let outcome = catch_unwind(AssertUnwindSafe(|| open(dir.path(), &bytes)));
        let peak = PEAK.get() - before;
        worst = worst.max(peak);
        // Strided tensors are kept, at most 16 MiB and 64 times the file; one more copy of the
        // largest and its f32 come on top.
        let limit = 3 * ((16 << 20) + 64 * bytes.len() as isize) + (1 << 20);
        let failure = match outcome {
            Err(_) => Some("a panic".to_owned()),
            Ok(Err(message)) if !message.contains(NAME) || message.len() > 1200 => Some(message),
            Ok(_) if peak > limit => Some(format!("{peak} bytes of memory")),
            Ok(result) => {
                opened += u64::from(result.is_ok());
                None
            }
        };
        if let Some(failure) = failure {
            let kept = env::temp_dir().join(format!("peft-format-fuzz-{seed}.bin"));
            fs::write(&kept, &bytes).unwrap();
            panic!("seed {seed}, kept as {}: {failure}", kept.display());
        }
    }
    println!(
        "{iterations} files from seed {first}, {opened} of them opened, {worst} bytes at most"
    );
}
