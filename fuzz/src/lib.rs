//! What the fuzz targets share: bytes as choices, bytes in pieces, frames, and a connection whose
//! sockets follow a script.
//!
//! A target's first input bytes choose (see [`input::Input`]), the rest is what arrives on a wire:
//! seeds can be written by hand, and a mutation of one byte stays a small change.

pub mod base64;
pub mod chunk;
pub mod cuts;
pub mod driver;
pub mod ear;
pub mod end;
pub mod frames;
pub mod framing;
pub mod heads;
pub mod input;
pub mod model;
pub mod receiver;
pub mod script;
pub mod socket;
pub mod utf8;
