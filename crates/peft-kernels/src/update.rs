//! Changes of a weight that a crate applies to rows on the host, without forming them.

use std::{fmt::Debug, sync::Arc};

/// What an update does to rows of element type `T`. It is linear in the rows and in the
/// coefficients.
pub trait Applied<T>: Debug + Send + Sync {
    /// `y += Δ(x; a)`, and whatever of `x` the gradients need into `saved`.
    ///
    /// `x` is `[rows, in]`, `y` is `[rows, out]`, `saved` is `[rows, saved_per_row]`, all row-major.
    /// No bit may depend on the number of threads.
    fn forward(&self, x: &[T], a: &[T], y: &mut [T], saved: &mut [T]);

    /// `da += ∂/∂a ⟨dy, Δ(x; a)⟩`, and `dx += ∂/∂x ⟨dy, Δ(x; a)⟩` where it is wanted.
    fn backward(&self, saved: &[T], dy: &[T], a: &[T], dx: Option<&mut [T]>, da: &mut [f64]);

    /// The same by a weight that has the update in it, where the update offers that.
    fn formed(&self) -> Option<&dyn FormedUpdate<T>> {
        None
    }
}

/// An update that can be added to its weight once a pass, instead of being applied to every row: the
/// product with the sum is then the output, and the gradient of the input comes from the sum too.
pub trait FormedUpdate<T> {
    /// Whether a pass over so many rows is cheaper this way.
    fn pays(&self, rows: usize) -> bool;

    /// `weight += Δ(a)`, `[out, in]`, row-major.
    fn add_to(&self, a: &[T], weight: &mut [T]);

    /// Whatever of `x` the gradients of the coefficients need, as [`Applied::forward`] leaves it.
    fn keep(&self, x: &[T], saved: &mut [T]);
}

/// A trained change of a linear layer's weight, for both element types of the CPU bodies.
pub trait HostUpdate: Applied<f32> + Applied<f64> {
    /// Width of the input.
    fn in_features(&self) -> usize;

    /// Width of the output.
    fn out_features(&self) -> usize;

    /// Trained values.
    fn coefficients(&self) -> usize;

    /// Values a row that the gradients need.
    fn saved_per_row(&self) -> usize;

    /// Whether the gradients need the input itself: it is then kept where other operations may share
    /// it, and `backward` gets it as `saved`.
    fn keeps_input(&self) -> bool {
        false
    }
}

/// A shared [`HostUpdate`].
#[derive(Debug, Clone)]
pub struct RowUpdate(Arc<dyn HostUpdate>);

impl RowUpdate {
    /// Share an update.
    pub fn new(update: impl HostUpdate + 'static) -> Self {
        Self(Arc::new(update))
    }
}

impl std::ops::Deref for RowUpdate {
    type Target = dyn HostUpdate;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}
