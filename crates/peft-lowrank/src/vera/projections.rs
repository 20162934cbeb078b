use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};
use peft_core::{AdapterError, Fields, HostTensor, HostTensorExt, format::Dtype, kernels::Mt19937};

pub(super) const A: &str = "vera_A";
pub(super) const B: &str = "vera_B";

/// The two frozen random matrices of an adapter: `A` `[r, widest input]` and `B` `[widest output, r]`.
///
/// A layer uses the first columns of `A` and the first rows of `B`. All layers of a model hold the same
/// `Projections`, and their memory goes with the last of them.
#[derive(Debug)]
pub struct Projections {
    /// Key, rank and widths that they were drawn for, if they were.
    drawn: Option<(u64, usize, [usize; 2])>,
    a: HostTensor,
    b: HostTensor,
    /// What layers of some widths use of them on some device.
    parts: Mutex<Vec<Part>>,
}

#[derive(Debug)]
struct Part {
    widths: [usize; 2],
    dtype: FloatDType,
    device: Device,
    /// `[in, r]` and `[r, out]`.
    tensors: [Tensor<2>; 2],
}

/// What is alive.
static KNOWN: Mutex<Vec<Weak<Projections>>> = Mutex::new(Vec::new());

impl Projections {
    /// The matrices that PEFT draws for a key: of one generator, `A` first, each uniform on
    /// `±√(6 / its columns)`.
    pub fn drawn(key: u64, r: usize, widths: [usize; 2]) -> Arc<Self> {
        let [inputs, outputs] = widths;
        let origin = Some((key, r, widths));
        if let Some(found) = alive(|entry| entry.drawn == origin) {
            return found;
        }
        let mut generator = Mt19937::new(key as u32); // torch keeps the low half of a seed
        let mut matrix = |rows: usize, columns: usize| {
            let values = torch_kaiming_uniform(&mut generator, rows, columns);
            HostTensor {
                dtype: Dtype::F32,
                shape: vec![rows, columns],
                bytes: values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
            }
        };
        let a = matrix(r, inputs);
        let b = matrix(outputs, r);
        Self::shared(origin, a, b)
    }

    /// The matrices of a file, if they are large enough.
    ///
    /// # Errors
    /// If one is missing, too small, of another rank than `r`, or not finite.
    pub(super) fn stored(
        tensors: &Fields<HostTensor>,
        r: usize,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Arc<Self>, AdapterError> {
        let load = |name: &str, least: [usize; 2]| {
            let key = peft_core::shared_key(name);
            let tensor = tensors
                .get(name)
                .ok_or_else(|| AdapterError::MissingTensor {
                    module: "base_model".into(),
                    suffix: name.to_owned(),
                    found: tensors.keys().cloned().collect(),
                })?;
            // Wider ones are of a model of which another part was adapted as well.
            let fits = match *tensor.shape.as_slice() {
                [rows, columns] if name == A => rows == r && columns >= least[1],
                [rows, columns] => rows >= least[0] && columns == r,
                _ => false,
            };
            if !fits {
                tensor.expect_shape(&key, &least)?;
            }
            tensor.to_float(&key, FloatDType::F32)?;
            Ok::<_, AdapterError>(tensor.clone())
        };
        let (a, b) = (load(A, [r, inputs])?, load(B, [outputs, r])?);
        Ok(Self::shared(None, a, b))
    }

    /// Projections of these matrices; where equal ones are alive already, those, so that a model holds them
    /// once.
    fn shared(drawn: Option<(u64, usize, [usize; 2])>, a: HostTensor, b: HostTensor) -> Arc<Self> {
        if let Some(found) = alive(|entry| entry.a == a && entry.b == b) {
            return found;
        }
        let new = Arc::new(Self {
            drawn,
            a,
            b,
            parts: Mutex::default(),
        });
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(Arc::downgrade(&new));
        new
    }

    /// The matrices as a file holds them, `vera_A` and `vera_B`.
    pub fn tensors(&self) -> Fields<HostTensor> {
        Fields::from([
            (A.to_owned(), self.a.clone()),
            (B.to_owned(), self.b.clone()),
        ])
    }

    /// `Aᵀ` `[in, r]` and `Bᵀ` `[r, out]` for a layer; constants inside autodiff where `device` is.
    ///
    /// # Panics
    /// If the layer is wider than the matrices.
    pub(super) fn of_layer(
        &self,
        [inputs, outputs]: [usize; 2],
        dtype: FloatDType,
        device: &Device,
    ) -> [Tensor<2>; 2] {
        let plain = device.clone().inner();
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |part: &&Part| {
            part.widths == [inputs, outputs] && part.dtype == dtype && part.device == plain
        };
        let tensors = match parts.iter().find(same) {
            Some(part) => part.tensors.clone(),
            None => {
                let tensor = |host: &HostTensor, [rows, columns]: [usize; 2]| {
                    let data = corner(host, rows, columns).transposed();
                    let data = data.to_float("", dtype).expect("checked when it was read");
                    Tensor::from_data(data, (&plain, dtype.into()))
                };
                let r = self.a.shape[0];
                let tensors = [tensor(&self.a, [r, inputs]), tensor(&self.b, [outputs, r])];
                parts.push(Part {
                    widths: [inputs, outputs],
                    dtype,
                    device: plain,
                    tensors: tensors.clone(),
                });
                tensors
            }
        };
        match device.is_autodiff() {
            true => tensors.map(Tensor::from_inner),
            false => tensors,
        }
    }
}

/// The projections alive that are the ones looked for.
fn alive(wanted: impl Fn(&Projections) -> bool) -> Option<Arc<Projections>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|entry| entry.strong_count() > 0);
    let mut entries = known.iter().filter_map(Weak::upgrade);
    entries.find(|entry| wanted(entry))
}

