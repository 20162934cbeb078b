//! The family's methods: settings, places, files.

mod c3a;
mod common;
mod drawn;
mod fourierft;
mod loca;
mod selected;
mod settings;
mod waveft;

pub use c3a::{C3aConfig, C3aInit, C3aMethod};
pub use drawn::DrawnMethod;
pub use fourierft::{FourierFtConfig, FourierFtMethod};
pub use loca::{LocaConfig, LocaMethod};
pub use selected::{SelectedKind, SelectedMethod};
pub use settings::{CoefficientInit, Distance, Farthest, SelectedConfig, Selection};
pub use waveft::{WaveFtConfig, WaveFtMethod};
