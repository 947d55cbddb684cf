//! Which targets a peer may name.

/// `--allow` and `--deny`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {}
