//! Lines: messages to a stream and back, against a plain model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy::proto::framing::Framing;
use ws_tcp_proxy_fuzz::framing::check;

fuzz_target!(|data: &[u8]| check(&[Framing::Lines], data));
