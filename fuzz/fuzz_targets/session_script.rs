//! A connection between two scripted ends: see [`ws_tcp_proxy_fuzz::script`].

#![no_main]

use libfuzzer_sys::fuzz_target;
use ws_tcp_proxy_fuzz::script;

fuzz_target!(|data: &[u8]| script::play(data));
