//! Two copies as a tunnel: what it carries in every encoding, many at once, and what the near end
//! sees, says and logs when the far end is killed, frozen or silent.

mod common;

use std::time::Duration;

use common::relay::{self, chunk, expect_established, near_to_test, unchunk, url, ESTABLISHED};
use common::{
    assert_same, both_ways, carries, pattern, text_pattern, Asked, Proxy, Served, Stream, Target,
    BINARY, PING, PONG,
};

const MIB: usize = 1 << 20;

const GOAL: &str = "inner.example:443";

/// For ends that need no timer: this one would come too late for any test.
const NO_TIMER: [&str; 2] = ["--close-timeout", "100s"];

/// Timers that find out soon who is silent.
const PINGS: [&str; 7] = [
    "--ping-interval",
    "200ms",
    "--pong-timeout",
    "300ms",
    "--close-timeout",
    "300ms",
    "--half-close=300ms",
];

/// A message for each sign of life, and all the time in the world to answer it.
const ALIVE: [&str; 4] = ["--ping-interval", "200ms", "--pong-timeout", "100s"];

// What is carried.

#[test]
fn streams_are_carried_in_every_encoding() {
    let target = Target::listen();
    for encoding in ["binary", "base64", "text", "chunk"] {
        let options = [&NO_TIMER[..], &["--encoding", encoding]].concat();
        let far = Proxy::to(&target.endpoint, &options);
        let near = plain(&url(&far), &options);
        let mut client = Stream::tcp(near.port());
        let mut server = target.accept();
        megabytes(encoding, &mut client, &mut server);
        client.finish();
        server.expect_fin();
        drop(server);
        client.expect_fin();
        let counted = near.wait_for_closed(1)[0].clone();
        let again = far.wait_for_closed(1)[0].clone();
        assert_eq!((counted.code, again.code), (1000, 1000), "{encoding}");
        let counts = (counted.inbound, counted.outbound);
        assert_eq!(counts, (again.inbound, again.outbound), "{encoding}");
    }
}

#[test]
fn connect_tunnels_are_carried_in_every_encoding() {
    let target = Target::listen();
    for encoding in ["binary", "base64", "text", "chunk"] {
        let (near, _far) = relay::pair(&[&NO_TIMER[..], &["--encoding", encoding]].concat());
        let (mut tool, mut server) = relay::tunnel(&near, &target);
        megabytes(encoding, &mut tool, &mut server);
        tool.finish();
        server.expect_fin();
        drop(server);
        tool.expect_fin();
        assert_eq!(near.wait_for_closed(1)[0].code, 1000, "{encoding}");
    }
}

#[test]
fn small_messages_come_at_once() {
    let target = Target::listen();
    for encoding in ["binary", "chunk"] {
        let (near, _far) = relay::pair(&["--encoding", encoding]);
        let (mut tool, mut server) = relay::tunnel(&near, &target);
        for _ in 0..200 {
            carries(&mut tool, &mut server);
        }
    }
}

#[test]
fn a_hundred_tunnels_at_once() {
    const LEN: usize = 200_000;
    let endpoint = Target::echo();
    for encoding in ["binary", "chunk"] {
        let (near, far) = relay::pair(&["--encoding", encoding]);
        let files = [near.open_files(), far.open_files()];
        let mut tools: Vec<_> = (0..100).map(|_| relay::ask(&near, &endpoint)).collect();
        tools.iter_mut().for_each(expect_established);
        std::thread::scope(|scope| {
            for (n, tool) in tools.iter_mut().enumerate() {
                let bytes = pattern(n as u64, LEN);
                let (mut writer, sent) = (tool.share(), bytes.clone());
                scope.spawn(move || writer.send(&sent));
                scope.spawn(move || assert_same(&tool.receive(LEN), &bytes));
            }
        });
        drop(tools);
        near.wait_until_idle(files[0]);
        far.wait_until_idle(files[1]);
        for proxy in [&near, &far] {
            assert_eq!(proxy.wait_for_closed(100).len(), 100);
        }
    }
}

