//! Studies: kills, lost workers, several workers, budgets, hostile files.

mod common {
    pub mod toy;
}
mod study {
    mod budgets;
    mod files;
    mod kills;
    mod workers;
}
