//! Messages that appear in the stream, under a fake clock: sinks that refuse, what goes between
//! fragments, what is held and what becomes of it.

use super::script::*;
use super::*;
use crate::config::Messages;
use crate::proto::close::CloseCode;
use crate::proto::encoding::Encoding;
use crate::proto::frame::Opcode;
use crate::proto::framing::{Framing, FramingError, LengthForm};
use crate::session::ended::{By, Why};
use crate::testing::Random;

const U32: Framing = Framing::Length(LengthForm::U32);

fn messages(framing: Framing) -> Messages {
    Messages { framing, ..Messages::default() }
}

fn framed(framing: Framing) -> Script {
    Script::open(Limits::default(), messages(framing))
}

/// A peer's WebSocket, and the target's that it leads to.
fn both(framing: Framing, limits: Limits) -> Script {
    let mut s = Script::new(limits, messages(framing));
    s.peer_sends(HEAD.as_bytes());
    s.ask();
    s.target_sends(ANSWER.as_bytes());
    s.got[PEER].clear();
    s
}

#[test]
fn a_pong_goes_between_the_fragments_of_a_message() {
    let mut s = framed(Framing::Lines);
    s.target_sends(b"half");
    s.peer_sends(&frame(true, Opcode::Ping, b"?"));
    s.target_sends(b"\nnext\n");
    assert_eq!(s.got[PEER], b"\x02\x04half\x8a\x01?\x80\0\x82\x04next");
    assert_eq!((s.link.messages_from(PEER), s.link.messages_from(TARGET)), (0, 2));
}

/// What has begun to go out is finished first, and what is behind it in the read.
#[test]
fn a_pong_waits_for_the_frame_that_is_half_sent() {
    let mut s = framed(Framing::Lines);
    s.takes(PEER, 4);
    s.target_sends(b"one\ntwo\nth");
    s.peer_sends(&frame(true, Opcode::Ping, b"?"));
    s.target_sends(b"ree\n");
    assert_eq!(s.got[PEER], b"\x82\x03on");
    s.takes(PEER, usize::MAX);
    assert_eq!(s.got[PEER], b"\x82\x03one\x82\x03two\x02\x02th\x8a\x01?\x80\x03ree");
    assert_eq!(s.pool.lent(), 0);
}

#[test]
fn a_close_goes_where_a_message_was_under_way() {
    let mut s = framed(Framing::Ndjson);
    s.target_sends(b"{");
    s.peer_sends(&close(1000));
    assert!(s.got[PEER].ends_with(b"\x02\x01{\x88\x02\x03\xe8"));
}

#[test]
fn a_stream_that_ends_inside_a_message_is_a_close_of_1002() {
    let mut s = framed(Framing::Lines);
    s.target_sends(b"one\ntw");
    s.ends(TARGET, false);
    assert_eq!(s.close_code(), Some(1002));
    assert_eq!(s.heard().0, b"onetw");
    let why = Why::Protocol(FramingError::CutLine.into());
    let ended = s.link.ended().unwrap();
    assert_eq!((ended.by, ended.why, ended.code.get()), (By::Target, why, 1002));
}

#[test]
fn a_stream_that_is_reset_inside_a_message_is_lost_as_ever() {
    let mut s = framed(Framing::Lines);
    s.target_sends(b"one\ntw");
    s.ends(TARGET, true);
    assert_eq!((s.close_code(), s.ended()), (Some(1011), (By::Target, "reset", 1011)));
}

#[test]
fn fragments_are_held_at_the_pools_expense_and_go_to_the_target_whole() {
    let mut s = framed(U32);
    s.peer_sends(&frame(false, Opcode::Binary, &[1; 5000]));
    let held = s.pool.lent();
    assert!((5000..5020).contains(&held), "{held}");
    assert_eq!(s.link.buffered(), held, "whose it is can be seen");
    assert!(s.link.waiting(TARGET).0.is_empty(), "nothing waits for the target");
    s.takes(TARGET, 1000);
    s.peer_sends(&[frame(true, Opcode::Continuation, &[2; 3000]), binary(b"next")].concat());
    let expected =
        [&8000u32.to_be_bytes()[..], &[1; 5000], &[2; 3000], &[0, 0, 0, 4], b"next"].concat();
    assert_eq!(s.got[TARGET].len(), 1000);
    assert_eq!(s.link.buffered(), expected.len() - 1000);
    s.takes(TARGET, usize::MAX);
    assert!(s.got[TARGET] == expected);
    assert_eq!(s.link.bytes_from(PEER), expected.len() as u64);
    assert_eq!((s.link.messages_from(PEER), s.pool.lent()), (2, 0));
}

