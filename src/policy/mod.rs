//! Floor 1: who is let in, and to what. Decides from values; asks nobody.

#![forbid(unsafe_code)]

pub mod access;
pub mod admit;
pub mod cidr;
pub mod credentials;
pub mod forwarded;
pub mod gate;
pub mod json_target;
pub mod media;
pub mod named;
pub mod origin;
pub mod page;
pub mod rule;
pub mod rules;
pub mod special;
pub mod syntax;
pub mod target;
pub mod tokens;
pub mod unix;
