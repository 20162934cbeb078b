//! Labels of loaded rows, kept as compactly as their tokens.

use crate::dataset::Labels;
use crate::flags::FlagStore;
use crate::preview::PreviewTargets;
use crate::store::Store;
use std::ops::Range;

/// Labels in the order of the rows. Ids are those of the order of appearance where the labels were
/// learned from the data; `order` leads from there to the class ids.
#[derive(Debug)]
pub(crate) enum LabelStore {
    None,
    Classes {
        ids: Store<u32>,
        order: Option<Vec<u32>>,
    },
    Numbers(Store<f32>),
    Many {
        ids: Store<u32>,
        /// Start of every row in `ids`, and the end.
        starts: Store<u64>,
        order: Option<Vec<u32>>,
        width: usize,
    },
    /// Classes of words.
    Words {
        /// One a token, see [`Labels::Words`].
        words: Store<u32>,
        /// The labels of all words, those that are cut off included; none if nobody asked for them.
        tags: Store<u32>,
        /// Start of every row in `tags`, and the end.
        starts: Store<u64>,
        order: Option<Vec<u32>>,
    },
    /// Whether each token is to be predicted; `None` if all are except the first of every row.
    Tokens(Option<FlagStore>),
}

fn through(order: Option<&Vec<u32>>, id: u32) -> u32 {
    order.map_or(id, |order| order[id as usize])
}

impl LabelStore {
    /// The labels of some rows, which must exist and begin at `starts`.
    pub(crate) fn select(&self, rows: impl Iterator<Item = usize>, starts: &[u64]) -> Labels {
        match self {
            Self::Tokens(flags) => {
                let mut trained = Vec::new();
                for row in rows {
                    let span = starts[row] as usize..starts[row + 1] as usize;
                    match flags {
                        Some(flags) => trained.extend(flags.range(span)),
                        None => trained.extend((0..span.len()).map(|token| token > 0)),
                    }
                }
                Labels::Tokens { trained }
            }
            Self::Words { words, .. } => {
                let (mut classes, mut places) = (Vec::new(), Vec::new());
                for row in rows {
                    let span = starts[row] as usize..starts[row + 1] as usize;
                    classes.extend(words[span.clone()].iter().map(|word| self.tag(row, *word)));
                    places.extend_from_slice(&words[span]);
                }
                Labels::Words {
                    classes,
                    words: places,
                }
            }
            Self::None => Labels::None,
            Self::Classes { ids, order } => {
                Labels::Classes(rows.map(|r| through(order.as_ref(), ids[r])).collect())
            }
            Self::Numbers(values) => Labels::Numbers(rows.map(|r| values[r]).collect()),
            Self::Many {
                ids,
                starts,
                order,
                width,
            } => {
                let mut values = Vec::new();
                for row in rows {
                    let start = values.len();
                    values.resize(start + width, 0.0);
                    for &id in &ids[starts[row] as usize..starts[row + 1] as usize] {
                        values[start + through(order.as_ref(), id) as usize] = 1.0;
                    }
                }
                let width = *width;
                Labels::MultiHot { values, width }
            }
        }
    }

    /// The class of a word of a row.
    fn tag(&self, row: usize, word: u32) -> u32 {
        let Self::Words {
            tags,
            starts,
            order,
            ..
        } = self
        else {
            return Labels::IGNORED;
        };
        match starts.get(row) {
            _ if word == Labels::IGNORED => Labels::IGNORED,
            None => Labels::UNKNOWN,
            Some(start) => match tags.get(*start as usize + word as usize) {
                Some(&Labels::IGNORED) | None => Labels::IGNORED,
                Some(&tag) => through(order.as_ref(), tag),
            },
        }
    }

    /// Tokens to predict of a row, whose tokens are given.
    pub(crate) fn targets(&self, row: usize, span: Range<usize>) -> usize {
        match self {
            Self::Words { words, .. } => {
                let tags = words[span].iter().map(|word| self.tag(row, *word));
                tags.filter(|tag| *tag < Labels::UNKNOWN).count()
            }
            Self::Tokens(Some(flags)) => flags.range(span).filter(|trained| *trained).count(),
            Self::Tokens(None) => span.len().saturating_sub(1),
            _ => 0,
        }
    }

    /// The class of a row, where rows have one.
    pub(crate) fn class(&self, row: usize) -> u32 {
        match self {
            Self::Classes { ids, .. } => ids[row],
            _ => 0,
        }
    }

    /// The range of numbers and their mean, for numbers.
    pub(crate) fn numbers(&self) -> Option<PreviewTargets> {
        let Self::Numbers(values) = self else {
            return None;
        };
        let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
        Some(PreviewTargets {
            min: values.iter().copied().reduce(f32::min)?,
            mean: sum / values.len() as f64,
            max: values.iter().copied().reduce(f32::max)?,
        })
    }

    /// Rows with each of `width` labels, or words.
    pub(crate) fn counts(&self, width: usize) -> Vec<usize> {
        let mut counts = vec![0; width];
        let (Self::Classes { ids, order }
        | Self::Many { ids, order, .. }
        | Self::Words {
            tags: ids, order, ..
        }) = self
        else {
            return counts;
        };
        {
            for &id in ids.iter().filter(|id| **id != Labels::IGNORED) {
                if let Some(count) = counts.get_mut(through(order.as_ref(), id) as usize) {
                    *count += 1;
                }
            }
        }
        counts
    }
}

impl From<Labels> for LabelStore {
    fn from(labels: Labels) -> Self {
        match labels {
            // Texts in memory have no words; see `Dataset::from_texts`.
            Labels::Words { .. } => Self::None,
            Labels::Tokens { trained } => Self::Tokens(Some(FlagStore::in_memory(&trained))),
            Labels::None => Self::None,
            Labels::Classes(ids) => Self::Classes {
                ids: ids.into(),
                order: None,
            },
            Labels::Numbers(values) => Self::Numbers(values.into()),
            Labels::MultiHot { values, width } => {
                let (mut ids, mut starts) = (Vec::new(), vec![0]);
                for row in values.chunks(width.max(1)) {
                    ids.extend(
                        (0u32..)
                            .zip(row)
                            .filter(|(_, v)| **v != 0.0)
                            .map(|(id, _)| id),
                    );
                    starts.push(ids.len() as u64);
                }
                Self::Many {
                    ids: ids.into(),
                    starts: starts.into(),
                    order: None,
                    width,
                }
            }
        }
    }
}
