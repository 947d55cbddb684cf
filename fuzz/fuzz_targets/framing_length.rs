//! Lengths in all their forms: messages to a stream and back, against a plain model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::proto::framing::{Framing, LengthForm};
use ws_tcp_proxy_fuzz::framing::check;

const FORMS: [Framing; 5] = [
    Framing::Length(LengthForm::U16),
    Framing::Length(LengthForm::U16Le),
    Framing::Length(LengthForm::U32),
    Framing::Length(LengthForm::U32Le),
    Framing::Length(LengthForm::Varint),
];

fuzz_target!(|data: &[u8]| check(&FORMS, data));
