//! The connections: slots in segments that are freed when they empty.
//!
//! A freed slot is reused only after [`Table::recycle`], at the end of a batch of events, so that
//! a stale event finds an empty slot and never a stranger.

use super::connection::Connection;
use super::sys;
use crate::stats::ConnectionId;

/// Slots in a segment: one bit each of a `u128`, and large enough that the allocator maps it by
/// itself and gives it back whole.
const SEGMENT: usize = 128;

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

    /// The id that [`Table::insert`] will give its connection.
    pub fn next_id(&self) -> ConnectionId {
        let with_room = |s: &Option<Segment>| s.as_ref().map_or(true, |s| s.taken != u128::MAX);
        let segment = self.segments.iter().position(with_room).unwrap_or(self.segments.len());
        let taken = self.segments.get(segment).and_then(Option::as_ref).map_or(0, |s| s.taken);
        let slot = segment * SEGMENT + taken.trailing_ones() as usize;
        ConnectionId { slot: slot as u32, generation: self.generation.wrapping_add(1) }
    }

    /// Puts a connection, which must have been made with it, at [`Table::next_id`].
    pub fn insert(&mut self, connection: Connection) -> ConnectionId {
        let id = self.next_id();
        self.generation = id.generation;
        let (segment, index) = place(id.slot);
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
        id
    }

    /// Who is in a slot now.
    pub fn get(&mut self, slot: u32) -> Option<(ConnectionId, &mut Connection)> {
        let (segment, index) = place(slot);
        let segment = self.segments.get_mut(segment)?.as_mut()?;
        let connection = segment.slots[index].as_mut()?;
        Some((connection.id(), connection))
    }

    /// The connection of that id, if it is still there.
    pub fn get_id(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.get(id.slot).filter(|(found, _)| *found == id).map(|(_, connection)| connection)
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

    /// Everybody, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        let slots = self.segments.iter().flatten().flat_map(|segment| segment.slots.iter());
        slots.flatten()
    }

    /// Every name, by slot.
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(Connection::id).collect()
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