/// Between two WebSockets what was held becomes a message of its own again.
#[test]
fn what_was_held_is_framed_for_a_websocket() {
    let mut s = both(U32, Limits::default());
    let large = vec![7; 200_000];
    s.peer_sends(&frame(false, Opcode::Binary, &large));
    assert!(s.got[TARGET].is_empty() && s.pool.lent() >= large.len());
    s.peer_sends(&[frame(true, Opcode::Continuation, b"end"), binary(b"next")].concat());
    let heard = hear(Role::Server, &s.got[TARGET]).0;
    assert!(heard == [&large[..], b"endnext"].concat());
    assert_eq!(s.pool.lent(), 0);
}

#[test]
fn messages_stay_apart_between_two_websockets() {
    let mut s = both(Framing::Lines, Limits::default());
    let bare = |fin, opcode: Opcode, payload: &[u8]| {
        [&[u8::from(fin) << 7 | opcode as u8, payload.len() as u8], payload].concat()
    };
    let said = [
        bare(false, Opcode::Text, b"on"),
        bare(true, Opcode::Ping, b"?"),
        bare(true, Opcode::Continuation, b"e"),
        bare(true, Opcode::Text, b"two"),
    ];
    s.target_sends(&said.concat());
    assert_eq!(s.got[PEER], b"\x82\x03one\x82\x03two");
    s.got[TARGET].clear();
    s.peer_sends(&[binary(b"three"), binary(b"four")].concat());
    // The masking-keys of the script are zeros.
    assert_eq!(s.got[TARGET], b"\x82\x85\0\0\0\0three\x82\x84\0\0\0\0four");
}

#[test]
fn whatever_ends_a_connection_what_is_held_is_given_back() {
    let ends: [fn(&mut Script); 7] = [
        |s| s.peer_sends(&close(1000)),
        |s| s.ends(PEER, false),
        |s| s.ends(PEER, true),
        |s| s.peer_sends(&frame(true, Opcode::Binary, b"inside another")),
        |s| {
            s.with(|link, hot, ctx| {
                link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx)
            });
            s.at(secs(10));
        },
        |s| {
            s.ends(TARGET, true);
            s.at(secs(10));
        },
        |s| {
            // It takes nothing for --send-timeout, and the target then ends in good order.
            s.takes(PEER, 0);
            s.target_sends(b"\0\0\0\x01x");
            s.at(secs(61));
            s.ends(TARGET, false);
            assert!(s.link.is_over());
        },
    ];
    for (i, end) in ends.into_iter().enumerate() {
        let mut s = framed(U32);
        s.peer_sends(&frame(false, Opcode::Binary, &[1; 5000]));
        assert!(s.pool.lent() > 0);
        end(&mut s);
        assert_eq!(s.pool.lent(), 0, "way {i}");
        assert!(s.got[TARGET].is_empty(), "part of a message without its length");
    }
}

#[test]
fn without_memory_to_hold_it_a_fragmented_message_is_told_1013() {
    let limits = Limits { max_memory: 64 << 10, buffer_size: 8 << 10, ..Limits::default() };
    for to_websocket in [false, true] {
        let mut s = match to_websocket {
            false => Script::open(limits.clone(), messages(U32)),
            true => both(U32, limits.clone()),
        };
        s.peer_sends(&binary(b"before"));
        let target_got = s.got[TARGET].len();
        s.peer_sends(&frame(false, Opcode::Binary, &[1; 50_000]));
        assert_eq!(s.close_code(), None);
        s.peer_sends(&frame(false, Opcode::Continuation, &[1; 10_000]));
        assert_eq!(s.close_code(), Some(1013));
        let why = Why::Protocol(FramingError::NoMemory.into());
        assert_eq!(s.link.ended().map(|ended| (ended.by, ended.why)), Some((By::Proxy, why)));
        assert_eq!(s.pool.lent(), 0);
        // A stream is told by its end, a WebSocket by a Close.
        let told = &s.got[TARGET][target_got..];
        assert_eq!(told.first(), to_websocket.then_some(&0x88));
    }
}

