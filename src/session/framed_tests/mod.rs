//! Messages that appear in the stream: both ways, in both roles, whatever the cuts.

mod random;

use super::*;
use crate::proto::framing::{FramingError, LengthForm};
use crate::testing::Random;
use base64::engine::general_purpose::STANDARD;
use base64::Engine;

const SIZE: usize = 4096;

const U16: Framing = Framing::Length(LengthForm::U16);
const U32: Framing = Framing::Length(LengthForm::U32);
const VARINT: Framing = Framing::Length(LengthForm::Varint);

/// An endpoint that masks with zeros, and its buffer.
struct Rig {
    session: Session,
    role: Role,
    hot: Hot,
    keys: Keys,
}

impl Rig {
    fn new(role: Role, framing: Framing, encoding: Encoding) -> Self {
        Self::with(role, Options { framing, encoding, ..Options::default() })
    }

    fn with(role: Role, options: Options) -> Self {
        let (hot, keys) = (Hot::new(SIZE), Keys::new(|_| ()));
        Self { session: Session::new(role, options), role, hot, keys }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.hot.fill(bytes.len()).copy_from_slice(bytes);
        self.hot.commit(bytes.len());
    }

    /// What the stream hears of a read from the wire.
    fn hear(&mut self, wire: &[u8]) -> (Vec<u8>, Result<Stop, FrameError>) {
        self.read(wire);
        let mut stream = Vec::new();
        loop {
            let stop = self.session.decode(&mut self.hot, &mut self.keys, &mut 1);
            if let Some(held) = self.session.take_held() {
                let (first, second) = held.slices();
                stream.extend([first, second].concat());
            }
            stream.extend(self.hot.output());
            self.hot.drop_output();
            if stop != Ok(Stop::Reply) {
                return (stream, stop);
            }
            let mut out = [0; MAX_CONTROL_FRAME];
            self.session.control(&mut out, &mut self.keys).unwrap();
        }
    }

    /// What goes over the wire of a read from the stream.
    fn say(&mut self, stream: &[u8]) -> (Vec<u8>, Result<(), FrameError>) {
        assert!(stream.len() <= self.session.read_limit(SIZE), "{}", stream.len());
        self.read(stream);
        self.hot.pass_all();
        let result = self.session.encode(&mut self.hot, &mut self.keys);
        let growth = self.session.growth();
        assert!(self.hot.output().len() <= stream.len() * growth + 64, "grows more than {growth}");
        (self.hot.output().to_vec(), result)
    }

    /// A frame for it, masked with zeros if it must be.
    fn frame(&self, fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mask = self.role.peer().masks().then_some([0; 4]);
        let payload_len = payload.len() as u64;
        let mut head = [0; MAX_HEADER];
        let len = FrameHeader { fin, opcode, mask, payload_len }.encode(&mut head);
        [&head[..len], payload].concat()
    }

    fn text(&self, payload: &[u8]) -> Vec<u8> {
        self.frame(true, Opcode::Text, payload)
    }
}

/// A message that ended, or parts of one that did not.
type Message = (Opcode, Vec<u8>, bool);

/// The messages in frames of an endpoint in `role`.
fn messages(role: Role, mut wire: &[u8]) -> Vec<Message> {
    let mut decoder = Decoder::new(role.peer(), 0);
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let (used, step) = decoder.next(wire).expect("our frames are valid");
        wire = &wire[used..];
        match step {
            None => return messages,
            Some(Step::Control(opcode)) => panic!("{opcode:?}"),
            Some(Step::Payload(piece)) => {
                if piece.begins {
                    messages.push((piece.kind.opcode(), Vec::new(), false));
                }
                let message = messages.last_mut().unwrap();
                let mut bytes = wire[..piece.len].to_vec();
                { piece.mask }.apply(&mut bytes);
                message.1.extend(bytes);
                message.2 = piece.ends;
                wire = &wire[piece.len..];
            }
        }
    }
}

/// How messages stand in a stream: the model.
fn joined(framing: Framing, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        match framing {
            Framing::Raw => unreachable!(),
            Framing::Lines => stream.extend([message, &b"\n"[..]].concat()),
            Framing::Ndjson => {
                let flat = |byte: &u8| if b"\r\n".contains(byte) { b' ' } else { *byte };
                stream.extend(message.iter().map(flat));
                stream.push(b'\n');
            }
            Framing::Length(form) => {
                let mut prefix = [0; 10];
                let n = form.encode(message.len() as u64, &mut prefix);
                stream.extend([&prefix[..n], message].concat());
            }
        }
    }
    stream
}

