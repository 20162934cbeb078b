//! Hugging Face's `longest_first` truncation.

/// Tokens to keep of a text and its pair so that together they have at most `room`.
///
/// The rule of the `tokenizers` library: cut the longer one to the length of the shorter, then both
/// alike, the originally longer one keeping the odd token.
pub(crate) fn longest_first(first: usize, second: Option<usize>, room: usize) -> (usize, usize) {
    let Some(second) = second else {
        return (first.min(room), 0);
    };
    if first + second <= room {
        return (first, second);
    }
    let (short, swapped) = (first.min(second), first > second);
    let mut keep = (short, short.max(room.saturating_sub(short)));
    if keep.0 + keep.1 > room {
        keep = (room / 2, room / 2 + room % 2);
    }
    if swapped { (keep.1, keep.0) } else { keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longer_gives_first() {
        assert_eq!(longest_first(10, None, 4), (4, 0));
        assert_eq!(longest_first(3, Some(10), 8), (3, 5));
        assert_eq!(longest_first(10, Some(3), 8), (5, 3));
        assert_eq!(longest_first(10, Some(20), 7), (3, 4));
        assert_eq!(longest_first(20, Some(10), 7), (4, 3));
        assert_eq!(longest_first(9, Some(9), 7), (3, 4));
        assert_eq!(longest_first(3, Some(4), 7), (3, 4));
    }

    proptest! {
        #[test]
        fn fills_the_room_exactly(a in 0usize..60, b in 0usize..60, room in 1usize..60) {
            let (x, y) = longest_first(a, Some(b), room);
            prop_assert!(x <= a && y <= b);
            prop_assert_eq!(x + y, room.min(a + b));
        }
    }
}
