//! Messages that appear in the stream, at random: whatever they are, and wherever reads end.

use super::*;

/// Text of 0 to `most` characters, some of several bytes, and none that a framing takes for its own.
fn random_text(random: &mut Random, most: usize) -> Vec<u8> {
    let alphabet = ["a", "{", "\r", " ", "é", "€", "😀", "z"];
    let len = random.below(most + 1);
    (0..len).map(|_| alphabet[random.below(alphabet.len())]).collect::<String>().into_bytes()
}

/// Mostly short ones; now and then one that takes a longer header, or several reads.
fn random_messages(random: &mut Random) -> Vec<Vec<u8>> {
    let most = [2, 10, 60, 300, 5000];
    let count = random.below(30);
    (0..count)
        .map(|_| {
            let i = random.below(40);
            random_text(random, *most.get(i).unwrap_or(&3))
        })
        .collect()
}

/// Cuts bytes into reads that are mostly short or as long as they may be.
fn random_reads<'a>(random: &mut Random, mut bytes: &'a [u8], most: usize) -> Vec<&'a [u8]> {
    let mut reads = Vec::new();
    while !bytes.is_empty() {
        let n = match random.below(3) {
            0 => 1 + random.below(8),
            1 => 1 + random.below(most),
            _ => most,
        };
        let (read, rest) = bytes.split_at(n.min(most).min(bytes.len()));
        reads.push(read);
        bytes = rest;
    }
    reads
}

#[test]
fn messages_arrive_in_the_stream_as_they_were_said() {
    let mut random = Random::new("framed inbound");
    for _ in 0..20 {
        for (role, framing, encoding) in pairs() {
            let sent = random_messages(&mut random);
            let mut rig = Rig::new(role, framing, encoding);
            let mut wire = Vec::new();
            for message in &sent {
                let payload = payload(encoding, message);
                let mut cuts: Vec<_> =
                    (0..random.below(4)).map(|_| random.below(payload.len() + 1)).collect();
                cuts.sort_unstable();
                let ends: Vec<_> = cuts.into_iter().chain([payload.len()]).collect();
                let mut start = 0;
                for (i, &end) in ends.iter().enumerate() {
                    let opcode = match (i, encoding) {
                        (0, Encoding::Binary) => Opcode::Binary,
                        (0, _) => Opcode::Text,
                        _ => Opcode::Continuation,
                    };
                    let fin = i + 1 == ends.len();
                    wire.extend(rig.frame(fin, opcode, &payload[start..end]));
                    start = end;
                    if random.below(6) == 0 {
                        wire.extend(rig.frame(true, Opcode::Ping, b"?"));
                    }
                }
            }
            let mut stream = Vec::new();
            for read in random_reads(&mut random, &wire, SIZE) {
                let (bytes, stop) = rig.hear(read);
                stop.unwrap();
                stream.extend(bytes);
            }
            assert!(stream == joined(framing, &sent), "{role:?} {framing} {encoding} {sent:x?}");
            assert_eq!(rig.session.received(), sent.len() as u64);
            rig.session.settle_held();
            assert!(!rig.session.holds());
        }
    }
}

#[test]
fn a_stream_becomes_the_messages_that_are_in_it() {
    let mut random = Random::new("framed outbound");
    for _ in 0..20 {
        for (role, framing, encoding) in pairs() {
            let mut said = random_messages(&mut random);
            let mut rig = Rig::new(role, framing, encoding);
            let stream = joined(framing, &said);
            let mut wire = Vec::new();
            let most = rig.session.read_limit(SIZE);
            for read in random_reads(&mut random, &stream, most) {
                let (bytes, result) = rig.say(read);
                result.unwrap();
                wire.extend(bytes);
            }
            rig.session.finish(&mut rig.hot, &mut rig.keys).unwrap();
            assert_eq!(rig.hot.output(), b"");
            if !matches!(framing, Framing::Length(_)) {
                said.retain(|line| !line.is_empty());
            }
            if framing == Framing::Ndjson {
                said.iter_mut().flatten().filter(|b| **b == b'\r').for_each(|b| *b = b' ');
            }
            let opcode = match encoding {
                Encoding::Binary => Opcode::Binary,
                _ => Opcode::Text,
            };
            let expected: Vec<Message> =
                said.iter().map(|message| (opcode, payload(encoding, message), true)).collect();
            let got = messages(role, &wire);
            assert!(got == expected, "{role:?} {framing} {encoding}\n{got:x?}\n{expected:x?}");
            assert_eq!(rig.session.sent(), said.len() as u64);
        }
    }
}

/// Bytes that mean something here and there, in reads as long as the buffer: no more is promised than
/// that there is an end to it.
#[test]
fn whatever_comes_is_messages_or_an_error() {
    let mut random = Random::new("framed garbage");
    let first = [0x01, 0x02, 0x80, 0x81, 0x82, 0x89, 0x00];
    for _ in 0..30 {
        for (role, framing, encoding) in pairs() {
            let options = Options {
                framing,
                encoding,
                text_lossy: true,
                max_message: 900,
                ..Options::default()
            };
            let mut rig = Rig::with(role, options);
            let mut wire = Vec::new();
            while wire.len() < 2 * SIZE {
                let len = random.below(200);
                let opcode = Opcode::from_bits(first[random.below(first.len())] & 0x0f).unwrap();
                let fin = opcode.is_control() || random.below(2) == 0;
                let payload = random.bytes(if opcode.is_control() { len.min(125) } else { len });
                wire.extend(rig.frame(fin, opcode, &payload));
            }
            for read in random_reads(&mut random, &wire, SIZE) {
                if rig.hear(read).1.is_err() {
                    break;
                }
            }
            rig.session.forget_held();
            rig.session.settle_held();
            assert!(!rig.session.holds());
            let stream = random.bytes(SIZE);
            let limit = rig.session.read_limit(SIZE);
            for read in random_reads(&mut random, &stream, limit) {
                let (wire, result) = rig.say(read);
                assert!(hears(role, &wire));
                if result.is_err() {
                    break;
                }
            }
        }
    }
}

/// Whether these are frames, as far as they can be told without those before them.
fn hears(role: Role, mut wire: &[u8]) -> bool {
    while !wire.is_empty() {
        let Ok(Some((header, len))) = FrameHeader::decode(wire) else { return false };
        let end = len + header.payload_len as usize;
        if header.mask.is_some() != role.masks() || end > wire.len() {
            return false;
        }
        wire = &wire[end..];
    }
    true
}
