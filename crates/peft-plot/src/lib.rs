#![warn(missing_docs)]
//! Small plots in SVG, without a library to draw or to read them.
//!
//! | item | what it is |
//! |---|---|
//! | [`Drawing`] | lines, dots and words |
//! | [`Scale`] | from values to places, with round ticks |
//! | [`Chart`] | curves over steps or values: axes, legend, smoothed noise |
//! | [`InlineSvg`] | a drawing inside a page of HTML, light or dark |

mod across;
mod chart;
mod scale;
mod smooth;
mod svg;

pub use across::Across;
pub use chart::{Chart, Look, Series};
pub use scale::Scale;
pub use smooth::{smoothed, thinned};
pub use svg::{Anchor, COLOURS, Drawing, FAINT, INK, InlineSvg, drawing_css};
