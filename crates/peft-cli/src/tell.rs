//! Lines on standard error, which whoever reads it may have closed: that ends no run.

/// As `eprintln!`, but a reader that has gone away is no fault.
macro_rules! tell {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($arguments)*);
    }};
}
