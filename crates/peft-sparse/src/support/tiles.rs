use crate::SparseError;

/// The trained entries of a weight `[out, in]`: tiles of one size.
///
/// The weight is cut into tiles of `h × w` entries, those at the lower and right borders smaller where
/// the sides do not divide; the support is some of them. Single entries are tiles of `1 × 1`, blocks
/// of `h × w`, a leading window is one tile, whole rows or columns are tiles as wide or high as the
/// weight. Tiles are numbered row by row, and rise; the trained values are in the order of the
/// entries, row by row, whatever the tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    shape: [usize; 2],
    tile: [usize; 2],
    tiles: Vec<u32>,
}

impl Support {
    /// Some tiles of `tile` entries of a weight `shape`.
    ///
    /// # Errors
    /// If the weight or the tile is empty or too large, there is no tile, one lies outside the grid, or
    /// they do not rise.
    pub fn new(
        shape: [usize; 2],
        tile: [usize; 2],
        tiles: impl IntoIterator<Item = u64>,
    ) -> Result<Self, SparseError> {
        let available = tile_count(shape, tile)?;
        let mut kept: Vec<u32> = Vec::new();
        for (index, tile) in tiles.into_iter().enumerate() {
            if tile >= available as u64 {
                return Err(SparseError::Outside {
                    index,
                    tile,
                    available,
                });
            }
            if kept.last().is_some_and(|&last| u64::from(last) >= tile) {
                return Err(SparseError::Order { index, tile });
            }
            kept.push(tile as u32);
        }
        if kept.is_empty() {
            let count = 0;
            return Err(SparseError::Count { count, available });
        }
        let tiles = kept;
        Ok(Self { shape, tile, tiles })
    }

    /// Single entries, at the flat places `row · in + col`.
    ///
    /// # Errors
    /// If the weight is empty or too large, there is no place, one lies outside of it, or one does not come
    /// after the one before it.
    pub fn entries(
        shape: [usize; 2],
        places: impl IntoIterator<Item = u64>,
    ) -> Result<Self, SparseError> {
        Self::new(shape, [1, 1], places)
    }

    /// The leading `window` of a weight: its first rows of its first columns.
    ///
    /// # Errors
    /// If the weight or the window is empty, or the weight is too large.
    pub fn window(shape: [usize; 2], window: [usize; 2]) -> Result<Self, SparseError> {
        Self::new(shape, window, [0])
    }

    /// Outputs and inputs of the weight.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Sides of a tile.
    #[must_use]
    pub fn tile(&self) -> [usize; 2] {
        self.tile
    }

    /// Numbers of the tiles, rising.
    #[must_use]
    pub fn tiles(&self) -> &[u32] {
        &self.tiles
    }

    /// Number of trained entries.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a support is never empty")]
    pub fn len(&self) -> usize {
        let across = self.shape[1].div_ceil(self.tile[1]);
        let extent = |at: usize, axis: usize| {
            let first = at * self.tile[axis];
            self.tile[axis].min(self.shape[axis] - first)
        };
        let entries = |&tile: &u32| {
            let tile = tile as usize;
            extent(tile / across, 0) * extent(tile % across, 1)
        };
        self.tiles.iter().map(entries).sum()
    }

    /// The entries `[output, input]`, row by row: the order of the values.
    pub fn places(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        let [rows, cols] = self.shape;
        let [height, width] = self.tile;
        let across = cols.div_ceil(width) as u32;
        let bands = self.tiles.chunk_by(move |a, b| a / across == b / across);
        bands.flat_map(move |band| {
            let first = (band[0] / across) as usize * height;
            (first..(first + height).min(rows)).flat_map(move |row| {
                band.iter().flat_map(move |&tile| {
                    let first = (tile % across) as usize * width;
                    (first..(first + width).min(cols)).map(move |col| [row as u32, col as u32])
                })
            })
        })
    }
}

/// Tiles of a grid, if a place in it fits 32 bits.
pub fn tile_count(shape: [usize; 2], tile: [usize; 2]) -> Result<usize, SparseError> {
    let entries = shape[0].checked_mul(shape[1]);
    if !entries.is_some_and(|entries| (1..=i32::MAX as usize).contains(&entries)) {
        return Err(SparseError::Shape { shape });
    }
    if tile.contains(&0) {
        return Err(SparseError::Tile { tile });
    }
    Ok(shape[0].div_ceil(tile[0]) * shape[1].div_ceil(tile[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_tiles_come_row_by_row() {
        // Tiles of 2 x 3 on a weight of 3 x 5: those at the borders are smaller.
        let support = Support::new([3, 5], [2, 3], [0, 1, 3]).unwrap();
        let places: Vec<[u32; 2]> = support.places().collect();
        let wanted = (0..2u32)
            .flat_map(|row| (0..5).map(move |col| [row, col]))
            .chain([[2, 3], [2, 4]]);
        assert_eq!(places, wanted.collect::<Vec<_>>());
        assert_eq!(support.len(), 12);
        assert!(places.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn entries_and_windows_are_tiles() {
        let entries = Support::entries([4, 6], [1, 6, 23]).unwrap();
        let places: Vec<_> = entries.places().collect();
        assert_eq!(places, [[0, 1], [1, 0], [3, 5]]);
        let window = Support::window([4, 6], [2, 2]).unwrap();
        let places: Vec<_> = window.places().collect();
        assert_eq!(places, [[0, 0], [0, 1], [1, 0], [1, 1]]);
        // A window larger than the weight is the weight.
        assert_eq!(Support::window([4, 6], [9, 9]).unwrap().len(), 24);
    }

    #[test]
    fn what_is_no_support_is_refused() {
        let of = |places: &[u64]| Support::entries([2, 3], places.iter().copied());
        assert!(matches!(of(&[]), Err(SparseError::Count { .. })));
        assert!(matches!(
            of(&[0, 6]),
            Err(SparseError::Outside { index: 1, .. })
        ));
        for unsorted in [[2, 2], [4, 1]] {
            assert!(matches!(
                of(&unsorted),
                Err(SparseError::Order { index: 1, .. })
            ));
        }
        assert!(matches!(
            Support::new([2, 3], [0, 1], [0]),
            Err(SparseError::Tile { .. })
        ));
        for shape in [[0, 3], [1 << 20, 1 << 20], [usize::MAX, 2]] {
            assert!(matches!(
                Support::window(shape, [1, 1]),
                Err(SparseError::Shape { .. })
            ));
        }
    }
}
