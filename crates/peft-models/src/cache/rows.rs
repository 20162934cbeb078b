use burn::Tensor;

/// Rows that a buffer has room for beside those that are due.
const ROOM: usize = 64;

/// Keys and values of a sequence, in buffers that are longer: a further row is written into them and
/// nothing else is moved.
#[derive(Debug, Clone)]
pub struct CachedRows {
    /// Keys and values, `[room, Hkv · D]` each.
    buffers: [Tensor<2>; 2],
    /// Tokens at the beginning of the sequence that are in no buffer any more.
    skipped: usize,
    /// How many keys a query sees, its own among them.
    window: Option<usize>,
}

impl CachedRows {
    /// Of the first rows of a sequence.
    pub fn new(rows: [Tensor<2>; 2], window: Option<usize>) -> Self {
        let buffers = rows.map(|rows| {
            let needed = rows.dims()[0];
            written(empty_like(&rows, needed + ROOM), 0, rows)
        });
        Self {
            buffers,
            skipped: 0,
            window,
        }
    }

    /// Write the rows behind the first `length` tokens of the sequence.
    pub fn put(self, length: usize, rows: [Tensor<2>; 2]) -> Self {
        let (skipped, window) = (self.skipped, self.window);
        let at = length - skipped;
        let mut rows = rows.into_iter();
        let buffers = self.buffers.map(|buffer| {
            let rows = rows.next().expect("keys and values");
            let ([room, _], needed) = (buffer.dims(), at + rows.dims()[0]);
            let buffer = match needed > room {
                // By a part of itself, so that no row is moved more than a few times.
                true => written(
                    empty_like(&buffer, needed + (needed / 4).max(ROOM)),
                    0,
                    buffer.narrow(0, 0, at),
                ),
                false => buffer,
            };
            written(buffer, at, rows)
        });
        Self {
            buffers,
            skipped,
            window,
        }
    }

    /// How many rows are there where the sequence has `length` tokens.
    pub fn count(&self, length: usize) -> usize {
        length - self.skipped
    }

    /// Keys and values of a sequence of `length` tokens.
    pub fn get(&self, length: usize) -> [Tensor<2>; 2] {
        let count = self.count(length);
        [0, 1].map(|part: usize| self.buffers[part].clone().narrow(0, 0, count))
    }

    /// Whether nothing is missing that a sequence of `length` tokens goes on from.
    pub fn reaches_back(&self, length: usize) -> bool {
        let seen = self.window.map_or(length, |window| window.min(length));
        self.skipped <= length - seen
    }

    /// Let go of rows that no further token sees, when they are as many as those that are seen.
    pub fn trim(&mut self, length: usize) {
        let Some(window) = self.window else { return };
        let count = self.count(length);
        if count < 2 * window + ROOM {
            return;
        }
        let (first, kept) = (count - window, window);
        let kept = [0, 1].map(|part: usize| self.buffers[part].clone().narrow(0, first, kept));
        let skipped = self.skipped + first;
        *self = Self {
            skipped,
            ..Self::new(kept, self.window)
        };
    }
}

fn empty_like(rows: &Tensor<2>, count: usize) -> Tensor<2> {
    let width = rows.dims()[1];
    Tensor::zeros([count, width], (&rows.device(), rows.dtype()))
}

fn written(buffer: Tensor<2>, at: usize, rows: Tensor<2>) -> Tensor<2> {
    let [count, width] = rows.dims();
    buffer.slice_assign([at..at + count, 0..width], rows)
}