/// A refusal of the far end, through both.
#[test]
fn a_refusal_comes_through_and_leaves_nothing() {
    let (near, far) = relay::pair(&NO_TIMER);
    let files = [near.open_files(), far.open_files()];
    let refusing = common::target::Refusing::new();
    let denied = refusing.endpoint.replace("127.0.0.1", "127.0.0.2");
    for (goal, status) in [(&refusing.endpoint, 502), (&denied, 403)] {
        let mut tool = relay::ask(&near, goal);
        common::Response::read(&mut tool).expect_refusal(status);
    }
    near.wait_until_idle(files[0]);
    far.wait_until_idle(files[1]);
    for (closed, code) in near.wait_for_closed(2).iter().zip([1014, 1008]) {
        assert_eq!((closed.code, &closed.by[..], &closed.why[..]), (code, "target", "close"));
    }
}

#[test]
fn a_bare_refusal_ends_the_tunnel_of_an_eager_near_end() {
    let far = relay::far(&["--allow", "127.0.0.1"]);
    let near = relay::near(&url(&far), &["--connect", "eager"]);
    let mut tool = relay::ask(&near, "127.0.0.2:443");
    expect_established(&mut tool);
    tool.expect_fin();
    drop(tool);
    let closed = &near.wait_for_closed(1)[0];
    assert_eq!((closed.code, &closed.by[..]), (1008, "target"));
}

// A far end that fails.

#[test]
fn a_far_end_that_is_killed_ends_every_stream() {
    for relayed in [false, true] {
        let target = Target::listen();
        let (near, far, mut client, mut server) =
            open(relayed, &target, &["--close-timeout", "2s"]);
        let files = near.open_files();
        // Killed in the middle of both ways.
        let (mut up, mut down) = (client.share(), server.share());
        let endless = vec![b'x'; MIB];
        std::thread::scope(|scope| {
            scope.spawn(|| while up.try_send_all(&endless).is_ok() {});
            scope.spawn(|| while down.try_send_all(&endless).is_ok() {});
            client.receive(4 * MIB);
            server.receive(4 * MIB);
            far.signal(libc::SIGKILL);
            server.expect_end();
            client.expect_end();
        });
        let closed = near.wait_for_closed(1);
        assert_eq!(&closed[0].by[..], "target", "{closed:?}");
        assert!(["lost", "reset"].contains(&&closed[0].why[..]), "{closed:?}");
        drop((client, server));
        near.wait_until_idle(files - 2);
        assert_eq!(near.wait_for_closed(1).len(), 1, "said twice");
    }
}

#[test]
fn an_idle_tool_hears_of_a_far_end_that_is_killed() {
    let target = Target::listen();
    let (near, far, mut client, _server) = open(true, &target, &NO_TIMER);
    far.signal(libc::SIGKILL);
    client.expect_fin();
    drop(client);
    let closed = &near.wait_for_closed(1)[0];
    assert_eq!((closed.code, &closed.by[..], &closed.why[..]), (1006, "target", "lost"));
}

#[test]
fn a_far_end_that_is_frozen_is_found_out_and_named() {
    for relayed in [false, true] {
        let target = Target::listen();
        let (near, far, mut client, _server) = open(relayed, &target, &PINGS);
        far.signal(libc::SIGSTOP);
        client.expect_end();
        drop(client);
        let closed = &near.wait_for_closed(1)[0];
        assert_eq!((&closed.by[..], &closed.why[..]), ("target", "pong-timeout"));
    }
}

#[test]
fn a_near_end_that_is_frozen_is_found_out_and_named() {
    for relayed in [false, true] {
        let target = Target::listen();
        let (near, far, _client, mut server) = open(relayed, &target, &PINGS);
        near.signal(libc::SIGSTOP);
        server.expect_end();
        drop(server);
        let closed = &far.wait_for_closed(1)[0];
        assert_eq!((&closed.by[..], &closed.why[..]), ("peer", "pong-timeout"));
    }
}

#[test]
fn a_far_end_that_answers_no_ping_is_told_so() {
    let (proxy, target) = near_to_test(&PINGS);
    let (mut tool, mut served) = established(&proxy, &target, <[u8]>::to_vec);
    served.expect(PING);
    let (code, said) = served.expect_close_and_reason();
    assert_eq!((code, &said[..]), (1011, "the target does not answer pings"));
    tool.expect_end();
}

#[test]
fn a_frozen_tunnel_that_thaws_in_time_goes_on() {
    let target = Target::listen();
    let (_near, far, mut client, mut server) = open(true, &target, &ALIVE);
    far.signal(libc::SIGSTOP);
    client.send(b"asleep");
    assert!(!server.is_readable_within(Duration::from_millis(600)), "it is not frozen");
    far.signal(libc::SIGCONT);
    assert_same(&server.receive(6), b"asleep");
    carries(&mut client, &mut server);
}

