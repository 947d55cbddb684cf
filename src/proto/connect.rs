//! HTTP `CONNECT` heads (RFC 9110 §9.3.6): who wants to be connected where.

/// Which of its forms a head has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A request head, which is answered with a response head.
    #[default]
    Full,
    /// `CONNECT host:port` alone, as a message of its own, which is not answered.
    Bare,
}
