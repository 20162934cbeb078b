//! How the rows of a packed batch belong to sequences.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// How the rows of a packed batch belong to sequences.
///
/// Sequences lie one behind the other without padding, `T` rows in all; sequence `i` is the rows
/// `starts[i] .. starts[i + 1]`. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct RowLayout {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    starts: Arc<Vec<usize>>,
    max_len: usize,
    device: Device,
    padding: OnceLock<Padding>,
    #[cfg(feature = "cubecl")]
    scan_table: OnceLock<Tensor<1, Int>>,
}

/// Device tensors that carry packed rows to padded ones and back. Built on first use, for the CPU
/// bodies need none.
#[derive(Clone, Debug)]
pub(crate) struct Padding {
    /// For each of the `n · max_len` padded rows, the packed row it copies. Padding repeats the
    /// sequence's own last row, so that a NaN of one sequence never enters another.
    pub gather: Tensor<1, Int>,
    /// For each packed row, its padded row.
    pub scatter: Tensor<1, Int>,
    /// `[n, 1, 1, max_len]`, true where a key is padding.
    pub hidden: Tensor<4, Bool>,
    /// `[1, 1, max_len, max_len]`, true where a key comes after the query.
    pub future: Tensor<4, Bool>,
}

impl RowLayout {
    /// A layout from the first row of every sequence and, last, the number of rows (`cu_seqlens`
    /// elsewhere).
    ///
    /// # Panics
    /// If `starts` is empty, does not begin with 0, or does not increase strictly.
    #[must_use]
    pub fn new(starts: Vec<usize>, device: &Device) -> Self {
        assert!(
            starts.first() == Some(&0),
            "RowLayout: starts must begin with 0, got {:?}",
            starts.first()
        );
        assert!(
            starts.windows(2).all(|w| w[0] < w[1]),
            "RowLayout: every sequence needs at least one row, got starts {starts:?}"
        );
        let max_len = starts.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        let shared = Shared {
            starts: Arc::new(starts),
            max_len,
            device: device.clone().without_autodiff(),
            padding: OnceLock::new(),
            #[cfg(feature = "cubecl")]
            scan_table: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.starts.len() - 1
    }

    /// Whether there is no sequence.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of rows of all sequences.
    #[must_use]
    pub fn rows(&self) -> usize {
        *self
            .shared
            .starts
            .last()
            .expect("never empty: checked by new")
    }

    /// First row of every sequence and, last, the number of rows.
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.shared.starts
    }

    /// Rows of the longest sequence.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.shared.max_len
    }

    /// Index of each sequence's first row, `[n]`: selects the `[CLS]` states of a packed batch.
    #[must_use]
    pub fn first_rows(&self) -> Tensor<1, Int> {
        indices(
            self.starts()[..self.len()].iter().copied(),
            &self.shared.device,
        )
    }

    /// First row of every sequence and the number of rows; behind them, the first chunk of every sequence of a scan on a GPU.
    #[cfg(feature = "cubecl")]
    pub(crate) fn scan_table(&self) -> &Tensor<1, Int> {
        self.shared.scan_table.get_or_init(|| {
            let chunks = self.starts().windows(2).scan(0, |first, span| {
                let own = *first;
                *first += (span[1] - span[0]).div_ceil(crate::backends::cubecl::SCAN_CHUNK);
                Some(own)
            });
            indices(
                self.starts().iter().copied().chain(chunks),
                &self.shared.device,
            )
        })
    }

    #[cfg(feature = "flex")]
    pub(crate) fn shared_starts(&self) -> Arc<Vec<usize>> {
        self.shared.starts.clone()
    }

    /// Where tensors about the rows go.
    pub(crate) fn device(&self) -> &Device {
        &self.shared.device
    }

    pub(crate) fn is_uniform(&self) -> bool {
        self.len() * self.max_len() == self.rows()
    }

    pub(crate) fn padding(&self) -> &Padding {
        self.shared.padding.get_or_init(|| {
            let (n, len, device) = (self.len(), self.max_len(), &self.shared.device);
            let spans = || self.starts().windows(2).map(|w| (w[0], w[1] - w[0]));
            let gather = spans().flat_map(|(start, l)| (0..len).map(move |j| start + j.min(l - 1)));
            let scatter = spans()
                .enumerate()
                .flat_map(|(i, (_, l))| (0..l).map(move |j| i * len + j));
            let hidden: Vec<bool> = spans()
                .flat_map(|(_, l)| (0..len).map(move |j| j >= l))
                .collect();
            let future: Vec<bool> = (0..len)
                .flat_map(|i| (0..len).map(move |j| j > i))
                .collect();
            Padding {
                gather: indices(gather, device),
                scatter: indices(scatter, device),
                hidden: Tensor::from_data(TensorData::new(hidden, [n, 1, 1, len]), device),
                future: Tensor::from_data(TensorData::new(future, [1, 1, len, len]), device),
            }
        })
    }
}

/// Whole numbers on a device.
pub(crate) fn indices(rows: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows
        .map(|r| i32::try_from(r).expect("RowLayout: more rows than an i32 can count"))
        .collect();
    Tensor::from_ints(rows.as_slice(), device)
}
