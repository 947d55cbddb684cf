//! The connections: slots in segments that are freed when they empty.
//!
//! A freed slot is reused only after [`Table::recycle`], at the end of a batch of events, so that
//! a stale event finds an empty slot and never a stranger.

use super::connection::Connection;
use super::sys;

/// Slots in a segment: one bit each of a `u128`, and large enough that the allocator maps it by
/// itself and gives it back whole.
const SEGMENT: usize = 128;

/// A slot with the generation of who is in it, for what outlives a batch: timers, DNS answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Index in the table.
    pub slot: u32,
    /// Counts connections, so that a slot's next one has another.
    pub generation: u32,
}

struct Segment {
    /// Bit `i` is set from insertion until after the batch in which slot `i` was freed.
    taken: u128,
    slots: Box<[Option<Connection>]>,
}

/// The table.
#[derive(Default)]
pub struct Table {
    /// `None` where nothing is left of a segment.
    segments: Vec<Option<Segment>>,
    /// Freed in this batch.
    freed: Vec<u32>,
    len: usize,
    /// The most there were since memory was last given back.
    peak: usize,
    generation: u32,
}

impl Table {
    /// Connections in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The key that [`Table::insert`] will give its connection.
    pub fn next_key(&self) -> Key {
        let with_room = |s: &Option<Segment>| s.as_ref().map_or(true, |s| s.taken != u128::MAX);
        let segment = self.segments.iter().position(with_room).unwrap_or(self.segments.len());
        let taken = self.segments.get(segment).and_then(Option::as_ref).map_or(0, |s| s.taken);
        let slot = segment * SEGMENT + taken.trailing_ones() as usize;
        Key { slot: slot as u32, generation: self.generation.wrapping_add(1) }
    }

    /// Puts a connection, which must have been made with it, at [`Table::next_key`].
    pub fn insert(&mut self, connection: Connection) -> Key {
        let key = self.next_key();
        self.generation = key.generation;
        let (segment, index) = place(key.slot);
        if segment == self.segments.len() {
            self.segments.push(None);
        }
        let segment = self.segments[segment].get_or_insert_with(|| Segment {
            taken: 0,
            slots: std::iter::repeat_with(|| None).take(SEGMENT).collect(),
        });
        segment.taken |= 1 << index;
        segment.slots[index] = Some(connection);
        self.len += 1;
        self.peak = self.peak.max(self.len);
        key
    }

    /// Who is in a slot now.
    pub fn get(&mut self, slot: u32) -> Option<(Key, &mut Connection)> {
        let (segment, index) = place(slot);
        let segment = self.segments.get_mut(segment)?.as_mut()?;
        let connection = segment.slots[index].as_mut()?;
        Some((connection.key(), connection))
    }

    /// The connection of that key, if it is still there.
    pub fn get_key(&mut self, key: Key) -> Option<&mut Connection> {
        self.get(key.slot).filter(|(found, _)| *found == key).map(|(_, connection)| connection)
    }

    /// Drops a connection. Its slot stays empty until [`Table::recycle`].
    pub fn remove(&mut self, slot: u32) {
        let (segment, index) = place(slot);
        if let Some(Some(segment)) = self.segments.get_mut(segment) {
            if segment.slots[index].take().is_some() {
                self.freed.push(slot);
                self.len -= 1;
            }
        }
    }

    /// Every key, by slot.
    pub fn keys(&self) -> Vec<Key> {
        let slots = self.segments.iter().flatten().flat_map(|segment| segment.slots.iter());
        slots.flatten().map(Connection::key).collect()
    }

    /// Ends a batch: freed slots may be used again, and empty segments go back to the allocator.
    pub fn recycle(&mut self) {
        while let Some(slot) = self.freed.pop() {
            let (segment, index) = place(slot);
            if let Some(place) = self.segments.get_mut(segment) {
                if let Some(segment) = place {
                    segment.taken &= !(1 << index);
                }
                if place.as_ref().is_some_and(|s| s.taken == 0) {
                    *place = None;
                }
            }
        }
        while let Some(None) = self.segments.last() {
            self.segments.pop();
        }
        self.freed.shrink_to(SEGMENT);
        // What is small lies among what others still use; after a burst it is worth a walk.
        if self.peak > SEGMENT && self.len < self.peak / 4 {
            self.peak = self.len;
            sys::trim_allocator();
        }
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / SEGMENT, slot as usize % SEGMENT)
}