fn payload(encoding: Encoding, message: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Base64 => STANDARD.encode(message).into_bytes(),
        _ => message.to_vec(),
    }
}

/// Every pair that makes sense, in both roles.
fn pairs() -> impl Iterator<Item = (Role, Framing, Encoding)> {
    [Role::Server, Role::Client].into_iter().flat_map(|role| {
        Framing::ALL.into_iter().skip(1).flat_map(move |framing| {
            let fits = move |e: &Encoding| framing.encodings().contains(*e);
            Encoding::ALL.into_iter().filter(fits).map(move |encoding| (role, framing, encoding))
        })
    })
}

/// What grows most, as much of it as may be read at once.
#[test]
fn the_frames_of_the_longest_read_fit_behind_it() {
    let worst: [&[u8]; 12] = [
        b"a\n",
        b"\xff\n",
        b"\0",
        b"\x01a",
        b"\x01\xff",
        b"\0\0",
        b"\0\x01\xff",
        b"\0\0\0\0",
        b"\x7e",
        b"\xff",
        b"abcd\n",
        b"\0\0\0\x01a",
    ];
    for (role, framing, encoding) in pairs() {
        for size in [SIZE, 20_000] {
            for pattern in worst {
                let options = Options { framing, encoding, text_lossy: true, ..Options::default() };
                let mut rig = Rig::with(role, options);
                rig.hot = Hot::new(size);
                for _ in 0..2 {
                    let limit = rig.session.read_limit(size);
                    assert!(limit * (1 + rig.session.growth()) <= size);
                    let stream: Vec<_> = pattern.iter().copied().cycle().take(limit).collect();
                    rig.read(&stream);
                    rig.hot.pass_all();
                    // For some framings a pattern is no good length, which is as good here.
                    let _ = rig.session.encode(&mut rig.hot, &mut rig.keys);
                    let bound = limit * rig.session.growth() + 64;
                    assert!(rig.hot.output().len() <= bound, "{role:?} {framing} {pattern:x?}");
                }
            }
        }
    }
}

#[test]
fn a_part_of_a_line_goes_out_at_once_and_its_end_behind_it() {
    let mut rig = Rig::new(Role::Server, Framing::Ndjson, Encoding::Text);
    let said: Vec<_> =
        [&b"{"[..], b"}\n[", b"]", b"\n\n", b"x\n"].map(|read| rig.say(read).0).into();
    let expected: [&[u8]; 5] =
        [b"\x01\x01{", b"\x80\x01}\x01\x01[", b"\0\x01]", b"\x80\0", b"\x81\x01x"];
    assert_eq!(said, expected);
    assert_eq!(rig.say(b"\n\n\n").0, b"", "blank lines are no messages");
    assert_eq!(rig.session.sent(), 3);
}

#[test]
fn text_is_cut_between_characters_only() {
    let text = "aé€😀z".as_bytes();
    for (framing, stream) in
        [(Framing::Lines, [text, b"\n"].concat()), (VARINT, [&[text.len() as u8], text].concat())]
    {
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut rig = Rig::new(Role::Server, framing, Encoding::Text);
                let parts = [&stream[..first], &stream[first..second], &stream[second..]];
                let mut wire = Vec::new();
                for part in parts {
                    let (bytes, result) = rig.say(part);
                    result.unwrap();
                    for (_, payload, _) in messages(Role::Server, &rebegun(&bytes)) {
                        assert!(std::str::from_utf8(&payload).is_ok());
                    }
                    wire.extend(bytes);
                }
                let expected = (Opcode::Text, text.to_vec(), true);
                assert_eq!(messages(Role::Server, &wire), [expected], "{first} {second}");
            }
        }
    }
}

/// Frames as if the first of them did not continue a message.
fn rebegun(wire: &[u8]) -> Vec<u8> {
    let mut wire = wire.to_vec();
    if let Some(first) = wire.first_mut() {
        *first |= Opcode::Text as u8;
    }
    wire
}

#[test]
fn a_message_that_ends_inside_a_character_is_no_text() {
    for (framing, stream) in [(Framing::Lines, &b"ok\nno\xe2\x82\n"[..]), (U16, b"\0\x02a\xc3ok")] {
        for cut in 0..=stream.len() {
            let mut rig = Rig::new(Role::Server, framing, Encoding::Text);
            let result = rig.say(&stream[..cut]).1.and_then(|()| rig.say(&stream[cut..]).1);
            assert_eq!(result, Err(FrameError::NotUtf8), "{framing} {cut}");
            let options = Options {
                framing,
                encoding: Encoding::Text,
                text_lossy: true,
                ..Options::default()
            };
            let mut rig = Rig::with(Role::Server, options);
            let wire = [rig.say(&stream[..cut]).0, rig.say(&stream[cut..]).0].concat();
            let texts = ["no\u{fffd}", "a\u{fffd}"].map(str::as_bytes);
            assert!(texts.contains(
                &&messages(Role::Server, &wire)[framing.eq(&Framing::Lines) as usize].1[..]
            ));
        }
    }
}