/// The first rows and columns of a matrix.
fn corner(matrix: &HostTensor, rows: usize, columns: usize) -> HostTensor {
    let width = matrix.shape[1];
    let size = matrix.bytes.len() / (matrix.shape[0] * width);
    let lines = matrix.bytes.chunks_exact(width * size).take(rows);
    HostTensor {
        dtype: matrix.dtype,
        shape: vec![rows, columns],
        bytes: lines
            .flat_map(|line| &line[..columns * size])
            .copied()
            .collect(),
    }
}

/// `torch.nn.init.kaiming_uniform_` of a `[rows, columns]` matrix of `f32` with PyTorch's generator on
/// the CPU: `±√(6 / columns)`, the low 24 bits of a word each. The bits are those of PyTorch where
/// processors have fused multiply-add; without, its own differ from these by a rounding.
pub fn torch_kaiming_uniform(generator: &mut Mt19937, rows: usize, columns: usize) -> Vec<f32> {
    const SHARE: f32 = 1.0 / (1 << 24) as f32;
    // The order of operations is PyTorch's: a bound in double precision, the rest in single.
    let bound = 3f64.sqrt() * (2f64.sqrt() / (columns as f64).sqrt());
    let (from, to) = (-bound as f32, bound as f32);
    (0..rows * columns)
        .map(|_| {
            let share = (generator.next_u32() & ((1 << 24) - 1)) as f32 * SHARE;
            // PyTorch's compilers fuse the two, which it shows in every second value.
            share.mul_add(to - from, from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_projections_are_one() {
        let first = Projections::drawn(3, 4, [6, 5]);
        assert!(Arc::ptr_eq(&first, &Projections::drawn(3, 4, [6, 5])));
        assert!(!Arc::ptr_eq(&first, &Projections::drawn(4, 4, [6, 5])));
        let stored = Projections::stored(&first.tensors(), 4, [6, 5]).unwrap();
        assert!(Arc::ptr_eq(&first, &stored));
        // A narrower layer is content with a part of them, a wider one is not.
        assert!(Projections::stored(&first.tensors(), 4, [2, 3]).is_ok());
        for (r, widths) in [(4, [7, 5]), (4, [6, 6]), (3, [6, 5])] {
            let error = Projections::stored(&first.tensors(), r, widths).unwrap_err();
            assert!(matches!(error, AdapterError::Shape { .. }), "{error}");
        }
    }

    #[test]
    fn corners_are_the_first_rows_and_columns() {
        let matrix = HostTensor {
            dtype: Dtype::F32,
            shape: vec![2, 3],
            bytes: (0..6u8).flat_map(|value| [value; 4]).collect(),
        };
        let found = corner(&matrix, 2, 2);
        assert_eq!(found.shape, [2, 2]);
        let first: Vec<u8> = found.bytes.chunks(4).map(|value| value[0]).collect();
        assert_eq!(first, [0, 1, 3, 4]);
    }
}
