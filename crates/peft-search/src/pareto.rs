//! Dominance between rows of objectives, all maximised.

/// Whether `a` is at least `b` in every objective and above it in one.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a >= b) && a.iter().zip(b).any(|(a, b)| a > b)
}

/// Indices of the rows that no other row dominates, ascending; of equal rows the first, and no row with a NaN.
///
/// Two objectives in O(n log n), more in O(n² m).
pub fn front(rows: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len())
        .filter(|&row| rows[row].iter().all(|value| !value.is_nan()))
        .collect();
    // Lexicographically descending: a row can only be dominated by, or equal to, one before it.
    order.sort_by(|&a, &b| {
        let mut compared = rows[b].iter().zip(&rows[a]).map(|(b, a)| b.partial_cmp(a));
        let first = compared.find(|order| *order != Some(std::cmp::Ordering::Equal));
        first.flatten().unwrap_or_else(|| a.cmp(&b))
    });
    let mut kept: Vec<usize> = Vec::new();
    for row in order {
        let covered = |&other: &usize| rows[other].iter().zip(&rows[row]).all(|(a, b)| a >= b);
        let out = match (rows[row].len(), kept.last()) {
            (2, Some(last)) => covered(last),
            _ => kept.iter().any(covered),
        };
        if !out {
            kept.push(row);
        }
    }
    kept.sort_unstable();
    kept
}

/// The rank of every row by non-dominated sorting (Deb et al., "A fast and elitist multiobjective genetic algorithm:
/// NSGA-II", 2002): 0 on the front, 1 on the front of the rest, and so on. Equal rows have equal ranks; rows with a
/// NaN come last, one rank after all others.
pub fn ranks(rows: &[Vec<f64>]) -> Vec<usize> {
    let whole = |row: &Vec<f64>| row.iter().all(|value| !value.is_nan());
    let mut rank = vec![usize::MAX; rows.len()];
    let mut left: Vec<usize> = (0..rows.len()).filter(|&row| whole(&rows[row])).collect();
    let mut level = 0;
    while !left.is_empty() {
        let (out, on): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(|&row| {
            left.iter()
                .any(|&other| dominates(&rows[other], &rows[row]))
        });
        on.into_iter().for_each(|row| rank[row] = level);
        left = out;
        level += 1;
    }
    rank.iter_mut()
        .filter(|rank| **rank == usize::MAX)
        .for_each(|rank| *rank = level);
    rank
}

/// Crowding distances of rows of one rank (Deb et al. 2002): the sum over objectives of the gap between a row's
/// neighbours, in parts of the range; infinite at the ends.
pub fn crowding(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut distance = vec![0.0; rows.len()];
    for objective in 0..rows.first().map_or(0, Vec::len) {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| {
            rows[a][objective]
                .total_cmp(&rows[b][objective])
                .then(a.cmp(&b))
        });
        let (first, last) = (order[0], order[rows.len() - 1]);
        let range = rows[last][objective] - rows[first][objective];
        distance[first] = f64::INFINITY;
        distance[last] = f64::INFINITY;
        if range > 0.0 {
            for three in order.windows(3) {
                distance[three[1]] +=
                    (rows[three[2]][objective] - rows[three[0]][objective]) / range;
            }
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_ranks_and_crowding_of_a_small_set() {
        let rows: Vec<Vec<f64>> = [
            [1.0, 3.0],
            [2.0, 2.0],
            [3.0, 1.0],
            [2.0, 2.0],
            [1.0, 1.0],
            [2.0, 1.0],
            [f64::NAN, 9.0],
        ]
        .map(|row| row.to_vec())
        .to_vec();
        assert_eq!(front(&rows), [0, 1, 2]);
        assert_eq!(ranks(&rows), [0, 0, 0, 0, 2, 1, 3]);
        assert_eq!(crowding(&rows[..3]), [f64::INFINITY, 2.0, f64::INFINITY]);
        assert!(front(&[]).is_empty() && ranks(&[]).is_empty() && crowding(&[]).is_empty());
    }
}
