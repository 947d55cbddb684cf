//! Encodings against the standard library and the base64 crate, whatever the cuts.
//!
//! ```text
//! input = buffer size (1 byte), cuts (length, then lengths), then the bytes of a stream
//! ```

#![no_main]

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::Engine;
use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::buf::hot::Hot;
use ws_tcp_proxy::proto::encoding::{Encoding, Pack, Unpack};
use ws_tcp_proxy::proto::frame::{FrameError, MAX_HEADER};
use ws_tcp_proxy::proto::mask::Mask;
use ws_tcp_proxy::proto::message::{Kind, Piece};
use ws_tcp_proxy::proto::utf8::Utf8;
use ws_tcp_proxy_fuzz::base64 as plain;
use ws_tcp_proxy_fuzz::cuts::Cuts;
use ws_tcp_proxy_fuzz::input::Input;
use ws_tcp_proxy_fuzz::utf8::first_offence;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = 64 + 16 * usize::from(input.byte());
    let lengths = input.bytes();
    let bytes = input.rest();
    for cuts in [Cuts::Whole, Cuts::Bytes, Cuts::Lengths(lengths)] {
        checks_text(bytes, cuts);
        unpacks_base64(bytes, cuts);
        packs_base64(bytes, cuts, size);
        packs_text(bytes, cuts, size);
        packs_lossy(bytes, cuts, size);
    }
    // And a text that is good, since few are by chance.
    let text = STANDARD.encode(bytes);
    assert_eq!(unpacked(text.as_bytes(), Cuts::Lengths(lengths)), (bytes.to_vec(), true));
});

fn checks_text(bytes: &[u8], cuts: Cuts) {
    let mut utf8 = Utf8::default();
    let mut at = 0;
    for piece in cuts.pieces(bytes, usize::MAX) {
        if let Err(offence) = utf8.check(piece) {
            return assert_eq!(Some(at + offence), first_offence(bytes), "{cuts:?}");
        }
        at += piece.len();
    }
    assert_eq!(first_offence(bytes), None, "{cuts:?}");
    assert_eq!(utf8.is_complete(), std::str::from_utf8(bytes).is_ok(), "{cuts:?}");
}

/// The bytes of one message of base64, and whether it is right.
fn unpacked(text: &[u8], cuts: Cuts) -> (Vec<u8>, bool) {
    let mut unpack = Unpack::new(Encoding::Base64);
    let mut hot = Hot::new(text.len().max(1));
    let mut bytes = Vec::new();
    let mut pieces = cuts.pieces(text, usize::MAX);
    pieces.push(b""); // a message may end with nothing
    for (i, piece) in pieces.iter().enumerate() {
        let result = pass(&mut unpack, &mut hot, piece, i + 1 == pieces.len());
        bytes.extend_from_slice(hot.output());
        if let Err(error) = result {
            assert!(matches!(error, FrameError::NotBase64 | FrameError::NotUtf8), "{error}");
            return (bytes, false);
        }
    }
    // What comes next begins anew.
    assert_eq!(pass(&mut unpack, &mut hot, b"A", false), Ok(()));
    (bytes, true)
}

/// One piece of a text message.
fn pass(unpack: &mut Unpack, hot: &mut Hot, piece: &[u8], ends: bool) -> Result<(), FrameError> {
    hot.fill(piece.len()).copy_from_slice(piece);
    hot.commit(piece.len());
    let (len, mask) = (piece.len(), Mask::default());
    unpack.pass(hot, Piece { kind: Kind::Text, begins: true, ends, len, mask })
}

fn unpacks_base64(text: &[u8], cuts: Cuts) {
    let (bytes, right) = unpacked(text, cuts);
    assert_eq!((bytes.clone(), right), plain::decode(text), "{cuts:?}");
    let whole = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    assert_eq!(right, whole.is_ok(), "{whole:?}");
    if let Ok(whole) = whole {
        assert_eq!(bytes, whole);
    }
}

fn fill(hot: &mut Hot, bytes: &[u8]) {
    hot.fill(bytes.len()).copy_from_slice(bytes);
    hot.commit(bytes.len());
    hot.pass_all();
}

/// What became of a stream: a message per read, and whether it came to a good end.
struct Packed {
    messages: Vec<Vec<u8>>,
    whole: bool,
}

/// Packs read by read, each as long as the buffer allows.
fn packed(mut pack: Pack, bytes: &[u8], cuts: Cuts, size: usize) -> Packed {
    let mut hot = Hot::new(size);
    let mut messages = Vec::new();
    for piece in cuts.pieces(bytes, pack.read_limit(size)) {
        fill(&mut hot, piece);
        let result = pack.pack(&mut hot);
        messages.push(hot.output().to_vec());
        if let Err(error) = result {
            assert_eq!(error, FrameError::NotUtf8);
            return Packed { messages, whole: false };
        }
        // The header goes in front.
        hot.prepend(&[0; MAX_HEADER]);
    }
    hot.fill(0);
    let whole = pack.finish(&mut hot).is_ok();
    messages.push(hot.output().to_vec());
    Packed { messages, whole }
}

fn packs_base64(bytes: &[u8], cuts: Cuts, size: usize) {
    let pack = Pack::new(Encoding::Base64, false);
    assert_eq!(pack.kind(), Kind::Text);
    let reads = cuts.pieces(bytes, pack.read_limit(size));
    let Packed { messages, whole } = packed(pack, bytes, cuts, size);
    assert!(whole);
    assert_eq!(messages.len(), reads.len() + 1);
    for (message, read) in messages.iter().zip(reads) {
        assert_eq!(STANDARD.decode(message).as_deref(), Ok(read));
    }
}

fn packs_text(bytes: &[u8], cuts: Cuts, size: usize) {
    let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let Packed { messages, whole } = packed(Pack::new(Encoding::Text, false), bytes, cuts, size);
    assert!(messages.iter().all(|message| std::str::from_utf8(message).is_ok()));
    assert_eq!(messages.concat(), bytes[..good], "{cuts:?}");
    assert_eq!(whole, good == bytes.len(), "{cuts:?}");
}

fn packs_lossy(bytes: &[u8], cuts: Cuts, size: usize) {
    let Packed { messages, whole } = packed(Pack::new(Encoding::Text, true), bytes, cuts, size);
    assert!(whole);
    assert!(messages.iter().all(|message| std::str::from_utf8(message).is_ok()));
    assert_eq!(messages.concat(), String::from_utf8_lossy(bytes).as_bytes(), "{cuts:?}");
}
