//! The machine's stack, memo and containers.

use super::{Cursor, Machine, Object, Value};
use crate::error::Result;

impl<'a> Machine<'a> {
    /// Values above the last open mark; those below it are out of reach.
    fn reachable(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn top(&self, cursor: &Cursor<'a>, at: usize) -> Result<Value<'a>> {
        match self.stack.last() {
            Some(&value) if self.reachable() > 0 => Ok(value),
            _ => Err(cursor.corrupt(at, "a value is used before there is one")),
        }
    }

    pub(super) fn pop(&mut self, cursor: &Cursor<'a>, at: usize) -> Result<Value<'a>> {
        let value = self.top(cursor, at)?;
        self.stack.pop();
        Ok(value)
    }

    pub(super) fn pop_many(
        &mut self,
        cursor: &Cursor<'a>,
        at: usize,
        count: usize,
    ) -> Result<Vec<Value<'a>>> {
        if self.reachable() < count {
            return Err(cursor.corrupt(at, "values are used before there are any"));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    /// The values since the last mark, which is closed.
    pub(super) fn pop_mark(&mut self, cursor: &Cursor<'a>, at: usize) -> Result<Vec<Value<'a>>> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => Err(cursor.corrupt(at, "a group ends that never began")),
        }
    }

    /// What the memo holds under a number.
    pub(super) fn recall(&self, cursor: &Cursor<'a>, at: usize, number: u32) -> Result<Value<'a>> {
        let found = self.memo.get(&number).copied();
        found.ok_or_else(|| cursor.corrupt(at, format!("there is no earlier value {number}")))
    }

    pub(super) fn append(
        &mut self,
        cursor: &Cursor<'a>,
        at: usize,
        items: impl IntoIterator<Item = Value<'a>>,
    ) -> Result<()> {
        let target = self.top(cursor, at)?;
        match self.heap.get_mut(target) {
            Some(Object::List(list)) => {
                list.extend(items);
                Ok(())
            }
            _ => {
                let found = format!("{} that is appended to", self.heap.describe(target));
                Err(cursor.forbidden(at, found))
            }
        }
    }

    /// Sets keys and values, given in turn.
    pub(super) fn set_items(
        &mut self,
        cursor: &Cursor<'a>,
        at: usize,
        items: &[Value<'a>],
    ) -> Result<()> {
        let (new, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(cursor.corrupt(at, "a dictionary gets a key without a value"));
        }
        let target = self.top(cursor, at)?;
        match self.heap.get_mut(target) {
            Some(Object::Dict { pairs, .. }) => {
                pairs.extend(new.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => {
                let found = format!("{} that gets items", self.heap.describe(target));
                Err(cursor.forbidden(at, found))
            }
        }
    }
}
