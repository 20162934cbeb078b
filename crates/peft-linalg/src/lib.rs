//! Dense matrices of `f64` on the host, for what is computed once in a run: singular vectors of a weight,
//! bases of gradients, random orthogonal starts.
//!
//! | item | what it is |
//! |---|---|
//! | [`Dense`], [`View`], [`product`] | matrices, and products of them and their transposes |
//! | [`orthonormalise`], [`orthonormal_rows`], [`semi_orthogonal`] | orthonormal rows, of a matrix or at random |
//! | [`leading_singular`] | the leading singular values and vectors of a matrix |
//! | [`leading_eigenvectors`] | those of a symmetric matrix of which only products are known |
//! | [`symmetric_eigen`] | all eigenvalues and eigenvectors of a symmetric matrix |
//!
//! Vectors are the rows of a matrix everywhere, so that each lies in one piece. Random numbers are those of
//! [`peft_kernels::normal`] at a key that the caller names. The bits of a result depend on the inputs and
//! this key alone: no sum is split by the number of threads.

mod dense;
mod eigen;
mod orthonormal;
mod product;
mod range;
mod singular;

pub use dense::{Dense, View};
pub use eigen::{Eigen, symmetric_eigen};
pub use orthonormal::{orthonormal_rows, orthonormalise, semi_orthogonal};
pub use product::{Threads, dot, product};
pub use range::leading_eigenvectors;
pub use singular::{Triplets, leading_singular};
