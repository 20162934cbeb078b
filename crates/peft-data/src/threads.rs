//! Work on all cores.

use crate::error::DataError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts a thread gets on average: enough that none waits long for another at the end.
const PARTS: usize = 16;

/// Maps items in order on all cores; fewer than `from` of them on the calling thread. Of several errors, the first in order is
/// reported.
pub(crate) fn on_all_cores<T: Sync, U: Send>(
    items: &[T],
    from: usize,
    map: impl Fn(&T) -> Result<U, DataError> + Sync,
) -> Result<Vec<U>, DataError> {
    let threads = match items.len() < from.max(1) {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from),
    };
    on_threads(threads, items, map)
}

fn on_threads<T: Sync, U: Send>(
    threads: usize,
    items: &[T],
    map: impl Fn(&T) -> Result<U, DataError> + Sync,
) -> Result<Vec<U>, DataError> {
    if threads == 1 {
        return items.iter().map(map).collect();
    }
    let size = items.len().div_ceil(threads * PARTS).max(1);
    let parts: Vec<&[T]> = items.chunks(size).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(part) = parts.get(at)
        {
            let mapped = part.iter().map(&map).collect::<Result<Vec<U>, _>>();
            if mapped.is_err() {
                // All parts before this one are in work already, so that an earlier error is found as well.
                next.store(parts.len(), Ordering::Relaxed);
            }
            done.push((at, mapped));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            // A panic of the tokenizer library is passed on as it is.
            let more = other.join();
            done.extend(more.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    let mut all = Vec::with_capacity(items.len());
    for (_, mapped) in done {
        all.extend(mapped?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(item: &usize, from: usize) -> Result<usize, DataError> {
        match *item < from {
            true => Ok(item * 2),
            false => Err(DataError::Empty {
                file: item.to_string(),
            }),
        }
    }

    #[test]
    fn order_and_first_error_do_not_depend_on_threads() {
        for threads in 1..9 {
            for count in [0, 1, 2, 31, 1000] {
                let items: Vec<usize> = (0..count).collect();
                let doubled = on_threads(threads, &items, |item| failing(item, count)).unwrap();
                assert!(doubled.iter().copied().eq((0..count).map(|item| item * 2)));
                for from in (0..count).step_by(97) {
                    let error = on_threads(threads, &items, |item| failing(item, from));
                    match error.unwrap_err() {
                        DataError::Empty { file } => assert_eq!(file, from.to_string()),
                        other => panic!("{other}"),
                    }
                }
            }
        }
    }
}