/// Memory that others have taken is not all: each direction has a floor of its own.
#[test]
fn a_short_message_may_come_in_fragments_when_all_memory_is_taken() {
    let mut s = framed(U32);
    let ring = s.pool.lend(Limits::default().max_memory);
    s.peer_sends(&frame(false, Opcode::Binary, &[1; 2000]));
    s.peer_sends(&frame(true, Opcode::Continuation, &[1; 2000]));
    assert_eq!((s.close_code(), s.got[TARGET].len()), (None, 4004));
    s.peer_sends(&frame(false, Opcode::Binary, &[1; 4000]));
    assert_eq!(s.close_code(), None);
    s.peer_sends(&frame(false, Opcode::Continuation, &[1; 4000]));
    assert_eq!(s.close_code(), Some(1013));
    s.pool.give_back(ring);
    assert_eq!(s.pool.lent(), 0);
}

/// Four bytes of base64 stand for three: what was held fits, and its frames do not.
#[test]
fn without_memory_for_what_becomes_of_it_the_other_side_is_told_1013() {
    let limits = Limits { max_memory: 64 << 10, buffer_size: 8 << 10, ..Limits::default() };
    let messages = Messages { encoding: Encoding::Base64, ..messages(U32) };
    let mut s = Script::new(limits, messages);
    s.peer_sends(HEAD.replacen("GET /", "GET /?encoding=binary", 1).as_bytes());
    s.ask();
    s.target_sends(ANSWER.as_bytes());
    s.got[PEER].clear();
    s.peer_sends(&frame(false, Opcode::Binary, &[1; 50_000]));
    s.peer_sends(&frame(true, Opcode::Continuation, &[1; 10]));
    let (payload, control) = hear(Role::Server, &s.got[TARGET]);
    assert!(payload.is_empty());
    assert_eq!(control[0].1[..2], 1013u16.to_be_bytes());
    assert_eq!(s.pool.lent(), 0);
}

/// The first frames come with the answer to our request, in as long a read as there is, and grow.
#[test]
fn what_comes_with_the_answer_fits_whatever_it_becomes() {
    let limits = Limits { buffer_size: 4 << 10, ..Limits::default() };
    let [raw, lines] = [Framing::Raw, Framing::Lines].map(messages);
    let lossy = Messages { encoding: Encoding::Text, text_lossy: true, ..raw };
    for (messages, says) in [(lossy, &b"\xff"[..]), (lines, b"a")] {
        let mut s = Script::new(limits.clone(), messages);
        s.peer_sends(HEAD.as_bytes());
        s.ask();
        let bare = [&[0x82, says.len() as u8], says].concat();
        s.target_sends(&[ANSWER.as_bytes(), &bare.repeat(3000)].concat());
        let head = s.got[PEER].windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let (payload, _) = hear(Role::Client, &s.got[PEER][head..]);
        assert!(payload == String::from_utf8_lossy(says).repeat(3000).as_bytes());
    }
}

/// A rule that is broken in the very read in which a held message has come to its end: the account
/// of what was held is taken all the same.
#[test]
fn what_was_held_is_accounted_for_when_a_rule_is_broken_behind_it() {
    for to_websocket in [false, true] {
        let mut s = if to_websocket { both(U32, Limits::default()) } else { framed(U32) };
        s.peer_sends(&frame(false, Opcode::Binary, &[1; 1000]));
        let more = frame(false, Opcode::Continuation, &[2; 5000]);
        let last = frame(true, Opcode::Continuation, b"end");
        let unmasked = b"\x82\x03bad";
        s.peer_sends(&[&more[..], &last, unmasked].concat());
        assert_eq!(s.close_code(), Some(1002));
        assert_eq!(s.pool.lent(), 0, "{to_websocket}");
        let got = if to_websocket {
            hear(Role::Server, &s.got[TARGET]).0.len()
        } else {
            s.got[TARGET].len() - 4
        };
        assert_eq!(got, 6003, "{to_websocket}");
    }
}

/// Held or not, payload has come.
#[test]
fn a_message_that_is_held_is_no_idleness() {
    let idle_timeout = Some(secs(10));
    let mut s = Script::open(Limits { idle_timeout, ..Limits::default() }, messages(U32));
    s.peer_sends(&frame(false, Opcode::Binary, b"be"));
    for _ in 0..3 {
        s.at(secs(6));
        s.peer_sends(&frame(false, Opcode::Continuation, b"gun"));
    }
    assert!(s.link.ended().is_none(), "{:?}", s.link.ended());
    s.at(secs(9));
    s.peer_sends(&frame(true, Opcode::Continuation, b"!"));
    assert_eq!(s.got[TARGET], b"\0\0\0\x0cbegungungun!");
    s.at(secs(10));
    assert_eq!(s.ended().1, "idle-timeout");
}