#[test]
fn a_stream_may_not_end_inside_a_message() {
    use FramingError::*;
    for (framing, stream, error) in [
        (Framing::Lines, &b"a\nb"[..], Some(CutLine)),
        (Framing::Lines, b"a\n\n", None),
        (U16, b"\0\x02a", Some(CutMessage)),
        (U16, b"\0\x01a\0", Some(CutLength)),
        (U16, b"\0\x01a\0\0", None),
        (VARINT, b"\x80", Some(CutLength)),
    ] {
        let mut rig = Rig::new(Role::Client, framing, Encoding::Base64);
        rig.say(stream).1.unwrap();
        let ended = rig.session.finish(&mut rig.hot, &mut rig.keys);
        assert_eq!(ended, error.map_or(Ok(()), |error| Err(error.into())), "{stream:x?}");
        assert_eq!(rig.hot.output(), b"");
    }
}

#[test]
fn a_length_beyond_the_limit_or_its_form_closes_before_a_byte_of_it() {
    let options = Options { framing: U32, max_message: 5, ..Options::default() };
    let mut rig = Rig::with(Role::Server, options);
    let (wire, result) = rig.say(b"\0\0\0\x01a\0\0\0\x06bcdefg");
    assert_eq!(wire, b"\x82\x01a");
    assert_eq!(result.unwrap_err().close_code(), CloseCode::MESSAGE_TOO_BIG);
    let mut rig = Rig::new(Role::Server, VARINT, Encoding::Binary);
    let (wire, result) = rig.say(b"\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    assert_eq!((&wire[..], result), (&b"\x82\x01a"[..], Err(FramingError::Varint.into())));
}

#[test]
fn a_newline_inside_a_line_is_an_error_wherever_it_is_cut() {
    for encoding in [Encoding::Text, Encoding::Base64] {
        for role in [Role::Server, Role::Client] {
            let rig = Rig::new(role, Framing::Lines, encoding);
            let first = rig.text(&payload(encoding, b"one"));
            let second = rig.text(&payload(encoding, b"tw\no"));
            let wire = [first, second].concat();
            for cut in 0..wire.len() {
                let mut rig = Rig::new(role, Framing::Lines, encoding);
                let (mut stream, mut stop) = rig.hear(&wire[..cut]);
                if stop.is_ok() {
                    let (more, last) = rig.hear(&wire[cut..]);
                    stream.extend(more);
                    stop = last;
                }
                assert_eq!(
                    (&stream[..], stop),
                    (&b"one\ntw"[..], { Err(FramingError::NewlineInside.into()) })
                );
            }
        }
    }
}

#[test]
fn json_of_several_lines_becomes_one() {
    let mut rig = Rig::new(Role::Server, Framing::Ndjson, Encoding::Text);
    let wire = [rig.text(b"{\r\n\"a\": 1\n}"), rig.frame(true, Opcode::Binary, b"[\n]")].concat();
    assert_eq!(rig.hear(&wire).0, b"{  \"a\": 1 }\n[ ]\n");
}

/// A 64-bit frame: its length is out when its first byte is.
#[test]
fn a_message_in_one_frame_passes_as_it_arrives() {
    let mut rig = Rig::new(Role::Server, VARINT, Encoding::Binary);
    let head = [&b"\x82\xff\0\0\x01\0\0\0\0\0"[..], &[0; 4]].concat();
    assert_eq!(rig.hear(&head).0, b"");
    assert_eq!(rig.hear(b"first").0, b"\x80\x80\x80\x80\x80\x20first");
    assert_eq!(rig.hear(b"more").0, b"more");
    assert!(!rig.session.holds());
}

/// RFC 6455 §5.4: fragments, a Ping between them. All but the last frame is held, and that passes.
#[test]
fn fragments_are_held_until_the_last_one_begins() {
    let mut rig = Rig::new(Role::Server, U32, Encoding::Text);
    let frames = [
        rig.frame(false, Opcode::Text, b"Hel"),
        rig.frame(true, Opcode::Ping, b"?"),
        rig.frame(false, Opcode::Continuation, b"lo "),
    ];
    assert_eq!(rig.hear(&frames.concat()).0, b"");
    assert!(rig.session.holds());
    let (taken, _) = rig.session.settle_held();
    assert!((6..=16).contains(&taken), "{taken}");
    let last = rig.frame(true, Opcode::Continuation, b"world");
    assert_eq!(rig.hear(&last[..7]).0, b"\0\0\0\x0bHello w");
    assert_eq!(rig.session.settle_held(), (0, 0), "what was taken goes elsewhere");
    assert_eq!(rig.hear(&last[7..]).0, b"orld");
    assert!(!rig.session.holds());
}

#[test]
fn what_is_forgotten_is_given_back() {
    let mut rig = Rig::new(Role::Server, U32, Encoding::Base64);
    let part = rig.frame(false, Opcode::Text, b"aGVsbG8=");
    rig.hear(&part).1.unwrap();
    let (taken, returned) = rig.session.settle_held();
    assert_eq!((taken > 0, returned), (true, 0));
    rig.session.forget_held();
    assert_eq!(rig.session.settle_held(), (0, taken));
    assert!(!rig.session.holds());
}

#[test]
fn a_message_that_its_length_cannot_say_is_refused_at_its_header() {
    for encoding in [Encoding::Binary, Encoding::Base64] {
        for len in [65_535, 65_536] {
            let options =
                Options { framing: U16, encoding, max_message: 1 << 20, ..Options::default() };
            let mut rig = Rig::with(Role::Client, options);
            rig.hot = Hot::new(1 << 20);
            let opcode = if encoding == Encoding::Binary { Opcode::Binary } else { Opcode::Text };
            let wire = rig.frame(true, opcode, &payload(encoding, &vec![7; len]));
            let (stream, stop) = rig.hear(&wire);
            let expected = [&[0xff, 0xff][..], &vec![7; 65_535]].concat();
            match len {
                65_535 => assert!(stream == expected && stop == Ok(Stop::Drained)),
                _ => {
                    let error = stop.unwrap_err();
                    assert_eq!((stream.len(), error.close_code().get()), (0, 1009));
                    assert!(error.rule().contains("length:u32"), "{error}");
                }
            }
        }
    }
}

#[test]
fn short_messages_to_a_client_share_one_output_although_they_grow() {
    let mut rig = Rig::new(Role::Client, U32, Encoding::Binary);
    let limit = SIZE / rig.session.growth_of_heard();
    let wire = b"\x82\0".repeat(limit / 2);
    rig.read(&wire);
    let stop = rig.session.decode(&mut rig.hot, &mut rig.keys, &mut 1);
    assert_eq!(stop, Ok(Stop::Drained));
    assert!(rig.session.take_held().is_none());
    assert!(rig.hot.output() == vec![0; 2 * limit]);
    // More than may be read: beside the buffer, and in order.
    let wire = b"\x82\x01a".repeat(SIZE / 3);
    assert!(rig.hear(&wire).0 == b"\0\0\0\x01a".repeat(SIZE / 3));
}

#[test]
fn an_echo_and_what_names_a_target_by_pieces_have_no_framing() {
    for passing in [Passing::Frames, Passing::Pieces] {
        let mut rig = Rig::with(
            Role::Server,
            Options { framing: Framing::Lines, passing, ..Options::default() },
        );
        let wire = rig.text(b"a\nb");
        let (stream, stop) = rig.hear(&wire);
        assert!(stop.is_ok() && stream.ends_with(b"a\nb"));
        rig.session.begin_stream();
        assert_eq!(rig.session.growth(), 1);
    }
}

/// The longest payload of each header, and around the steps, against all lengths.
#[test]
fn growth_is_the_most_of_all_lengths() {
    for (role, framing, encoding) in pairs() {
        for text_lossy in [false, true] {
            let options = Options { framing, encoding, text_lossy, ..Options::default() };
            let growth = Session::new(role, options).growth();
            // Around each step, and some between them.
            let near = |step: usize| step - 100..step + 200;
            let lens = [21_846, 49_150, 65_536].into_iter().flat_map(near);
            for len in (0..500).chain((500..70_000).step_by(997)).chain(lens) {
                let around = joined(framing, &[vec![]]).len();
                let payload = match encoding {
                    Encoding::Base64 => len.div_ceil(3) * 4,
                    Encoding::Text if text_lossy => 3 * len,
                    _ => len,
                };
                let payload_len = payload as u64;
                let mask = role.masks().then_some([0; 4]);
                let header = FrameHeader { fin: true, opcode: Opcode::Text, mask, payload_len };
                let wire = header.encode(&mut [0; MAX_HEADER]) + payload;
                let blank = len == 0 && !matches!(framing, Framing::Length(_));
                assert!(blank || wire <= growth * (len + around), "{role:?} {framing} {len}");
            }
        }
    }
}
