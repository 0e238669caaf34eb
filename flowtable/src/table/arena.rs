//! Rows that only some flows own.

/// No row.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Rows that only some flows own, one each: dense, and what a flow leaves behind is the next one's. Room for one of each
/// slot is set aside at the start; memory is touched as rows are taken.
#[derive(Debug)]
pub(super) struct Arena<T> {
    rows: Vec<T>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub(super) fn new(slots: usize) -> Self {
        let mut rows = Vec::with_capacity(slots);
        portolan_sys::prefer_huge_pages(rows.spare_capacity_mut());
        Self { rows, free: Vec::with_capacity(slots) }
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.rows.get(place as usize)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.rows.get_mut(place as usize)
    }

    /// Takes a row and returns its place.
    pub(super) fn take(&mut self, row: T) -> u32 {
        if let Some(place) = self.free.pop()
            && let Some(free) = self.rows.get_mut(place as usize)
        {
            *free = row;
            return place;
        }
        let place = u32::try_from(self.rows.len()).unwrap_or(NOWHERE);
        self.rows.push(row);
        place
    }

    /// Gives a row back; nothing happens for a place that is none.
    pub(super) fn release(&mut self, place: u32) {
        if (place as usize) < self.rows.len() {
            self.free.push(place);
        }
    }

    /// Returns rows that somebody owns.
    #[cfg(test)]
    pub(super) fn owned(&self) -> usize {
        self.rows.len() - self.free.len()
    }
}
