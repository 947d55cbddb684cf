//! What a session does that no encoding does alone: chunks in either role, and the keepalive.

use super::*;

fn session(role: Role, encoding: Encoding, passing: Passing) -> Session {
    Session::new(role, Options { encoding, passing, ..Options::default() })
}

fn keys() -> Keys {
    Keys::new(|bytes| bytes.fill(0x55))
}

fn encoded(session: &mut Session, read: &[u8]) -> Vec<u8> {
    let mut hot = Hot::new(4096);
    hot.fill(read.len()).copy_from_slice(read);
    hot.commit(read.len());
    hot.pass_all();
    session.encode(&mut hot, &mut keys()).unwrap();
    hot.output().to_vec()
}

fn decoded(session: &mut Session, wire: &[u8]) -> (Vec<u8>, Result<Stop, FrameError>) {
    let mut hot = Hot::new(4096);
    hot.fill(wire.len()).copy_from_slice(wire);
    hot.commit(wire.len());
    let stop = session.decode(&mut hot, &mut keys(), &mut 0);
    (hot.output().to_vec(), stop)
}

fn control(session: &mut Session) -> Option<Vec<u8>> {
    let mut out = [0; MAX_CONTROL_FRAME];
    session.control(&mut out, &mut keys()).map(|n| out[..n].to_vec())
}

#[test]
fn a_read_becomes_one_chunk_in_one_frame() {
    let mut server = session(Role::Server, Encoding::Chunk, Passing::Stream);
    assert_eq!(encoded(&mut server, b"hello"), b"\x82\x07\x0a\x05hello");
    assert_eq!(encoded(&mut server, b""), b"");
    let long = encoded(&mut server, &[7; 300]);
    assert_eq!(long, [&b"\x82\x7e\x01\x2f\x0a\xac\x02"[..], &[7; 300]].concat());
    let mut client = session(Role::Client, Encoding::Chunk, Passing::Stream);
    let masked = b"\x0a\x05hello".map(|byte| byte ^ 0x55);
    assert_eq!(encoded(&mut client, b"hello"), [b"\x82\x87UUUU", &masked[..]].concat());
    assert_eq!(decoded(&mut server, &encoded(&mut client, b"hello")).0, b"hello");
    assert_eq!(decoded(&mut client, &long).0, [7; 300]);
}

#[test]
fn what_is_no_chunk_closes_with_1007_and_text_with_1003() {
    for (wire, code) in [(&b"\x82\x07\x0a\x02ok\x13xx"[..], 1007), (b"\x81\x02ok", 1003)] {
        let mut client = session(Role::Client, Encoding::Chunk, Passing::Stream);
        let (bytes, stop) = decoded(&mut client, wire);
        assert_eq!(bytes, if code == 1007 { &b"ok"[..] } else { b"" });
        assert_eq!(stop.unwrap_err().close_code().get(), code);
    }
}

#[test]
fn an_empty_chunk_goes_in_front_of_a_ping() {
    let masked = b"\x82\x82UUUU_U\x89\x80UUUU";
    for (role, wire) in [(Role::Server, &b"\x82\x02\x0a\x00\x89\x00"[..]), (Role::Client, masked)] {
        let mut session = session(role, Encoding::Chunk, Passing::Stream);
        assert_eq!(control(&mut session), None);
        session.ping();
        assert_eq!(control(&mut session).unwrap(), wire);
        assert_eq!(control(&mut session), None);
    }
}

#[test]
fn a_ping_goes_alone_under_other_encodings_and_between_fragments_of_an_echo() {
    for encoding in Encoding::ALL {
        for passing in [Passing::Stream, Passing::Frames] {
            let mut session = session(Role::Server, encoding, passing);
            session.ping();
            let alone = encoding != Encoding::Chunk || passing == Passing::Frames;
            assert_eq!(control(&mut session).unwrap() == b"\x89\x00", alone, "{encoding}");
        }
    }
}

