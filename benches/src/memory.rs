//! The peaks of memory during a run: what is resident, sampled by a thread, and what is allocated, counted.
//!
//! The allocator keeps what was freed, so a process may not grow although more is in use, and a small
//! difference between two processes is its slack. What is allocated has no slack, but leaves out stacks
//! and mapped files.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use peft_run::resident_anonymous;

/// Bytes allocated now, and at the most since [`Sampler::start`].
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
pub struct Counted;

fn taken(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Where the block moves, both are there for a while.
        taken(size);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        moved
    }
}

/// The most of a run.
pub struct Peak {
    /// Anonymous bytes of the process that were resident.
    pub resident: u64,
    /// Bytes that were allocated.
    pub allocated: u64,
}

pub struct Sampler {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Sampler {
    pub fn start() -> Self {
        MOST.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let peak = Arc::new(AtomicU64::new(resident_anonymous().unwrap_or(0)));
        let (seen, highest) = (stop.clone(), peak.clone());
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                highest.fetch_max(resident_anonymous().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, peak, thread }
    }

    pub fn stop(self) -> Peak {
        let allocated = MOST.load(Ordering::Relaxed) as u64;
        self.stop.store(true, Ordering::Relaxed);
        // The peak is there whether or not the thread ended well.
        let _ = self.thread.join();
        Peak {
            resident: self.peak.load(Ordering::Relaxed),
            allocated,
        }
    }
}
