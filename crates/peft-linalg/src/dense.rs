/// A matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

/// A matrix as it is, or transposed, without a copy: a factor of a [`product`](crate::product()).
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    matrix: &'a Dense,
    transposed: bool,
}

impl Dense {
    /// A matrix of these values, row by row.
    ///
    /// # Panics
    /// If they are not `rows × columns`.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Self {
        assert_eq!(
            rows * columns,
            values.len(),
            "the values are not {rows} × {columns}"
        );
        Self {
            rows,
            columns,
            values,
        }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self::new(rows, columns, vec![0.0; rows * columns])
    }

    /// `value` on the diagonal, zeros beside it.
    pub fn diagonal(size: usize, value: f64) -> Self {
        let mut matrix = Self::zeros(size, size);
        for i in 0..size {
            matrix.values[i * size + i] = value;
        }
        matrix
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The values, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values, row by row, to be changed.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The values, row by row, without a copy.
    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// A row.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// The first `count` rows, copied.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn first_rows(&self, count: usize) -> Self {
        let values = self.values[..count * self.columns].to_vec();
        Self::new(count, self.columns, values)
    }

    /// The rows of this matrix, and below them those of another.
    ///
    /// # Panics
    /// If the columns disagree.
    pub fn stacked(&self, below: &Self) -> Self {
        assert_eq!(self.columns, below.columns, "rows of different lengths");
        let values = [&self.values[..], &below.values].concat();
        Self::new(self.rows + below.rows, self.columns, values)
    }

    /// The transpose, as a matrix of its own; [`t`](Self::t) copies nothing.
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.columns, self.rows);
        for (r, row) in self.values.chunks_exact(self.columns.max(1)).enumerate() {
            for (c, value) in row.iter().enumerate() {
                out.values[c * self.rows + r] = *value;
            }
        }
        out
    }

    /// This matrix as it is.
    pub fn view(&self) -> View<'_> {
        View {
            matrix: self,
            transposed: false,
        }
    }

    /// The transpose of this matrix, without a copy.
    pub fn t(&self) -> View<'_> {
        View {
            matrix: self,
            transposed: true,
        }
    }

    /// `self += factor · other`.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn add_scaled(&mut self, factor: f64, other: &Self) {
        assert_eq!(
            (self.rows, self.columns),
            (other.rows, other.columns),
            "matrices of different shapes"
        );
        for (value, more) in self.values.iter_mut().zip(&other.values) {
            *value += factor * more;
        }
    }

    /// All values times `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.values.iter_mut().for_each(|value| *value *= factor);
        self
    }
}

impl View<'_> {
    /// The values, in the order of the matrix as it is.
    pub(crate) fn values(&self) -> &[f64] {
        &self.matrix.values
    }

    /// Rows, columns, and the steps between them in memory.
    pub(crate) fn layout(&self) -> [usize; 4] {
        let (rows, columns) = (self.matrix.rows, self.matrix.columns);
        match self.transposed {
            false => [rows, columns, columns, 1],
            true => [columns, rows, 1, columns],
        }
    }
}