/// Nobody will take the message: it is not held either.
#[test]
fn nothing_is_held_for_a_sink_that_is_gone() {
    let mut s = framed(U32);
    s.ends(TARGET, true);
    s.peer_sends(&frame(false, Opcode::Binary, &[1; 5000]));
    assert_eq!(s.pool.lent(), 0);
    s.peer_sends(&[frame(true, Opcode::Continuation, b"end"), binary(b"next")].concat());
    s.peer_sends(&close(1000));
    assert_eq!((s.link.messages_from(PEER), s.pool.lent()), (2, 0));
    assert!(s.got[TARGET].is_empty());
}

/// However little may be read at a time, and whatever of it grows.
#[test]
fn what_may_have_to_be_kept_is_reckoned_with() {
    for framing in Framing::ALL {
        for encoding in [Encoding::Binary, Encoding::Text, Encoding::Base64] {
            let limits = Limits { max_memory: 32 << 10, buffer_size: 8 << 10, ..Limits::default() };
            let messages = Messages { encoding, text_lossy: true, ..messages(framing) };
            let mut s = Script::open(limits, messages);
            s.takes(PEER, 0);
            s.target_sends(&b"\x01\n".repeat(10_000));
            let lent = s.pool.lent();
            assert!(lent > 0 && lent <= 32 << 10, "{framing} {encoding} {lent}");
        }
    }
}

/// Anything in any order: when it is over, what was lent or held is given back.
#[test]
fn whatever_happens_the_account_is_even() {
    let mut random = Random::new("whatever_happens_the_account_is_even");
    for _ in 0..3000 {
        let limits = Limits {
            max_memory: [32 << 10, 1 << 20][random.below(2)],
            buffer_size: [4 << 10, 64 << 10][random.below(2)],
            max_message: [0, 20_000][random.below(2)],
            send_timeout: [None, Some(secs(3))][random.below(2)],
            idle_timeout: [None, Some(secs(7))][random.below(2)],
            rate_in: [None, Some(20_000)][random.below(2)],
            ..Limits::default()
        };
        let framing = Framing::ALL[1 + random.below(Framing::ALL.len() - 1)];
        let encodings = [Encoding::Binary, Encoding::Text, Encoding::Base64];
        let messages = Messages {
            encoding: encodings[random.below(3)],
            text_lossy: random.below(2) == 0,
            half_close: [None, Some(secs(2))][random.below(2)],
            ..messages(framing)
        };
        let mut s = match random.below(3) {
            0 => {
                let mut s = Script::new(limits, messages);
                s.peer_sends(HEAD.as_bytes());
                s.ask();
                s.target_sends(ANSWER.as_bytes());
                s
            }
            _ => Script::open(limits, messages),
        };
        for _ in 0..random.below(30) {
            if s.link.is_over() {
                break;
            }
            happen(&mut s, &mut random);
        }
        s.takes(PEER, usize::MAX);
        s.takes(TARGET, usize::MAX);
        for side in [TARGET, PEER] {
            s.at(secs(random.below(2) as u64 * 60));
            s.said[side].clear(); // what is not read by now is lost
            s.ends(side, random.below(2) == 0);
        }
        s.at(secs(60));
        assert!(s.link.is_over());
        assert_eq!((s.pool.lent(), s.link.buffered()), (0, 0), "{framing}");
    }
}

fn happen(s: &mut Script, random: &mut Random) {
    let len = [0, 1, 3, 100, 4000, 9000][random.below(6)];
    match random.below(16) {
        0..=7 => {
            let payload = vec![b"\x01A=\n"[random.below(4)]; len];
            let opcodes =
                [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Close];
            let opcode = opcodes[random.below(20).saturating_sub(15)];
            let first = frame(false, opcodes[1 + random.below(2)], &payload);
            let more = frame(random.below(3) > 0, opcode, &payload[..len.min(2000)]);
            match random.below(3) {
                0 => s.peer_sends(&first),
                1 => s.peer_sends(&more),
                _ => s.peer_sends(&[first, more].concat()),
            }
        }
        8..=10 => s.target_sends(&vec![b"\x01A\n\xff"[random.below(4)]; len]),
        11 => s.takes(random.below(2), [0, 100, usize::MAX][random.below(3)]),
        12 => s.at(secs(random.below(5) as u64)),
        13 => s.peer_sends(&close(1000)),
        14 => s.takes(random.below(2), usize::MAX),
        _ => s.with(|link, hot, ctx| {
            link.close(By::Proxy, Why::Shutdown, CloseCode::GOING_AWAY, hot, ctx)
        }),
    }
}
