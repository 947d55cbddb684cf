//! Connections whose two ends act at random: close in good order, half-close, reset, vanish, or stay
//! without reading. What arrives is always the beginning of what was sent, and all of it where the
//! ends permit that; every connection ends, nothing is left behind, and one that behaves is served
//! all the while.

mod common;

use common::ws::{close_code, reason};
use common::{
    assert_same, bridge, connect, frame, pattern, Proxy, Random, Stream, Target, Wait, Ws, BINARY,
    CLOSE, PING, PONG,
};

/// What the peer does when it has sent all.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Peer {
    /// Closes at once, and hears the proxy out.
    Close,
    /// Waits for the proxy's Close, and answers it.
    Answer,
    /// FIN without Close; goes on reading.
    Fin,
    Reset,
    Drop,
    /// Neither reads nor goes until the proxy has given up.
    Stay,
}

/// What the target does when it has sent all.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Half-closes; goes on reading.
    Fin,
    Reset,
    Drop,
    Stay,
}

#[test]
fn every_connection_ends_and_no_byte_is_lost_or_invented() {
    std::thread::scope(|scope| {
        for start in (0..150).step_by(30) {
            scope.spawn(move || play_all(start..start + 30));
        }
    });
}

/// One proxy, and all the connections with these seeds one after the other.
fn play_all(seeds: std::ops::Range<u64>) {
    let options = ["--close-timeout", "500ms", "--send-timeout", "2s", "--buffer-size", "32KiB"];
    let (proxy, target) = bridge(&options);
    let (mut beside, mut stream) = connect(&proxy, &target);
    let before = proxy.open_files();
    for (i, seed) in seeds.enumerate() {
        play(&proxy, &target, seed, i + 1);
        beside.send(BINARY, b"beside");
        assert_same(&stream.receive(6), b"beside");
    }
    let wait = Wait::begin();
    while proxy.open_files() > before {
        wait.go_on("all sockets to be closed");
    }
}

/// The `nth` connection of its proxy to end.
fn play(proxy: &Proxy, target: &Target, seed: u64, nth: usize) {
    let mut random = Random::new(seed);
    let up = pattern(seed, random.size() * random.below(4));
    let down = pattern(!seed, random.size() * random.below(4));
    let peer_does = [Peer::Close, Peer::Answer, Peer::Fin, Peer::Reset, Peer::Drop, Peer::Stay]
        [random.below(6)];
    let mut end_does = [End::Fin, End::Fin, End::Reset, End::Drop, End::Stay][random.below(5)];
    if end_does == End::Stay && [Peer::Answer, Peer::Stay].contains(&peer_does) {
        end_does = End::Reset; // or nobody ever ends it
    }

    let (peer, stream) = connect(proxy, target);
    let (came_up, came_down) = std::thread::scope(|scope| {
        let target = scope.spawn(|| act_target(stream, &down, end_does));
        let (came_down, peer) = act_peer(peer, &in_frames(&up, seed), peer_does);
        proxy.wait_for_closed(nth);
        let (came_up, stream) = target.join().unwrap();
        drop((peer, stream));
        (came_up, came_down)
    });

    let label = format!("seed {seed}, {peer_does:?}, {end_does:?}");
    assert!(up.starts_with(&came_up), "{label}: other bytes up");
    assert!(down.starts_with(&came_down), "{label}: other bytes down");
    let says_all = [Peer::Close, Peer::Answer, Peer::Fin].contains(&peer_does);
    if says_all && end_does == End::Fin {
        assert_eq!(came_up.len(), up.len(), "{label}: up");
    }
    if peer_does == Peer::Answer && end_does == End::Fin {
        assert_eq!(came_down.len(), down.len(), "{label}: down");
    }
}

/// Sends all and does its part; the payload that came, and the socket if it stays.
fn act_peer(mut peer: Ws, wire: &[u8], does: Peer) -> (Vec<u8>, Option<Ws>) {
    let mut writer = peer.stream().share();
    let came = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A target that goes before its time is allowed to end it.
            let sent = writer.try_send_all(wire).is_ok();
            if sent && does == Peer::Close {
                let _ = writer.try_send_all(&frame(CLOSE, &reason(1000, b"")));
            } else if sent && does == Peer::Fin {
                let _ = writer.try_finish();
            }
        });
        match does {
            Peer::Close | Peer::Fin => data(peer.frames_to_the_end()),
            Peer::Answer => peer.receive_until_close().0,
            _ => Vec::new(),
        }
    });
    match does {
        Peer::Answer => {
            let _ = peer.stream().share().try_send_all(&frame(CLOSE, &reason(1000, b"")));
            peer.expect_end();
        }
        Peer::Reset => peer.into_stream().reset(),
        Peer::Drop => drop(peer),
        Peer::Close | Peer::Fin | Peer::Stay => return (came, Some(peer)),
    }
    (came, None)
}

/// Sends all and does its part; what came, and the socket if it stays.
fn act_target(mut stream: Stream, bytes: &[u8], does: End) -> (Vec<u8>, Option<Stream>) {
    let mut writer = stream.share();
    let came = std::thread::scope(|scope| {
        scope.spawn(move || {
            if writer.try_send_all(bytes).is_ok() && does == End::Fin {
                let _ = writer.try_finish();
            }
        });
        match does {
            End::Fin => stream.receive_all().0,
            _ => Vec::new(),
        }
    });
    match does {
        End::Reset => stream.reset(),
        End::Drop => drop(stream),
        _ => return (came, Some(stream)),
    }
    (came, None)
}

/// Frames of random sizes, with pings between.
fn in_frames(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut wire = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, tail) = rest.split_at((1 + random.size()).min(rest.len()));
        wire.extend(frame(BINARY, part));
        wire.extend(frame(PING, b"?"));
        rest = tail;
    }
    wire
}

/// The payloads of the data frames; of the others only what is allowed may be there, and nothing
/// behind Close.
fn data(frames: Vec<common::ws::Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut closed = false;
    for frame in frames {
        assert!(!closed, "{:#04x} behind Close", frame.first);
        match frame.first {
            BINARY => bytes.extend(frame.payload),
            PONG => {}
            CLOSE => closed = close_code(&frame.payload) > 0,
            other => panic!("frame {other:#04x}"),
        }
    }
    bytes
}
