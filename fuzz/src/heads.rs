//! A request head that comes in pieces.

use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::config::Limits;
use ws_tcp_proxy::policy::admit::Refusal;
use ws_tcp_proxy::policy::gate::Gate;
use ws_tcp_proxy::session::opening::{Call, Opening};

use crate::cuts::Cuts;

/// What becomes of it, and what stands behind it. `None` while it asks for more.
pub fn meet(
    wire: &[u8],
    cuts: Cuts,
    limits: &Limits,
    gate: Gate,
) -> Option<(Result<Call, Refusal>, Vec<u8>)> {
    let (mut opening, mut hot) = (Opening::default(), Hot::new(1 << 14));
    let mut at = 0;
    for piece in cuts.pieces(wire, usize::MAX) {
        let end = at + piece.len();
        while at < end {
            let n = (end - at).min(opening.read_limit(limits));
            hot.fill(n).copy_from_slice(&wire[at..at + n]);
            hot.commit(n);
            at += n;
            if let Some(met) = opening.on_bytes(&mut hot, gate, limits) {
                let rest = match &met {
                    Ok(_) => [hot.input(), &wire[at..]].concat(),
                    Err(_) => Vec::new(), // what follows a refusal is dropped
                };
                return Some((met, rest));
            }
            assert!(hot.input().is_empty(), "what asks for more has used up what there is");
            assert!(at < limits.max_head, "{at} bytes and no answer");
        }
    }
    None
}
