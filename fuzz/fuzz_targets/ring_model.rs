//! The ring against a queue, and pipes that share a pool against its account.
//!
//! ```text
//! input = capacity (1 byte), ceiling (1), then operations: what (1 byte), how many (1)
//! ```

#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::buf::pool::{Pool, FLOOR};
use ws_tcp_proxy::buf::ring::Ring;
use ws_tcp_proxy::session::pipe::{Flow, Pipe};
use ws_tcp_proxy_fuzz::input::Input;

/// Directions that may be open at once.
const MOST_PIPES: usize = 12;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let capacity = usize::from(input.byte()) % 64;
    let ceiling = input.pick(&[4 << 10, 24 << 10, 64 << 10, 1 << 20]);
    ring(capacity, input);
    pipes(ceiling, input);
});

/// Bytes that show their place.
fn bytes(count: &mut u32, n: usize) -> Vec<u8> {
    let numbers = *count..*count + n as u32;
    *count += n as u32;
    numbers.map(|i| (i ^ i >> 8) as u8).collect()
}

fn joined((first, second): (&[u8], &[u8])) -> Vec<u8> {
    [first, second].concat()
}

/// One ring.
fn ring(capacity: usize, mut input: Input) {
    let (mut ring, mut model, mut count) = (Ring::with_capacity(capacity), VecDeque::new(), 0);
    while !input.is_empty() {
        let (what, n) = (input.byte(), usize::from(input.byte()));
        if what & 1 == 0 {
            let bytes = bytes(&mut count, n);
            let taken = ring.push(&bytes);
            assert_eq!(taken, n.min(capacity - model.len()));
            model.extend(&bytes[..taken]);
        } else {
            ring.consume(n);
            model.drain(..n.min(model.len()));
        }
        let (first, second) = ring.slices();
        assert!(!first.is_empty() || second.is_empty(), "the first run comes first");
        assert_eq!(joined(ring.slices()), Vec::from(model.clone()));
        assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(ring.capacity(), capacity);
    }
}

/// A direction and what its sink has not taken.
struct Direction {
    pipe: Pipe,
    model: VecDeque<u8>,
}

impl Direction {
    fn new() -> Self {
        Self { pipe: Pipe::new(), model: VecDeque::new() }
    }
}

/// Connections that read what the pool allows and whose sinks take what they like.
fn pipes(ceiling: usize, mut input: Input) {
    let mut pool = Pool::new(ceiling, MOST_PIPES / 2);
    let mut open: Vec<Direction> = Vec::new();
    let mut count = 0;
    // What the account allows, and what control frames came on top of it.
    let mut most = Pool::worst_case(ceiling, MOST_PIPES / 2);
    while !input.is_empty() {
        let (what, n) = (input.byte(), input.len());
        let (opened, at) = (open.len(), usize::from(what >> 3) % open.len().max(1));
        match (what & 7, open.get_mut(at)) {
            // Two directions more.
            (0, _) if opened < MOST_PIPES && !pool.is_full() => {
                open.extend([Direction::new(), Direction::new()]);
            }
            // A connection goes, whatever waits.
            (1, Some(_)) => {
                for mut gone in open.drain(at / 2 * 2..at / 2 * 2 + 2) {
                    gone.pipe.break_off(&mut pool);
                    assert_eq!(gone.pipe.flow, Flow::Broken);
                }
            }
            // Its source is read, since nothing waits; the sink takes none of it.
            (2 | 3, Some(direction)) if direction.pipe.is_clear() => {
                let may = pool.may_read(n);
                assert!(may <= n && may >= n.min(FLOOR), "{may} of {n}");
                let bytes = bytes(&mut count, may);
                direction.pipe.keep(&bytes, &mut pool);
                direction.model.extend(bytes);
            }
            // A few bytes more, as if it were a control frame.
            (4, Some(direction)) => {
                let bytes = bytes(&mut count, n % 140);
                direction.pipe.keep(&bytes, &mut pool);
                direction.model.extend(bytes);
                most += n % 140;
            }
            // The sink takes some.
            (5.., Some(direction)) => {
                let n = n.min(direction.model.len());
                let empty = direction.pipe.delivered(n, &mut pool);
                direction.model.drain(..n);
                assert_eq!(empty, direction.model.is_empty());
            }
            _ => {}
        }
        check(&open, &pool, most);
    }
    for mut direction in open {
        let n = direction.model.len();
        assert!(direction.pipe.delivered(n, &mut pool));
        assert!(direction.pipe.is_clear());
    }
    assert_eq!(pool.lent(), 0);
}

fn check(open: &[Direction], pool: &Pool, most: usize) {
    let mut waiting = 0;
    for Direction { pipe, model } in open {
        assert_eq!(joined(pipe.waiting()), Vec::from(model.clone()));
        assert_eq!((pipe.waiting_len(), pipe.is_clear()), (model.len(), model.is_empty()));
        waiting += model.len();
    }
    assert!(waiting <= pool.lent(), "{waiting} bytes wait in {} lent ones", pool.lent());
    assert!(pool.lent() <= most, "{} bytes are lent, more than {most}", pool.lent());
    assert!(waiting > 0 || pool.lent() == 0, "nothing waits, and {} bytes are lent", pool.lent());
}
