//! The family's methods: settings, places, files.

mod c3a;
mod common;
mod fourierft;
mod selected;
mod settings;
mod waveft;

pub use c3a::{C3aConfig, C3aInit, C3aMethod};
pub use fourierft::{FourierFtConfig, FourierFtMethod};
pub use selected::{SdctftMethod, SshMethod};
pub use settings::{CoefficientInit, Distance, Farthest, SelectedConfig, Selection};
pub use waveft::{WaveFtConfig, WaveFtMethod};
