//! Times of the operations on flex at the sizes of one BERT-base layer, and of scans at those of a
//! Mamba of 130 million values, next to what the machine can do.
//!
//! `cargo bench -p peft-kernels`; `cargo xtask bench kernels` makes a report of it. Each figure is
//! the least of many repetitions, the one that other users of the machine disturbed least, for both
//! bodies alike; bytes count each tensor once, read or written; "burn" is the portable body.
//! Freed memory is kept, as the `peft` binary keeps it: no time goes to the system's clearing of pages.
//! `RAYON_NUM_THREADS` sets the threads. `--json` prints one JSON object, `--quick` times small
//! tensors a few times, to see that it runs, `--only TEXT` the operations whose names contain the text.

mod attention;
mod bench;
mod elementwise;
mod machine;
mod norms;
mod products;
mod scans;
mod training;

use bench::Bench;

fn main() {
    peft_kernels::keep_freed_memory();
    // Cargo passes `--bench` as well.
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let only = std::env::args().skip_while(|a| a != "--only").nth(1);
    let mut bench = Bench::new(asked("--quick"), only);
    machine::measure(&mut bench);
    elementwise::run(&mut bench);
    norms::run(&mut bench);
    attention::run(&mut bench);
    products::run(&mut bench);
    scans::run(&mut bench);
    training::run(&mut bench);
    if asked("--json") {
        println!("{}", bench.json());
    } else {
        bench.print();
    }
}