#[test]
fn nothing_goes_in_front_of_a_pong_or_a_close() {
    let mut server = session(Role::Server, Encoding::Chunk, Passing::Stream);
    server.ping();
    decoded(&mut server, b"\x89\x80UUUU").1.unwrap();
    assert_eq!(control(&mut server).unwrap(), b"\x8a\x00");
    server.close(CloseCode::NORMAL, "");
    server.ping();
    assert_eq!(control(&mut server).unwrap(), b"\x88\x02\x03\xe8");
    assert_eq!(control(&mut server), None);
}

#[test]
fn an_echo_of_chunks_passes_them_as_they_are() {
    let mut server = session(Role::Server, Encoding::Chunk, Passing::Frames);
    let (wire, stop) = decoded(&mut server, b"\x82\x83UUUU\x2a\x2b\x2c");
    assert_eq!((&wire[..], stop), (&b"\x82\x03\x7f\x7e\x79"[..], Ok(Stop::Drained)));
}

#[test]
fn a_text_message_of_our_own_is_text_in_every_encoding() {
    for encoding in Encoding::ALL {
        let mut server = session(Role::Server, encoding, Passing::Messages);
        assert_eq!(server.text(b"{}", &mut keys()), b"\x81\x02{}", "{encoding}");
        let mut client = session(Role::Client, encoding, Passing::Messages);
        let masked = [0x81, 0x82, 0x55, 0x55, 0x55, 0x55, b'{' ^ 0x55, b'}' ^ 0x55];
        assert_eq!(client.text(b"{}", &mut keys()), masked, "{encoding}");
    }
}

/// A message in front of the stream is as it is; what follows it has the encoding.
#[test]
fn the_encoding_begins_with_the_stream() {
    let mut server = session(Role::Server, Encoding::Base64, Passing::Messages);
    let masked = |first, payload: &[u8]| {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    };
    let stop = |kind, ends| Ok(Stop::Piece { kind, ends });
    let part = decoded(&mut server, &masked(0x01, b"{"));
    assert_eq!(part, (b"{".to_vec(), stop(Kind::Text, false)));
    let rest = decoded(&mut server, &masked(0x80, b"}"));
    assert_eq!(rest, (b"}".to_vec(), stop(Kind::Text, true)));
    let binary = decoded(&mut server, &masked(0x82, b"x"));
    assert_eq!(binary, (b"x".to_vec(), stop(Kind::Binary, true)));
    server.begin_stream();
    assert_eq!(decoded(&mut server, &masked(0x81, b"eA==")), (b"x".to_vec(), Ok(Stop::Drained)));
}

#[test]
fn counts_messages_by_their_ends() {
    let mut server = session(Role::Server, Encoding::Binary, Passing::Stream);
    let counts = |session: &Session| (session.received(), session.sent());
    decoded(&mut server, b"\x02\x81UUUU\x2a\x89\x80UUUU\x00\x80UUUU").1.unwrap();
    assert_eq!(counts(&server), (0, 0), "two of its fragments, and a Ping");
    decoded(&mut server, b"\x80\x80UUUU\x82\x80UUUU\x82\x81UUUU").1.unwrap();
    assert_eq!(counts(&server), (2, 0), "the third has a byte to come");
    decoded(&mut server, b"U").1.unwrap();
    encoded(&mut server, b"hello");
    encoded(&mut server, b"");
    server.text(b"{}", &mut keys());
    control(&mut server).unwrap();
    assert_eq!(counts(&server), (3, 2));

    let mut echo = session(Role::Server, Encoding::Binary, Passing::Frames);
    decoded(&mut echo, b"\x02\x81UUUU\x2a\x80\x80UUUU").1.unwrap();
    assert_eq!(counts(&echo), (1, 1));

    let mut chunks = session(Role::Client, Encoding::Chunk, Passing::Stream);
    chunks.ping();
    control(&mut chunks).unwrap();
    assert_eq!(counts(&chunks), (0, 1), "a keepalive is a message");
}
