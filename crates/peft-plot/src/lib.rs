#![warn(missing_docs)]
//! Small plots in SVG, without a library to draw or to read them.
//!
//! | item | what it is |
//! |---|---|
//! | [`Drawing`] | lines, dots and words |
//! | [`Scale`] | from values to places, with round ticks |
//! | [`Chart`] | curves over steps: axes, legend, smoothed noise |

mod chart;
mod scale;
mod smooth;
mod svg;

pub use chart::{Chart, Look, Series};
pub use scale::Scale;
pub use smooth::{smoothed, thinned};
pub use svg::{Anchor, COLOURS, Drawing, FAINT, INK};