// Signs of life.

#[test]
fn an_idle_tunnel_is_kept_alive_by_pings() {
    let (proxy, target) = near_to_test(&ALIVE);
    let (mut tool, mut served) = established(&proxy, &target, <[u8]>::to_vec);
    for _ in 0..3 {
        let payload = served.expect(PING);
        served.send(PONG, &payload);
    }
    served.send(BINARY, b"awake");
    assert_same(&tool.receive(5), b"awake");
}

#[test]
fn under_chunk_an_idle_tunnel_is_kept_alive_by_empty_chunks_too() {
    let (proxy, target) = near_to_test(&[&ALIVE[..], &["--encoding", "chunk"]].concat());
    let (mut tool, mut served) = established(&proxy, &target, chunk);
    for _ in 0..3 {
        assert_same(&served.expect(BINARY), &[0x0a, 0x00]);
        let payload = served.expect(PING);
        served.send(PONG, &payload);
        // Those of the far end are not for the tool.
        served.send(BINARY, &chunk(b""));
        served.send(BINARY, b"");
    }
    served.send(BINARY, &chunk(b"awake"));
    assert_same(&tool.receive(5), b"awake");
}

#[test]
fn a_far_end_keeps_its_idle_tunnels_alive_too() {
    let far = relay::far(&[&["--allow", "127.0.0.1", "--encoding", "chunk"], &ALIVE[..]].concat());
    let target = Target::listen();
    let head = relay::head(&target.endpoint, &[]);
    let mut peer = relay::say(&far, &chunk(head.as_bytes()));
    let mut server = target.accept();
    assert_same(&unchunk(&peer.expect(BINARY)), ESTABLISHED);
    for _ in 0..3 {
        assert_same(&peer.expect(BINARY), &[0x0a, 0x00]);
        let payload = peer.expect(PING);
        peer.send(PONG, &payload);
    }
    server.send(b"awake");
    assert_same(&unchunk(&peer.expect(BINARY)), b"awake");
}

#[test]
fn an_idle_tunnel_of_two_copies_stays() {
    let target = Target::listen();
    for encoding in ["binary", "chunk"] {
        let options = ["--ping-interval", "100ms", "--pong-timeout", "10s", "--encoding", encoding];
        let (_near, _far, mut client, mut server) = open(true, &target, &options);
        let quiet = Duration::from_secs(1);
        assert!(!client.is_readable_within(quiet), "a sign of life reaches the tool");
        assert!(!server.is_readable_within(Duration::ZERO), "a sign of life reaches the target");
        carries(&mut client, &mut server);
    }
}

// The parts.

/// Several MiB each way at once, of what the encoding can carry.
#[track_caller]
fn megabytes(encoding: &str, near: &mut Stream, far: &mut Stream) {
    let bytes = if encoding == "text" { text_pattern } else { pattern };
    both_ways(near, far, &bytes(1, 6 * MIB), &bytes(2, 6 * MIB));
}

/// A tunnel through two copies, between plain streams or `relayed` by CONNECT: near and far end,
/// client and server.
#[track_caller]
fn open(relayed: bool, target: &Target, options: &[&str]) -> (Proxy, Proxy, Stream, Stream) {
    let (near, far) = match relayed {
        true => relay::pair(options),
        false => {
            let far = Proxy::to(&target.endpoint, options);
            (plain(&url(&far), options), far)
        }
    };
    let (mut client, mut server) = match relayed {
        true => relay::tunnel(&near, target),
        false => (Stream::tcp(near.port()), target.accept()),
    };
    carries(&mut client, &mut server);
    (near, far, client, server)
}

/// A tool whose tunnel is there, and the far end that the test plays, in that encoding.
#[track_caller]
fn established(
    proxy: &Proxy,
    target: &Target,
    encoded: impl Fn(&[u8]) -> Vec<u8>,
) -> (Stream, Served) {
    let mut tool = relay::ask(proxy, GOAL);
    let mut served = Asked::at(target).agree();
    served.expect(BINARY);
    served.send(BINARY, &encoded(ESTABLISHED));
    expect_established(&mut tool);
    (tool, served)
}

/// A plain listener on a free port that leads to `remote`.
#[track_caller]
fn plain(remote: &str, arguments: &[&str]) -> Proxy {
    Proxy::start(&[&["--local", "tcp://127.0.0.1:0", "--remote", remote], arguments].concat())
}
